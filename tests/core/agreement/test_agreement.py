"""A structure compared with its image: what is wrong in it is found, atom by atom, and nothing else is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atom, Atoms

from stem2sim.agreement.compare_back import agreement
from stem2sim.agreement.sites import BRIGHTER
from stem2sim.atoms_table import AtomsTable
from stem2sim.config.config import read_config
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.rings import rings
from stem2sim.image import Image
from stem2sim.imaging.forward import Probe, Scan
from stem2sim.segmentation import Segmentation
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.agreement.agreement import Agreement

PIXEL = 0.1
PROBE = Probe(fwhm=1.2, tail_weight=0.15)


@pytest.fixture(scope="module")
def seen() -> tuple[Image, Segmentation]:
    """Return a noisy frame of graphene with one Si, and its atoms, measured with an error of 0.05 Å."""
    rng = np.random.default_rng(3)
    sheet = graphene_sheet(24.0, 12.0)
    middle = int(np.linalg.norm(sheet.positions[:, :2] - 11, axis=1).argmin())
    sheet.symbols[middle] = "Si"
    frame = PROBE.render(sheet.positions[:, :2], sheet.numbers, PIXEL, (225, 225))
    pixels = Scan(dose=600, offset=0.3).expose(frame, PIXEL, rng)
    xy = sheet.positions[:, :2] + rng.normal(0, 0.05, (len(sheet), 2))
    inside = ((xy > 0.5) & (xy < 22)).all(axis=1)
    table = AtomsTable.of(sheet).chosen(inside).model_copy(update={"x": xy[inside, 0], "y": xy[inside, 1]})
    return Image(pixels=pixels, pixel_size=PIXEL), Segmentation(atoms=table, pixel_size=PIXEL)


def patch(segmentation: Segmentation, *more: str) -> Atoms:
    """Return a terminated patch of what was found."""
    names = ["place", "patch", "hterm", *more]
    config = read_config(
        {
            "image": {"path": "none.npy"},
            "build": [{"use": name} | ({"size": 36} if name == "patch" else {}) for name in names],
        }
    )
    structure = Structure.empty()
    for builder in config.build:
        (structure,) = builder.build(structure, segmentation)
    return structure.atoms


def inner(atoms: Atoms) -> int:
    """Number of a carbon atom well inside."""
    flat = atoms.positions[:, :2]
    away = np.linalg.norm(flat - flat.mean(axis=0), axis=1)
    away[np.array(atoms.get_chemical_symbols()) != "C"] = np.inf
    return int(np.argsort(away)[4])


def less(atoms: Atoms) -> tuple[Atoms, str, tuple[int, ...]]:
    changed = atoms.copy()
    del changed[inner(atoms)]
    return changed, "missing", ()


def more(atoms: Atoms) -> tuple[Atoms, str, tuple[int, ...]]:
    changed = atoms.copy()
    flat = atoms.positions
    # beside Si a place is brighter by its tail: there a carbon too many is called unclear
    faces = [ring.centre for ring in rings(Bonds.of(atoms)) if "Si" not in atoms.symbols[list(ring.atoms)]]
    changed.append(Atom("C", min(faces, key=lambda c: np.linalg.norm((c - flat.mean(axis=0))[:2]))))
    changed.arrays["source"][-1] = -1
    return changed, "extra", (len(atoms),)


def swapped(atoms: Atoms) -> tuple[Atoms, str, tuple[int, ...]]:
    changed = atoms.copy()
    changed.symbols[inner(atoms)] = "Si"
    return changed, "wrong species", (inner(atoms),)


def shifted(atoms: Atoms) -> tuple[Atoms, str, tuple[int, ...]]:
    changed = atoms.copy()
    changed.positions[inner(atoms), :2] += 0.5 * np.array([0.6, 0.8])
    return changed, "displaced", (inner(atoms),)


CHANGES = (less, more, swapped, shifted)


def check(found: Agreement, kind: str, atoms: tuple[int, ...]) -> None:
    assert [(one.kind, one.atoms) for one in found.unexplained()] == [(kind, atoms)]


def test_a_right_structure_is_explained_as_well_as_noise_allows(seen: tuple[Image, Segmentation]) -> None:
    found = agreement(*seen, patch(seen[1]))
    assert set(found.counts()) == {"explained"}
    assert found.ceiling - 0.06 < found.correlation < found.ceiling + 0.02
    assert found.probe.fwhm == pytest.approx(PROBE.fwhm, rel=0.08)
    assert found.probe.scattering_exponent == pytest.approx(PROBE.scattering_exponent, abs=0.2)
    # what is left where the structure is claimed is noise: as rough as the frame's own
    assert found.residual[found.counted].std() == pytest.approx(found.noise, rel=0.15)


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_wrong_is_found_and_nothing_else(seen: tuple[Image, Segmentation], change: object) -> None:
    atoms = patch(seen[1])
    wrong, kind, where = change(atoms)  # type: ignore[operator]
    built_as = wrong if len(wrong) != len(atoms) else atoms
    check(agreement(*seen, wrong, built_as), kind, where)


@pytest.fixture(scope="module", params=["graphene_si_2nm.npy", "graphene_grain_boundary_4nm.npy"])
def real(request: pytest.FixtureRequest, stem: Path) -> tuple[Image, Segmentation, Atoms]:
    """Return a real frame, what the networks found in it, and a terminated patch of 60 atoms."""
    config = read_config({"image": {"path": str(stem / request.param), "pixel_size": 0.0781}})
    assert config.image is not None
    assert config.segment is not None
    image = config.image.read()
    found = config.segment.segment(image)
    return image, found, patch(found)


def test_real_frames_show_what_was_built(real: tuple[Image, Segmentation, Atoms]) -> None:
    found = agreement(*real)
    assert set(found.counts()) == {"explained"}
    assert found.correlation > 0.8 * found.ceiling


@pytest.mark.parametrize("change", CHANGES)
def test_in_real_frames_what_is_wrong_is_found(real: tuple[Image, Segmentation, Atoms], change: object) -> None:
    image, segmentation, atoms = real
    wrong, kind, where = change(atoms)  # type: ignore[operator]
    built_as = wrong if len(wrong) != len(atoms) else atoms
    check(agreement(image, segmentation, wrong, built_as), kind, where)


def test_a_shift_of_what_was_measured_is_taken_out(seen: tuple[Image, Segmentation]) -> None:
    """All positions 0.2 Å off: the structure is registered to the frame, and no atom is displaced."""
    image, segmentation = seen
    off = segmentation.atoms.model_copy(update={"x": segmentation.atoms.x + 0.2})
    moved = segmentation.model_copy(update={"atoms": off})
    found = agreement(image, moved, patch(moved))
    assert set(found.counts()) == {"explained"}
    assert found.shift == pytest.approx((-0.2, 0.0), abs=0.03)


def test_a_periodic_cell_is_laid_out_again(seen: tuple[Image, Segmentation]) -> None:
    """Atoms wrapped to the other side of the cell are where the frame has them."""
    atoms = patch(seen[1])
    atoms = atoms[atoms.numbers != 1]
    atoms.set_cell([40, 40, 20])
    atoms.pbc = True
    atoms.positions += [20, 20, 10] - atoms.positions.mean(axis=0)
    before = agreement(*seen, atoms)
    atoms.positions += [19, 3, 0]
    atoms.wrap()
    after = agreement(*seen, atoms)
    assert after.correlation == pytest.approx(before.correlation, abs=1e-6)


def test_another_drawing_lies_on_the_frame_as_the_structure_does(seen: tuple[Image, Segmentation]) -> None:
    """A picture in the structure's own coordinates is as much like the frame as our own drawing; a shifted one less."""
    atoms = patch(seen[1])
    atoms.positions += [5.0, -3.0, 0]
    found = agreement(*seen, atoms)
    heavy = atoms[atoms.numbers != 1]
    x, y = heavy.positions[:, :2].min(axis=0) - 4
    picture = PROBE.render(heavy.positions[:, :2] - [x, y], heavy.numbers, PIXEL, (260, 260))
    assert found.correlation_with(picture, PIXEL, (x, y)) == pytest.approx(
        found.correlation, abs=0.07
    )  # what is round it is not in the picture
    assert found.correlation_with(picture, PIXEL, (x + 0.7, y)) < found.correlation - 0.1


def test_an_atom_above_another_is_one_peak_with_it(seen: tuple[Image, Segmentation]) -> None:
    atoms = patch(seen[1])
    k = inner(atoms)
    added = atoms.copy()
    added.append(Atom("Cr", atoms.positions[k] - [0, 0, 2.0]))
    added.arrays["source"][-1] = -1
    one = next(v for v in agreement(*seen, added).verdicts if len(v.atoms) == 2)
    assert one.atoms == (k, len(atoms))
    assert one.species == "C+Cr"
    assert one.kind == "wrong species"
    assert one.expected > 5
    assert one.height < 1.5


def test_atoms_that_no_frame_shows_are_refused(seen: tuple[Image, Segmentation]) -> None:
    with pytest.raises(BadInput, match="place in the image is not known"):
        agreement(*seen, Atoms("C2", positions=[[0, 0, 0], [1.4, 0, 0]]))


def test_a_frame_of_noise_explains_nothing(seen: tuple[Image, Segmentation]) -> None:
    rng = np.random.default_rng(0)
    for pixels in (rng.normal(size=(225, 225)), rng.poisson(0.05, (225, 225))):
        found = agreement(Image(pixels=pixels, pixel_size=PIXEL), seen[1], patch(seen[1]))
        assert set(found.counts()) == {"unclear"}
        assert "too strong to assess individual atoms" in found.note
        assert found.correlation < 0.3


def test_a_species_that_nobody_named_is_not_explained(seen: tuple[Image, Segmentation]) -> None:
    """Si that both networks and structure call C: brighter than anything known."""
    image, segmentation = seen
    blind = segmentation.atoms.model_copy(update={"species": np.full(len(segmentation.atoms), "C")})
    table = segmentation.model_copy(update={"atoms": blind})
    atoms = patch(segmentation)
    atoms.symbols[atoms.symbols.indices()["Si"]] = "C"
    (doubt,) = agreement(image, table, atoms).unexplained()
    assert doubt.kind == "wrong species"
    assert doubt.image_shows == BRIGHTER
    assert doubt.height > 3


def disulfide(shape: int = 240) -> tuple[Image, Segmentation, Atoms]:
    """Return a frame of MoS2, its columns as a segmenter names them, and the structure of its inner part."""
    a = 3.16
    basis = np.array([[1, 0], [0.5, np.sqrt(0.75)]]) * a
    cells = np.stack(np.meshgrid(np.arange(-9, 10), np.arange(-9, 10)), axis=-1).reshape(-1, 2) @ basis
    flat = np.vstack([cells, cells + basis.sum(axis=0) / 3]) + shape * PIXEL / 2
    species = np.repeat(["Mo", "S2"], len(cells))
    numbers = [42 if s == "Mo" else 16 for s in species]
    twice = np.vstack([flat, flat[species == "S2"]])
    frame = PROBE.render(twice, [*numbers, *([16] * len(cells))], PIXEL, (shape, shape))
    pixels = Scan(dose=400, offset=0.3).expose(frame, PIXEL, np.random.default_rng(1))
    inside = ((flat > 0.5) & (flat < shape * PIXEL - 0.6)).all(axis=1)
    n = int(inside.sum())
    table = AtomsTable(x=flat[inside, 0], y=flat[inside, 1], species=species[inside], probability=np.ones(n),
                       position_std=np.full(n, 0.05), entropy=np.zeros(n))  # fmt: skip
    near = np.flatnonzero(np.hypot(*(table.positions - shape * PIXEL / 2).T) < 6)
    atoms = Atoms()
    for row in near.tolist():
        for z in (0.0,) if table.species[row] == "Mo" else (-1.56, 1.56):
            atoms.append(Atom("Mo" if z == 0 else "S", (*table.positions[row], z)))
    source = [row for row in near.tolist() for _ in range(1 if table.species[row] == "Mo" else 2)]
    atoms.set_array("source", np.array(source))
    return Image(pixels=pixels, pixel_size=PIXEL), Segmentation(atoms=table, pixel_size=PIXEL), atoms


def test_columns_of_several_atoms_are_as_bright_as_all_of_them() -> None:
    """MoS2 explains itself, and a column of sulphur that the structure lacks is found."""
    image, table, atoms = disulfide()
    found = agreement(image, table, atoms)
    assert set(found.counts()) == {"explained"}
    assert {one.species for one in found.verdicts} == {"Mo", "S2"}
    middle = atoms.positions[:, :2].mean(axis=0)
    away = np.linalg.norm(atoms.positions[:, :2] - middle, axis=1) + 100 * (atoms.numbers != 16)
    one, other = np.argsort(away)[:2].tolist()
    lacking = atoms.copy()
    del lacking[[one, other]]
    check(agreement(image, table, lacking), "missing", ())


def test_a_cell_that_repeats_lacks_none_of_its_images(seen: tuple[Image, Segmentation]) -> None:
    build = [{"use": "place"}, {"use": "periodic", "repeats": [5, 5]}]
    config = read_config({"image": {"path": "none.npy"}, "build": build})
    structure = Structure.empty()
    for builder in config.build:
        (structure,) = builder.build(structure, seen[1])
    found = agreement(*seen, structure.atoms)
    assert set(found.counts()) == {"explained"}


def test_drift_and_turn_of_a_simulation_are_no_displacement(seen: tuple[Image, Segmentation]) -> None:
    atoms = patch(seen[1])
    drifted = atoms.copy()
    drifted.rotate(8, "z", center="COP")
    drifted.positions += [1.0, -2.0, 0.3]
    found, before = agreement(*seen, drifted, atoms), agreement(*seen, atoms)
    assert set(found.counts()) == {"explained"}
    assert found.correlation == pytest.approx(before.correlation, abs=1e-3)


def test_what_the_frame_does_not_show_is_not_judged(seen: tuple[Image, Segmentation]) -> None:
    """Atoms beyond the border; and every verdict is JSON, whatever is not known."""
    atoms = patch(seen[1])
    more = atoms.copy()
    more.append(Atom("C", (-3.0, 11.0, 0)))
    more.append(Atom("C", faces_centre(atoms)))
    more.arrays["source"][-2:] = -1
    found = agreement(*seen, more)
    assert found.counts()["not judged"] == 1
    assert [one.kind for one in found.unexplained()] == ["extra"]
    assert "Infinity" not in json.dumps(found.summary())


def faces_centre(atoms: Atoms) -> np.ndarray:
    faces = [ring.centre for ring in rings(Bonds.of(atoms)) if "Si" not in atoms.symbols[list(ring.atoms)]]
    return np.asarray(faces[0])


def test_nothing_to_judge_is_an_error_for_people(seen: tuple[Image, Segmentation]) -> None:
    hydrogen = Atoms("H2", positions=[[10, 10, 0], [11, 10, 0]])
    hydrogen.set_array("source", np.array([0, 1]))
    with pytest.raises(BadInput, match="no atom to compare with the image"):
        agreement(*seen, hydrogen)
    beyond = Atoms("C6", positions=[[300 + k, 300 + k * k, 0] for k in range(6)])
    beyond.set_array("source", np.full(6, -1))
    with pytest.raises(BadInput):
        agreement(*seen, beyond)
