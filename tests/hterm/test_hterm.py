"""Laws of placing, cutting and terminating."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene_nanoribbon
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import NOTHING, flake, table_of

from stem2sim.engines.engine_simulator import read_engine
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.honeycomb import fit_honeycomb
from stem2sim.geometry.pairs import SLACK
from stem2sim.geometry.rings import rings
from stem2sim.lattice import lattice_of
from stem2sim.segmentation import Segmentation
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet
from stem2sim_hterm import hterm
from stem2sim_hterm.adsorb import Adsorb
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch
from stem2sim_hterm.place import Place
from stem2sim_hterm.repair import Merge
from stem2sim_hterm.sample import Sample

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.atoms_table import AtomsTable


def place(table: AtomsTable, **options: object) -> Structure:
    segmentation = Segmentation(atoms=table)
    (made,) = Place(**options).build(Structure.empty(), segmentation)  # type: ignore[arg-type]
    return made


def cut(structure: Structure, **options: object) -> Structure:
    (made,) = Patch(**options).build(structure, NOTHING)  # type: ignore[arg-type]
    return made


def terminate(structure: Structure, **options: object) -> Structure:
    (made,) = Hterm(**options).build(structure, NOTHING)  # type: ignore[arg-type]
    return made


def test_atoms_stand_where_they_were_measured() -> None:
    """X along columns, y down rows, z = 0; an asymmetric flake keeps its handedness."""
    xy = np.array([[1.0, 2.0], [2.4, 2.0], [1.0, 7.0]])
    made = place(table_of(xy))
    assert np.array_equal(made.atoms.positions, np.column_stack([xy, np.zeros(3)]))
    assert made.atoms.arrays["source"].tolist() == [0, 1, 2]


def test_improbable_atoms_are_left_out_and_told() -> None:
    made = place(table_of(np.array([[0.0, 0], [3, 0], [6, 0]]), probability=np.array([0.9, 0.4, 0.8])))
    assert made.atoms.arrays["source"].tolist() == [0, 2]
    assert made.findings == ("atoms omitted because their probability is below 0.5: 1",)
    with pytest.raises(BadInput, match=r"none of 3 has a probability of at least 0\.99"):
        place(table_of(np.array([[0.0, 0], [3, 0], [6, 0]]), probability=0.9), least_probability=0.99)


def test_of_two_overlapping_atoms_the_likelier_stays() -> None:
    table = table_of(np.array([[0.0, 0], [0.5, 0], [3, 0]]), probability=np.array([0.7, 0.9, 0.8]))
    with pytest.raises(BadInput, match=r"C 0–C 1 \(0\.50 Å\); check the pixel size, or set overlap = "):
        place(table)
    assert place(table, overlap="keep-likelier").atoms.arrays["source"].tolist() == [1, 2]


def stretched(xx: float, xy: float, yy: float) -> tuple[Segmentation, np.ndarray]:
    """Return graphene as a scan with this metric [Å/pixel] shows it at 0.1 Å/pixel, and where its atoms truly are."""
    true = graphene_sheet(14).positions[:, :2]
    metric = np.array([[xx, xy], [xy, yy]])
    table = table_of(0.1 * true @ np.linalg.inv(metric).T)
    return Segmentation(atoms=table, pixel_size=0.1, lattice=lattice_of(metric, 2.46)), true


@settings(max_examples=20)
@given(xx=st.floats(0.09, 0.11), xy=st.floats(-0.01, 0.01), yy=st.floats(0.09, 0.11))
def test_scale_and_stretch_of_the_scan_do_not_reach_the_structure(xx: float, xy: float, yy: float) -> None:
    """On the lattice's scale atoms are where they truly are; at the stated size they are where they were measured."""
    found, true = stretched(xx, xy, yy)
    (made,) = Place().build(Structure.empty(), found)
    assert np.allclose(made.atoms.positions[:, :2], true, atol=1e-9)
    assert "corrected for an anisotropy of" in made.findings[-1]
    (measured,) = Place(scale="stated").build(Structure.empty(), found)
    assert np.allclose(measured.atoms.positions[:, :2], found.atoms.positions)
    largest, smallest = np.linalg.svd(found.lattice.matrix, compute_uv=False)
    if abs(np.sqrt(largest * smallest) / 0.1 - 1) > 0.032:
        assert "bond lengths are off" in measured.findings[-1]


def test_the_centre_of_a_patch_is_a_place_in_the_frame() -> None:
    """Whatever the scale of the structure: the atom nearest to that place is in the patch."""
    found, _ = stretched(0.08, 0.0, 0.1)
    (made,) = Place().build(Structure.empty(), found)
    wanted = int(np.argmin(np.hypot(*(found.atoms.positions - [11, 6]).T)))
    (patch,) = Patch(size=12, center=(11, 6)).build(made, found)
    assert wanted in patch.atoms.arrays["source"]


def mos2(width: float = 24.0, angle: float = 8.0) -> AtomsTable:
    """Return the columns of a sheet of MoS2, a = 3.16 Å: molybdenum on one site of a honeycomb, S2 on the other."""
    sheet = graphene_sheet(width, angle)
    xy = sheet.positions[:, :2] * 3.16 / 2.46
    first = fit_honeycomb(xy, xy.mean(axis=0), 3.16).sites(xy)[0][:, 2] == 0
    return table_of(xy).model_copy(update={"species": np.where(first, "Mo", "S2")})


def test_a_column_of_two_is_two_atoms_above_each_other() -> None:
    """Trigonal prisms: six sulphur atoms at 2.40 Å round each molybdenum (in the crystal 2.41), S-S 3.13 Å apart."""
    table = mos2()
    made = place(table)
    count = table.counts()
    assert made.atoms.get_chemical_formula("hill") == f"Mo{count['Mo']}S{2 * count['S2']}"
    metal, sulphur = made.atoms[made.atoms.symbols == "Mo"], made.atoms[made.atoms.symbols == "S"]
    assert np.abs(metal.positions[:, 2]).max() == 0
    assert np.abs(sulphur.positions[:, 2]) == pytest.approx(np.full(len(sulphur), 1.565))
    middle = int(np.argmin(np.hypot(*(metal.positions[:, :2] - metal.positions[:, :2].mean(axis=0)).T)))
    away = np.sort(np.linalg.norm(sulphur.positions - metal.positions[middle], axis=1))
    assert away[:6] == pytest.approx(np.full(6, np.hypot(3.16 / np.sqrt(3), 1.565)), abs=1e-3)
    assert away[6] > 3.5
    assert np.array_equal(table.positions[made.atoms.arrays["source"]], made.atoms.positions[:, :2])
    assert f"{count['S2']} S2" in made.findings[0]
    with pytest.raises(BadInput, match=r"O2: a column of several atoms, .* such as columns = \{ O2 = 3\.1 \} \[Å\]"):
        place(table_of(np.array([[0.0, 0], [3, 0]]), species="O2"))
    apart = place(table_of(np.array([[0.0, 0], [3, 0]]), species="O2"), columns={"O2": 2.4})
    assert np.sort(apart.atoms.positions[:, 2]) == pytest.approx([-1.2, -1.2, 1.2, 1.2])


def test_a_sulphur_alone_stands_where_one_of_a_pair_would() -> None:
    table = mos2()
    lone = int(np.flatnonzero(table.species == "S2")[3])
    species = table.species.copy()
    species[lone] = "S"
    made = place(table.model_copy(update={"species": species}))
    at = made.atoms.positions[made.atoms.arrays["source"] == lone]
    assert at[:, 2] == pytest.approx([1.565])
    assert made.findings[0].endswith("; 1 single S, placed above the sheet")


@settings(max_examples=15)
@given(size=st.integers(12, 60), x=st.floats(8, 22), y=st.floats(8, 22))
def test_a_patch_does_not_split_a_column(size: int, x: float, y: float) -> None:
    table = mos2()
    found = Segmentation(atoms=table)
    (made,) = Patch(size=size, center=(x, y)).build(place(table), found)
    _, counts = np.unique(made.atoms.arrays["source"][made.atoms.symbols == "S"], return_counts=True)
    assert set(counts.tolist()) <= {2}
    assert len(made.atoms) <= size


def test_samples_of_columns_are_columns() -> None:
    """A pair moves as one; with a share of lone sulphur it loses an atom as often as that share says."""
    table = mos2(14)
    pairs = table.species == "S2"
    shares = {"Mo": 1.0 - pairs, "S2": 0.8 * pairs, "S": 0.2 * pairs}
    found = Segmentation(atoms=table.model_copy(update={"shares": shares}))
    drawn = list(Sample(count=30).build(place(found.atoms), found))
    single = total = 0
    for one in drawn:
        sulphur = one.atoms[one.atoms.symbols == "S"]
        for row in np.unique(sulphur.arrays["source"]):
            at = sulphur.positions[sulphur.arrays["source"] == row]
            assert np.ptp(at[:, :2], axis=0).max() == 0
            assert np.sort(at[:, 2]) == pytest.approx([-1.565, 1.565][-len(at) :])
            single, total = single + (len(at) == 1), total + 1
    assert single / total == pytest.approx(0.2, abs=0.04)


@settings(max_examples=25)
@given(size=st.integers(6, 90), angle=st.floats(0, 60), x=st.floats(4, 16), y=st.floats(4, 16))
def test_a_patch_is_connected_and_no_larger_than_asked(size: int, angle: float, x: float, y: float) -> None:
    """Every atom in it has two neighbours in it, and one walk along bonds reaches all."""
    made = cut(flake(20, angle), size=size, center=(x, y))
    near = made.bonds.neighbours
    assert 6 <= len(made.atoms) <= size
    assert min(len(n) for n in near) >= 2
    reached, front = {0}, [0]
    while front:
        front = [n for n in {n for k in front for n in near[k]} if n not in reached]
        reached.update(front)
    assert len(reached) == len(made.atoms)
    # no larger patch was possible within a ring's worth of atoms
    assert len(made.atoms) >= size - 6


def test_a_patch_avoids_uncertain_atoms_and_edges() -> None:
    """The left half is uncertain: the patch lies in the right one, and not at its rim."""
    whole = flake(30)
    probability = np.where(whole.atoms.positions[:, 0] < 15, 0.6, 0.99)
    whole.atoms.set_array("probability", probability)
    made = cut(whole, size=40, contains="any")
    assert made.atoms.arrays["probability"].min() > 0.9
    x, y = made.atoms.positions[:, :2].mean(axis=0)
    assert 18 < x < 27
    assert 5 < y < 25


def test_a_patch_holds_the_impurity() -> None:
    """Of two Si, the one with the more certain surroundings; by name, or as the rarest species."""
    whole = flake(30)
    xy = whole.atoms.positions[:, :2]
    one, two = (int(np.argmin(np.hypot(*(xy - p).T))) for p in ([8, 15], [22, 15]))
    whole.atoms.symbols[[one, two]] = "Si"
    whole.atoms.set_array("probability", np.where(xy[:, 0] < 15, 0.95, 0.6))
    for contains in ("impurity", "Si"):
        made = cut(whole, size=30, contains=contains)
        silicon = made.atoms[made.atoms.numbers == 14]
        assert silicon.arrays["source"].tolist() == [one]
        assert made.bonds.neighbours[made.atoms.numbers.tolist().index(14)], "it is bonded within the patch"
    with pytest.raises(BadInput, match="no Cr among the atoms; there are C, Si"):
        cut(whole, contains="Cr")


def test_an_impurity_at_the_rim_is_not_promised() -> None:
    """A Si with one neighbour cannot be in a patch: asked for by name it is refused, else another centre is told."""
    whole = flake(16)
    tip = whole.atoms.positions[int(np.argmax(whole.atoms.positions[:, 0]))]
    whole.atoms.extend(Atoms("Si", positions=[tip + np.array([1.7, 0, 0])]))
    with pytest.raises(BadInput, match="no patch of up to 30 atoms contains Si with two bonded neighbours"):
        cut(whole, size=30, contains="Si")
    made = cut(whole, size=30)
    assert "Si" not in made.atoms.get_chemical_symbols()
    assert made.findings[0] == "no Si has two bonded neighbours; the patch is centred on another atom"


def test_a_ribbon_is_terminated_across_its_boundary() -> None:
    """Periodic along x: no hydrogen where the ribbon goes on, one on each of its edge atoms, none inside."""
    ribbon = graphene_nanoribbon(3, 4, type="zigzag", vacuum=8)
    made = terminate(Structure(atoms=ribbon)).atoms
    assert (made.numbers == 1).sum() == 2 * 4
    for symbol, near in zip(made.get_chemical_symbols(), Bonds.of(made).neighbours, strict=True):
        assert len(near) == (3 if symbol == "C" else 1)


def test_a_patch_outside_the_atoms_is_refused() -> None:
    with pytest.raises(BadInput, match=r"center \(90.0, 4.0\) Å is outside the atoms, which span x"):
        cut(flake(), center=(90.0, 4.0))
    with pytest.raises(BadInput, match="put place before patch"):
        cut(Structure.empty())


@settings(max_examples=25)
@given(
    size=st.integers(6, 90), angle=st.floats(0, 60), x=st.floats(4, 16), y=st.floats(4, 16), noise=st.floats(0, 0.06),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_in_a_closed_flake_every_carbon_has_three_neighbours(
    size: int, angle: float, x: float, y: float, noise: float, seed: int
) -> None:
    """Measured positions scatter; still each C ends with three neighbours, each H with one, nothing overlaps."""
    rough = flake(20, angle)
    rough.atoms.positions[:, :2] += np.random.default_rng(seed).normal(0, noise, (len(rough.atoms), 2))
    made = terminate(cut(rough, size=size, center=(x, y)))
    made.check_distances(0.9)
    symbols = made.atoms.get_chemical_symbols()
    for symbol, near in zip(symbols, made.bonds.neighbours, strict=True):
        assert len(near) == (3 if symbol == "C" else 1)
    carbon = made.atoms.numbers == 6
    for k in np.flatnonzero(~carbon):
        away = np.linalg.norm(made.atoms.positions[carbon] - made.atoms.positions[k], axis=1)
        assert away.min() == pytest.approx(1.09, abs=1e-6)
    assert made.electrons == made.atoms.numbers.sum()


def test_benzene_comes_out_of_six_carbons() -> None:
    """The hydrogens point outward, in the plane, along the line from the centre."""
    angles = np.arange(6) * np.pi / 3
    ring = Atoms("C6", positions=np.column_stack([1.4 * np.cos(angles), 1.4 * np.sin(angles), np.zeros(6)]))
    made = terminate(Structure(atoms=ring)).atoms
    hydrogen = made.positions[made.numbers == 1]
    assert np.hypot(*hydrogen[:, :2].T) == pytest.approx(np.full(6, 1.4 + 1.09))
    assert np.allclose(hydrogen[:, 2], 0)


def test_strays_go_first() -> None:
    """A chain of two atoms hanging off the flake, and a lone atom: all removed before hydrogen is added."""
    whole = flake(8)
    carbon = terminate(whole).atoms
    edge = int(np.argmax(whole.atoms.positions[:, 0]))
    tail = whole.atoms.positions[edge] + np.array([[1.42, 0, 0], [2.84, 0, 0], [9.0, 0, 0]])
    with_tail = whole.atoms.copy()
    with_tail.extend(Atoms("C3", positions=tail))
    made = terminate(Structure(atoms=with_tail))
    assert made.atoms.get_chemical_formula() == carbon.get_chemical_formula()
    assert any(f.startswith("stray atoms (fewer than two neighbours) removed") for f in made.findings)


def test_hydrogens_in_a_small_hole_make_room_for_each_other() -> None:
    """A vacancy has three dangling bonds that meet in the middle: tilted, no H-H under 1.2 Å, none dropped unsaid."""
    whole = flake(16)
    middle = int(np.argmin(np.hypot(*(whole.atoms.positions[:, :2] - 8).T)))
    holed = whole.atoms.copy()
    del holed[middle]
    made = terminate(cut(Structure(atoms=holed), size=60, center=(8, 8)))
    hydrogen = made.atoms[made.atoms.numbers == 1]
    distances = hydrogen.get_all_distances() + 9 * np.eye(len(hydrogen))
    assert distances.min() > 1.2
    assert any("tilted out of the plane" in f for f in made.findings)
    assert np.abs(hydrogen.positions[:, 2]).max() > 0.3


def test_parity_is_reported() -> None:
    """A flake of an odd number of electrons is a doublet, and says so."""
    made = terminate(cut(flake(16), size=30, center=(8, 8)))
    assert any(f"{made.electrons} electrons (charge 0)" in f for f in made.findings)
    odd = made.atoms.copy()
    del odd[int(np.flatnonzero(odd.numbers == 1)[0])]
    assert Structure(atoms=odd).multiplicity == 2


def test_a_charge_is_told_and_handed_on() -> None:
    """To the engines, as the structure's own; the multiplicity follows from the electrons that are left."""
    sheet = cut(flake(16), size=30, center=(8, 8))
    neutral, cation = terminate(sheet), terminate(sheet, charge=1)
    assert (neutral.charge, cation.charge) == (0, 1)
    assert cation.electrons == neutral.electrons - 1
    assert {neutral.multiplicity, cation.multiplicity} == {1, 2}
    assert f"{cation.electrons} electrons (charge 1)" in cation.findings[-1]


def edge_with(symbol: str) -> tuple[Structure, int]:
    """A flake, one of its edge carbons exchanged."""
    whole = cut(flake(16), size=24, center=(8, 8))
    twofold = next(k for k, n in enumerate(whole.bonds.neighbours) if len(n) == 2)
    whole.atoms.symbols[twofold] = symbol
    return whole, twofold


def test_an_edge_silicon_has_four_neighbours() -> None:
    """Two hydrogens, above and below the plane, as far from each other as in silane."""
    whole, silicon = edge_with("Si")
    made = terminate(whole).atoms
    (near,) = [n for k, n in enumerate(Bonds.of(made).neighbours) if made[k].symbol == "Si"]
    assert sorted(made[k].symbol for k in near) == ["C", "C", "H", "H"]
    one, two = (made.positions[k] - made.positions[silicon] for k in near if made[k].symbol == "H")
    assert np.linalg.norm(one) == pytest.approx(1.48)
    assert np.degrees(np.arccos(one @ two / (1.48**2))) == pytest.approx(109.5, abs=0.1)
    assert one[2] == pytest.approx(-two[2])


@pytest.mark.parametrize("symbol", ["N", "O"])
def test_what_takes_no_hydrogen_is_left_bare_and_told(symbol: str) -> None:
    whole, twofold = edge_with(symbol)
    made = terminate(whole)
    assert f"edge atoms left without hydrogen: {symbol} {twofold}" in made.findings


def test_a_single_bond_kept_is_a_methylene() -> None:
    """A carbon on one neighbour: removed as a stray, or kept with two hydrogens in the plane at 120 degrees."""
    whole = flake(8)
    edge = int(np.argmax(whole.atoms.positions[:, 0]))
    tail = whole.atoms.copy()
    tail.append("C")
    tail.positions[-1] = tail.positions[edge] + [1.42, 0, 0]
    kept = terminate(Structure(atoms=tail), onefold="keep").atoms
    end = next(k for k in range(len(kept)) if np.allclose(kept.positions[k], tail.positions[-1]))
    hydrogen = [k for k in Bonds.of(kept).neighbours[end] if kept[k].symbol == "H"]
    assert len(hydrogen) == 2
    arms = (kept.positions[hydrogen] - kept.positions[end]) / 1.09
    assert arms[0] @ arms[1] == pytest.approx(np.cos(np.radians(120)), abs=0.02)
    assert arms[:, 2] == pytest.approx([0, 0], abs=1e-9)
    assert all(len(n) == 3 for k, n in enumerate(Bonds.of(kept).neighbours) if kept[k].symbol == "C")


def test_holes_stay_bare_where_that_is_asked_for() -> None:
    whole = hole(6, "ring")
    everywhere, outer = terminate(whole), terminate(whole, terminate="outer")
    away = [np.hypot(*(made.atoms.positions[made.atoms.numbers == 1][:, :2] - 12).T) for made in (everywhere, outer)]
    assert (away[0] < 5).sum() == 6
    assert (away[1] < 5).sum() == 0
    assert (away[0] > 8).sum() == (away[1] > 8).sum() > 10
    assert sum(f.startswith("edge atoms of holes left bare (terminate = outer): C ") for f in outer.findings) == 1


def hole(size: int, centre: str, width: float = 24.0) -> Structure:
    """A flake without the atoms nearest to the middle of an atom, a bond or a ring; strays and all."""
    whole = flake(width, 7.0)
    xy = whole.atoms.positions[:, :2]
    atom = int(np.argmin(np.hypot(*(xy - width / 2).T)))
    near = whole.bonds.neighbours[atom]
    at = {"atom": xy[atom], "bond": (xy[atom] + xy[near[0]]) / 2, "ring": xy[near[0]] + xy[near[1]] - xy[atom]}
    kept = np.sort(np.argsort(np.hypot(*(xy - at[centre]).T), kind="stable")[size:])
    return whole.model_copy(update={"atoms": whole.atoms[kept]})


@settings(max_examples=40)
@given(
    size=st.integers(1, 24), centre=st.sampled_from(["atom", "bond", "ring"]), noise=st.floats(0, 0.05),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_around_any_hole_hydrogens_have_room_and_no_carbon_is_forgotten(
    size: int, centre: str, noise: float, seed: int
) -> None:
    """No two hydrogens under 1.5 Å; a carbon without three neighbours is among the findings."""
    holed = hole(size, centre)
    holed.atoms.positions[:, :2] += np.random.default_rng(seed).normal(0, noise, (len(holed.atoms), 2))
    made = terminate(holed)
    hydrogen = made.atoms[made.atoms.numbers == 1]
    assert (hydrogen.get_all_distances() + 9 * np.eye(len(hydrogen))).min() >= 1.5 - SLACK
    lacking = [k for k, n in enumerate(made.bonds.neighbours) if made.atoms[k].symbol == "C" and len(n) != 3]
    told = " ".join(f for f in made.findings if "without hydrogen" in f or "shared" in f)
    assert all(re.search(rf"\bC {k}\b", told) for k in lacking)


def test_where_no_tilt_helps_two_carbons_share_a_hydrogen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hydrogens that may not leave the plane do not fit a vacancy: two of its carbons share one."""
    monkeypatch.setattr(hterm, "TILTS", (0.0,))
    made = terminate(hole(1, "atom"))
    hydrogen = made.atoms[made.atoms.numbers == 1]
    assert (hydrogen.get_all_distances() + 9 * np.eye(len(hydrogen))).min() >= 1.5 - SLACK
    told = [f for f in made.findings if "shared" in f or "without hydrogen" in f]
    assert told
    bridging = [n for k, n in enumerate(made.bonds.neighbours) if made.atoms[k].symbol == "H" and len(n) == 2]
    assert len(bridging) == sum("shared" in f for f in told)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "centre"), [(1, "atom"), (6, "ring")])
def test_a_short_relaxation_breaks_no_bond_and_makes_none(size: int, centre: str, tmp_path: Path) -> None:
    """Thirty steps of GFN1-xTB around a hole."""
    whole = terminate(cut(hole(size, centre), size=36, center=(12, 12)))
    engine = read_engine({"use": "xtb", "max_steps": 30})
    (relaxed,) = engine.simulate(whole, tmp_path)
    before, after = (
        {(int(i), int(j)) for i, j, _ in zip(*s.bonds.once, strict=True)} for s in (whole, relaxed.structure)
    )
    assert before == after


def test_what_is_there_already_is_no_stray() -> None:
    """Hydrogen and adatoms have few neighbours by nature: a second hterm changes nothing."""
    flat = terminate(cut(flake(16), size=24, center=(8, 8)))
    oxygen, *_ = Adsorb(what="O", sites=("top",), references=False).build(flat, NOTHING)
    again = terminate(oxygen)
    assert again.atoms.get_chemical_formula() == oxygen.atoms.get_chemical_formula()
    assert np.allclose(again.atoms.positions, oxygen.atoms.positions)


def test_silicon_across_a_carbon_is_no_bond() -> None:
    """Two Si on next-neighbour sites: hexagons as before, and at an edge both get their hydrogens."""
    whole = flake(16)
    middle = int(np.argmin(np.hypot(*(whole.atoms.positions[:, :2] - 8).T)))
    near = whole.bonds.neighbours
    whole.atoms.symbols[near[middle][:2]] = "Si"
    for k in near[middle][:2]:
        assert sorted(whole.bonds.neighbours[k]) == sorted(near[k])
    assert {len(ring) for ring in rings(whole.bonds)} == {6}


def test_more_electrons_than_there_are_cannot_be_taken() -> None:
    with pytest.raises(BadInput, match=r"a charge of 100000 e removes more electrons than the \d+ there are"):
        terminate(cut(flake(16), size=24, center=(8, 8)), charge=100_000)


def test_place_comes_first() -> None:
    with pytest.raises(BadInput, match="place starts a structure with the atoms found in the image, but"):
        list(Place().build(flake(16), Segmentation(atoms=mos2(16))))


def test_what_was_found_twice_can_be_left_to_merge() -> None:
    """`place` stops and names the pair, or leaves both for `merge`, which makes one of them."""
    xy = np.vstack([graphene_sheet(12).positions[:, :2], graphene_sheet(12).positions[3, :2] + [0.4, 0]])
    with pytest.raises(BadInput, match=rf"closer than 0\.9 Å: C 3–C {len(xy) - 1} \(0\.40 Å\); check the pixel size"):
        place(table_of(xy))
    both = place(table_of(xy), overlap="keep-both")
    (merged,) = Merge().build(both, NOTHING)
    assert len(merged.atoms) == len(xy) - 1


@settings(max_examples=25)
@given(
    corners=st.lists(st.floats(4.0, 11.0), min_size=5, max_size=9), turn=st.floats(0, 60), angle=st.floats(0, 60),
)  # fmt: skip
def test_any_outline_zigzag_armchair_or_concave_is_terminated(corners: list[float], turn: float, angle: float) -> None:
    """A star of random corners: no two hydrogens under 1.5 Å, no carbon without three neighbours but those told."""
    at = np.radians(turn) + 2 * np.pi * np.arange(len(corners)) / len(corners)
    star = np.column_stack([np.cos(at), np.sin(at)]) * np.array(corners)[:, None] + 12
    made = terminate(cut(flake(24, angle), polygon=star.tolist()))
    hydrogen = made.atoms[made.atoms.numbers == 1]
    assert (hydrogen.get_all_distances() + 9 * np.eye(len(hydrogen))).min() >= 1.5 - SLACK
    lacking = [k for k, n in enumerate(made.bonds.neighbours) if made.atoms[k].symbol == "C" and len(n) != 3]
    told = " ".join(f for f in made.findings if "without hydrogen" in f or "shared" in f)
    assert all(re.search(rf"\bC {k}\b", told) for k in lacking)
