"""Laws of rings, and of adatoms on every kind of site."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene_nanoribbon, molecule
from ase.data import covalent_radii
from ase.geometry import get_distances
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.conftest import NOTHING, Emt, built, flake, stem2sim
from tests.hterm.test_hterm import mos2, place
from tests.made_runs import run

from stem2sim.builtin.adsorption import Adsorption, adsorption_energies
from stem2sim.config.config import Config
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.rings import rings
from stem2sim.simulation import SimulationResult
from stem2sim.structure import SURFACE, Structure
from stem2sim.testing import check_builder, graphene_sheet
from stem2sim_hterm.adsorb import Adsorb
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch
from stem2sim_hterm.periodic import Periodic
from stem2sim_hterm.repair import Fill
from stem2sim_hterm.ripple import Ripple
from stem2sim_xtb.xtb import Xtb

if TYPE_CHECKING:
    from pathlib import Path


def small_flake(size: int = 54) -> Structure:
    return built(flake(20), Patch(size=size, center=(10, 10)), Hterm())


def sizes(structure: Structure) -> dict[int, int]:
    return dict(Counter(len(ring) for ring in rings(structure.bonds)))


@settings(max_examples=20)
@given(angle=st.floats(0, 60), noise=st.floats(0, 0.06), seed=st.integers(0, 99))
def test_a_flake_of_hexagons_has_as_many_rings_as_euler_counts(angle: float, noise: float, seed: int) -> None:
    """Faces = bonds - atoms + 1 in a connected network, whatever the noise, hydrogen or not."""
    sheet = built(flake(16, angle), Patch(size=60, center=(8, 8)))
    sheet.atoms.positions[:, :2] += np.random.default_rng(seed).normal(0, noise, (len(sheet.atoms), 2))
    found = rings(sheet.bonds)
    assert {len(ring) for ring in found} == {6}
    assert len(found) == len(sheet.bonds.once[0]) - len(sheet.atoms) + 1
    assert sizes(built(sheet, Hterm())) == {6: len(found)}
    for ring in found:
        assert ring.centre == pytest.approx(sheet.atoms.positions[list(ring.atoms)].mean(axis=0))


def test_defects_are_the_rings_that_they_are_known_by() -> None:
    """A Stone-Wales turn is 5-7-7-5, a divacancy left open one ring of 14, a vacancy of 12."""
    sheet = flake(24, 0)
    xy = sheet.atoms.positions[:, :2]
    middle = int(np.argmin(np.hypot(*(xy - 12).T)))
    partner = int(np.argsort(np.hypot(*(xy - xy[middle]).T))[1])
    perfect = sizes(sheet)
    turned = sheet.atoms.copy()
    about = (xy[middle] + xy[partner]) / 2
    quarter = np.array([[0, -1], [1, 0]])
    for k in (middle, partner):
        turned.positions[k, :2] = about + 0.95 * quarter @ (xy[k] - about)
    assert sizes(Structure(atoms=turned)) == {5: 2, 7: 2, 6: perfect[6] - 4}
    for gone, ring, fewer in (([middle], 12, 3), ([middle, partner], 14, 4)):
        holed = sheet.atoms.copy()
        del holed[gone]
        assert sizes(Structure(atoms=holed)) == {6: perfect[6] - fewer, ring: 1}


def test_a_sheet_without_edges_has_one_ring_for_two_atoms() -> None:
    """Across periodic borders too; a ribbon has no ring that goes round its cell."""
    made = built(flake(60), Periodic(repeats=(6, 5), center=(30, 30)))
    assert sizes(made) == {6: 30}
    ribbon = graphene_nanoribbon(3, 4, type="zigzag", vacuum=6)
    ribbon.rotate(90, "x", rotate_cell=True)
    found = Counter(len(ring) for ring in rings(Bonds.of(ribbon)))
    assert set(found) == {6}
    assert found[6] == len(Bonds.of(ribbon).once[0]) - len(ribbon)


def test_one_structure_for_each_site_and_both_references() -> None:
    """All in one box, the surface in one place, labelled by site; nothing closer than covalent radii, none too far."""
    flat = small_flake()
    made = list(Adsorb(what="Cr").build(flat, NOTHING))
    assert [one.label for one in made] == ["surface", "adsorbate", "top", "bridge", "hollow"]
    box = made[0].atoms.cell
    surface = made[0].atoms
    assert [len(one.atoms) - len(surface) for one in made[2:]] == [1, 1, 1]
    assert len(made[1].atoms) == 1
    for one in made:
        assert np.allclose(one.atoms.cell, box)
        assert not one.atoms.pbc.any()
    shift = surface.positions - flat.atoms.positions
    assert np.ptp(shift, axis=0) == pytest.approx([0, 0, 0], abs=1e-9)
    nearest = {"top": 1, "bridge": 2, "hollow": 6}
    for one in made[2:]:
        assert np.allclose(one.atoms.positions[:-1], surface.positions)
        away = get_distances(one.atoms.positions[-1], surface.positions)[1][0]
        reach = covalent_radii[24] + covalent_radii[surface.numbers]
        assert (away - reach).min() == pytest.approx(0, abs=1e-6)
        assert int((np.abs(away - away.min()) < 0.02).sum()) == nearest[one.label]
        assert one.atoms.positions[-1, 2] > surface.positions[:, 2].max()
        assert f"Cr on the {one.label} site (C " in one.findings[-1]


def test_sites_alike_are_one_site_and_sites_that_differ_are_two() -> None:
    """In a periodic sheet three sites, however far one looks; a silicon makes more; holes and edges are sites too."""
    sheet = built(flake(60), Periodic(repeats=(7, 7), center=(30, 30)))
    kinds = Adsorb(what="H", radius=6.0, references=False)
    assert [one.label for one in kinds.build(sheet, NOTHING)] == ["top", "bridge", "hollow"]
    rough = sheet.atoms.copy()
    rough.positions[:, :2] += np.random.default_rng(0).normal(0, 0.05, (len(rough), 2))
    measured = kinds.build(Structure(atoms=rough), NOTHING)
    assert [one.label for one in measured] == ["top", "bridge", "hollow"], "noise makes no new kind of site"
    doped = sheet.atoms.copy()
    doped.symbols[20] = "Si"
    near = tuple(doped.positions[20, :2])
    many = [one.label for one in Adsorb(what="H", center=near, references=False).build(Structure(atoms=doped), NOTHING)]
    assert {"top-1", "top-2", "bridge-1", "bridge-2", "hollow"} <= set(many)
    holed = flake(24)
    away = np.hypot(*(holed.atoms.positions[:, :2] - 12).T)
    kept = holed.atoms[np.sort(np.argsort(away)[6:])]
    hole = list(
        Adsorb(what="C", sites=("hole", "edge"), radius=5, references=False).build(Structure(atoms=kept), NOTHING)
    )
    assert {one.label.split("-")[0] for one in hole} == {"hole", "edge"}


@pytest.mark.parametrize(("what", "atoms"), [("CH", 2), ("CH2", 3), ("CH3", 4), ("Cr", 1)])
def test_fragments_stand_on_their_heaviest_atom(what: str, atoms: int) -> None:
    flat = small_flake(24)
    (made,) = Adsorb(what=what, sites=("hollow",), references=False).build(flat, NOTHING)
    added = made.atoms[len(flat.atoms) :]
    assert len(added) == atoms
    assert added.positions[:, 2].min() == pytest.approx(added.positions[int(np.argmax(added.numbers)), 2], abs=0.05)
    assert (made.atoms.arrays["source"][len(flat.atoms) :] == -1).all()


def test_adsorbing_conforms_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    check_builder(Adsorb(), small_flake(24), NOTHING)
    with pytest.raises(ValidationError, match="is neither an element nor a molecule that ASE knows; set path"):
        Adsorb(what="Unobtainium")
    with pytest.raises(BadInput, match=r"no structure file at .*guest\.xyz"):
        list(Adsorb(path=tmp_path / "guest.xyz").build(small_flake(24), NOTHING))
    with pytest.raises(BadInput, match=r"no hole site within 2 Å of x = "):
        list(Adsorb(sites=("hole",)).build(small_flake(24), NOTHING))
    with pytest.raises(BadInput, match="no atoms to adsorb on"):
        list(Adsorb().build(Structure.empty(), NOTHING))
    given_as_file = tmp_path / "guest.xyz"
    given_as_file.write_text("2\n\nO 0 0 0\nH 0 0 0.97\n")
    (made,) = Adsorb(path=given_as_file, sites=("hollow",), references=False).build(small_flake(24), NOTHING)
    assert made.atoms.get_chemical_symbols()[-2:] == ["O", "H"]


def test_a_fragment_binds_by_its_anchor_and_is_tried_in_every_orientation() -> None:
    """Carbon down though oxygen is heavier; four turns of water are one molecule turned; an atom has no turns."""
    flat = small_flake(24)
    (upright,) = Adsorb(what="CO", anchor="C", turns=4, sites=("hollow",), references=False).build(flat, NOTHING)
    carbon, oxygen = (next(a for a in upright.atoms[len(flat.atoms) :] if a.symbol == s) for s in ("C", "O"))
    assert carbon.position[2] < oxygen.position[2]
    with pytest.raises(BadInput, match="anchor = 'N', but CO has only"):
        list(Adsorb(what="CO", anchor="N").build(flat, NOTHING))
    turned = list(Adsorb(what="H2O", anchor="H", turns=4, sites=("hollow",), references=False).build(flat, NOTHING))
    assert [one.label for one in turned] == [f"hollow-{degrees}deg" for degrees in (0, 90, 180, 270)]
    first, *rest = (one.atoms.positions[len(flat.atoms) :] for one in turned)
    anchor = int(np.argmin(first[:, 2]))
    for quarter, other in enumerate(rest, start=1):
        back = np.linalg.matrix_power(np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]), quarter)
        assert (other - other[anchor]) @ back.T == pytest.approx(first - first[anchor], abs=1e-9)


@settings(max_examples=15)
@given(site=st.sampled_from(["top", "bridge", "hollow"]), what=st.sampled_from(["CH", "CH2", "CH3", "NH3", "CO"]))
def test_only_the_anchor_of_a_fragment_is_near_enough_to_bind(site: str, what: str) -> None:
    """The rest of it keeps out of reach of a bond with the sheet."""
    flat = small_flake(24)
    made, *_ = Adsorb(what=what, sites=(site,), references=False).build(flat, NOTHING)  # type: ignore[arg-type]
    count, added = len(flat.atoms), range(len(flat.atoms), len(made.atoms))
    anchor = max(added, key=lambda k: made.atoms.numbers[k])
    i, j, _ = made.bonds.once
    across = {int(b) for a, b in zip(i, j, strict=True) if a < count <= b}
    assert across <= {anchor}


def test_a_site_on_columns_is_on_the_upper_atoms() -> None:
    """On MoS2: above S, not between the two; each ring has three of either kind."""
    sheet = place(mos2(24))
    made = list(Adsorb(what="H", sites=("top", "hollow"), radius=3, references=False).build(sheet, NOTHING))
    assert {one.label.split("-")[0] for one in made} == {"top", "hollow"}
    for one in made:
        assert one.atoms.positions[-1, 2] > 0
        nearest = np.linalg.norm(one.atoms.positions[:-1] - one.atoms.positions[-1], axis=1).min()
        assert nearest > 1.3
    sulphur = [one for one in made if one.label.startswith("top") and "(S " in one.findings[-1]]
    assert len(sulphur) == 1
    above = sulphur[0].atoms.positions[-1, 2] - sulphur[0].atoms.positions[:-1, 2].max()
    assert above == pytest.approx(covalent_radii[1] + covalent_radii[16], abs=1e-6)


def test_a_hole_in_a_periodic_cell_is_in_its_middle() -> None:
    """Where periodic was told to centre the cell, adsorb finds the hole without being told where."""
    holed = flake(60, 7).atoms
    holed = holed[np.sort(np.argsort(np.hypot(*(holed.positions[:, :2] - 30).T), kind="stable")[6:])]
    cell = built(Structure(atoms=holed), Periodic(repeats=(8, 8), center=(30, 30)))
    made = list(Adsorb(what="H", sites=("hole",), references=False).build(cell, NOTHING))
    assert [one.label for one in made] == ["hole"]
    share = made[0].atoms.get_scaled_positions()[-1, :2]
    assert share == pytest.approx([0.5, 0.5], abs=0.1)


def test_a_charge_stays_with_the_surface() -> None:
    """What is adsorbed brings none: the free adsorbate is neutral, or the energy would have no definition."""
    charged = small_flake(24).model_copy(update={"charge": 1})
    made = list(Adsorb(what="Cr", sites=("hollow",)).build(charged, NOTHING))
    assert [(one.label, one.charge) for one in made] == [("surface", 1), ("adsorbate", 0), ("hollow", 1)]


def test_another_file_is_another_input(tmp_path: Path) -> None:
    """A relative path counts from the config; the step runs again when the file changes, and only then."""
    (tmp_path / "guest.xyz").write_text("1\n\nCr 0 0 0\n")
    small_flake(24).write(tmp_path / "flake.extxyz")
    config = tmp_path / "run.toml"
    config.write_text('structure = "flake.extxyz"\n[[build]]\nuse = "adsorb"\npath = "guest.xyz"\nsites = ["hollow"]\n')
    adsorbed = []
    for guest in ("Cr", "Cr", "Fe"):
        (tmp_path / "guest.xyz").write_text(f"1\n\n{guest} 0 0 0\n")
        done = stem2sim("build", config, "--out", tmp_path / "run")
        assert done.returncode == 0, done.stderr
        adsorbed.append(Structure.read(tmp_path / "run" / "structure-hollow.extxyz").atoms.symbols[-1])
    assert adsorbed == ["Cr", "Cr", "Fe"]


def test_an_adsorption_energy_has_one_definition() -> None:
    """E_surface + E_adsorbate - E_total; without both references, or with two of one, there is none."""
    atoms = graphene_sheet(6)

    def result(label: str, energy: float, converged: bool = True) -> SimulationResult:
        one = Structure(atoms=atoms, label=label)
        return SimulationResult(structure=one, energy=energy, forces=np.zeros((len(atoms), 3)), converged=converged)

    def energies(named: list[tuple[str, SimulationResult]]) -> dict[str, float | None]:
        return {site: one.value for site, one in adsorption_energies(named).items()}

    def named(*results: SimulationResult, surface: str = "") -> list[tuple[str, SimulationResult]]:
        return [(surface + one.structure.label, one) for one in results]

    both = [result("surface", -10.0), result("adsorbate", -1.0)]
    sites = [result("top", -11.5), result("hollow", -13.0)]
    assert energies(named(*both, *sites)) == pytest.approx({"hollow": 2.0, "top": 0.5})
    assert adsorption_energies(named(*sites)) == {}
    assert adsorption_energies(named(*both, *sites, both[0])) == {}
    other = [result("surface", -20.0), result("adsorbate", -1.0), result("hollow", -22.5)]
    two = named(*both, *sites, surface="patch-1-") + named(*other, surface="patch-2-")
    assert energies(two) == pytest.approx({"patch-1-hollow": 2.0, "patch-2-hollow": 1.5, "patch-1-top": 0.5})
    # what did not converge enters no difference, and is told: one site, or a reference and so all of them
    loose = adsorption_energies(named(*both, sites[0], result("hollow", -13.0, converged=False)))
    assert [(site, one.value) for site, one in loose.items()] == [("top", pytest.approx(0.5)), ("hollow", None)]
    assert str(loose["hollow"]) == "none: hollow not converged"
    unknown = adsorption_energies(named(both[0], result("adsorbate", -1.0, converged=False), *sites))
    assert {str(one) for one in unknown.values()} == {"none: adsorbate not converged"}


@pytest.mark.slow
def test_chromium_prefers_the_hollow_site(tmp_path: Path) -> None:
    """GFN1-xTB, Fermi smearing at 600 K: hollow before top, Cr-C 2.13 Å within 0.05 (DFT: 2.165 Å, hollow)."""
    config = Config(
        segment=None,
        structure=None,
        build=(Patch(size=24, center=(8, 8)), Hterm(), Adsorb(what="Cr", sites=("top", "hollow"), radius=1.5)),
        simulate=(Adsorption(engine=Xtb(electronic_temperature=600, fmax=0.15, max_steps=60)),),
    )
    sheet = flake(16)
    sheet.write(tmp_path / "sheet.extxyz")
    outcome = run(config.model_copy(update={"structure": tmp_path / "sheet.extxyz"}), tmp_path / "run")
    energies = adsorption_energies(
        (file.parent.name.removeprefix("01-adsorption-"), one) for file, one in outcome.results
    )
    assert list(energies) == ["hollow", "top"]
    assert (energies["top"].value or 0) > 1
    (hollow,) = [r.structure.atoms for _, r in outcome.results if r.structure.label == "hollow"]
    chromium = int(np.flatnonzero(hollow.numbers == 24)[0])
    near = np.sort(hollow.get_distances(chromium, np.flatnonzero(hollow.numbers == 6)))[:6]
    assert near.mean() == pytest.approx(2.13, abs=0.05)
    assert (
        "E_ads = E_surface + E_adsorbate - E_total; positive: binding" in (tmp_path / "run" / "report.html").read_text()
    )
    assert [file.parent.name for file, _ in outcome.results] == [
        "01-adsorption-surface", "01-adsorption-adsorbate", "01-adsorption-top", "01-adsorption-hollow",
    ]  # fmt: skip


def test_spin_is_one_choice_for_all_terms(tmp_path: Path) -> None:
    """Chromium by itself is a septet, spin-polarised lower than without by more than 1 eV; each term says its spin."""
    chromium = Structure(atoms=Atoms("Cr"), label="adsorbate")
    engine = Xtb(electronic_temperature=600, task="single-point")
    ended = {}
    for spin in (False, True):
        folder = tmp_path / str(spin)
        folder.mkdir()
        (ended[spin],) = Adsorption(engine=engine, spin=spin).simulate(chromium, folder)
    assert "multiplicity 7, the lowest of 1, 3, 5, 7" in ended[True].reason
    assert ended[True].energy < ended[False].energy - 1
    with pytest.raises(BadInput, match="adsorption needs labelled structures"):
        list(Adsorption(engine=engine).simulate(Structure(atoms=Atoms("Cr")), tmp_path))
    with pytest.raises(BadInput, match="emt has no spin polarisation"):
        list(Adsorption(engine=Emt(), spin=True).simulate(chromium, tmp_path))


def test_a_builder_names_the_elements_that_it_adds(tmp_path: Path) -> None:
    """Those that the structures have more, whatever the options; a missing file is an error."""
    molecule("CH3SiH3").write(tmp_path / "silane.xyz")
    file = Adsorb(path=tmp_path / "silane.xyz", references=False, radius=3)
    for builder, added in ((Adsorb(), {"Cr"}), (Adsorb(what="CH2"), {"C", "H"}), (file, {"C", "H", "Si"})):
        assert builder.elements() == added
        for made in builder.build(flake(12), NOTHING):
            assert set(made.atoms.symbols) <= {"C"} | added
            assert made.label == SURFACE or added <= set(made.atoms.symbols)
    assert Hterm().elements() == {"H"}
    assert Fill(species="N").elements() == {"N"}
    assert Ripple().elements() == frozenset()
    with pytest.raises(BadInput, match="no structure file"):
        Adsorb(path=tmp_path / "absent.xyz").elements()
