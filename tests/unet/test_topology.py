"""From a frame to a network of rings: the defects that a structure shows are those that are there."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.rings import rings
from stem2sim.image import Image
from stem2sim.imaging.forward import Probe, Scan
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet, segmentation_of
from stem2sim_hterm.place import Place
from stem2sim_unet.unet import Unet

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.segmentation import Segmentation

WIDTH = 30.0
"""[Å]"""

CARBON, SILICON, SECOND = 1.42, 1.80, 2.46
"""[Å]; bonds of C-C and C-Si, and next neighbours."""


def settled(atoms: Atoms) -> Atoms:
    """Return atoms in the plane where bonds and angles are as near to graphene's as their network allows."""
    i, j, _ = Bonds.of(atoms).once
    near = Bonds.of(atoms).neighbours
    second = np.array([(a, b) for around in near for k, a in enumerate(around) for b in around[k + 1 :]])
    wanted = np.where((atoms.numbers[i] == 14) | (atoms.numbers[j] == 14), SILICON, CARBON)
    start = atoms.positions[:, :2]
    held = np.array([len(around) < 3 for around in near]) & (np.abs(start - WIDTH / 2).max(axis=1) > WIDTH / 2)

    def energy(flat: np.ndarray) -> tuple[float, np.ndarray]:
        xy, total, slope = flat.reshape(-1, 2), 0.0, np.zeros_like(start)
        for a, b, length, stiff in ((i, j, wanted, 1.0), (*second.T, SECOND, 0.15)):
            across = xy[a] - xy[b]
            off = np.hypot(*across.T) - length
            total += stiff * float((off**2).sum())
            push = (2 * stiff * off / (off + length))[:, None] * across
            np.add.at(slope, a, push)
            np.add.at(slope, b, -push)
        slope[held] = 0
        return total, slope.ravel()

    made = atoms.copy()
    made.positions[:, :2] = minimize(energy, start.ravel(), jac=True, method="L-BFGS-B").x.reshape(-1, 2)
    return made


def sheet_and_bond() -> tuple[Atoms, int, int]:
    """A sheet wider than the frame, and two bonded atoms in its middle."""
    sheet = graphene_sheet(WIDTH + 8, 7.0)
    sheet.positions[:, :2] -= 4
    xy = sheet.positions[:, :2]
    one = int(np.argmin(np.hypot(*(xy - WIDTH / 2).T)))
    return sheet, one, int(np.argsort(np.hypot(*(xy - xy[one]).T))[1])


def stone_wales() -> Atoms:
    sheet, one, two = sheet_and_bond()
    middle = (sheet.positions[one] + sheet.positions[two]) / 2
    for k in (one, two):
        x, y, z = sheet.positions[k] - middle
        sheet.positions[k] = middle + 0.95 * np.array([-y, x, z])
    return settled(sheet)


def divacancy() -> Atoms:
    """Two atoms gone, and what they leave bonded in pairs: 5-8-5."""
    sheet, one, two = sheet_and_bond()
    middle = (sheet.positions[one] + sheet.positions[two]) / 2
    del sheet[[one, two]]
    left = np.argsort(np.linalg.norm(sheet.positions - middle, axis=1))[:4].tolist()
    first = left.pop(0)
    partner = min(left, key=lambda k: float(np.linalg.norm(sheet.positions[k] - sheet.positions[first])))
    left.remove(partner)
    for a, b in ((first, partner), left):
        centre, along = (sheet.positions[a] + sheet.positions[b]) / 2, sheet.positions[b] - sheet.positions[a]
        sheet.positions[[a, b]] = centre + 0.8 * np.outer([-1, 1], along / np.linalg.norm(along))
    return settled(sheet)


def silicon(neighbours_of_it: int) -> Atoms:
    """Silicon on the site of one carbon (three neighbours), or of two (four)."""
    sheet, one, two = sheet_and_bond()
    sheet.numbers[one] = 14
    if neighbours_of_it == 4:
        sheet.positions[one] = (sheet.positions[one] + sheet.positions[two]) / 2
        del sheet[two]
    return settled(sheet)


DEFECTS = {
    "Stone-Wales": (stone_wales, {5: 2, 7: 2}, []),
    "5-8-5": (divacancy, {5: 2, 8: 1}, []),
    "Si with three": (lambda: silicon(3), {}, [3]),
    "Si with four": (lambda: silicon(4), {5: 2}, [4]),
}
"""Name -> how it is made, its rings that are no hexagons, and the neighbours of its silicon."""


def frame_of(atoms: Atoms, dose: float, pixel_size: float, width: float = WIDTH) -> Image:
    n = int(width / pixel_size)
    clean = Probe().render(atoms.positions[:, :2], atoms.numbers, pixel_size, (n, n))
    return Image(pixels=Scan(dose=dose).expose(clean, pixel_size, np.random.default_rng(1)), pixel_size=pixel_size)


def placed(found: Segmentation, scale: str = "lattice") -> Atoms:
    (made,) = Place(overlap="keep-likelier", scale=scale).build(Structure.empty(), found)  # type: ignore[arg-type]
    return made.atoms


def inside(atoms: Atoms, margin: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and centres [Å] of the rings that lie this far within the frame."""
    every = [(len(ring), ring.centre[:2]) for ring in rings(Bonds.of(atoms))]
    kept = [(n, at) for n, at in every if margin < at.min() and at.max() < width - margin]
    return np.array([n for n, _ in kept]), np.array([at for _, at in kept])


def other_rings(one: Atoms, two: Atoms, width: float = WIDTH) -> list[tuple[int, int]]:
    """Rings, well within the frame, of either that the other does not have at the same place in the same size."""
    wrong = []
    for a, b in ((one, two), (two, one)):
        (sizes, at), (others, there) = inside(a, 4.0, width), inside(b, 2.0, width)
        away, nearest = cKDTree(there).query(at)
        wrong += [(int(n), int(m)) for n, m, d in zip(sizes, others[nearest], away, strict=True) if n != m or d > 0.7]
    return wrong


@pytest.mark.parametrize(("dose", "pixel_size"), [(300, 0.1), (1000, 0.2), (3000, 0.08)])
@pytest.mark.parametrize("name", list(DEFECTS))
def test_rings_are_those_of_the_true_positions(name: str, dose: float, pixel_size: float) -> None:
    """Known defects through the forward model, the networks and `place`."""
    make, odd, bonded = DEFECTS[name]
    true = make()
    sizes = Counter(inside(true, 4.0, WIDTH)[0].tolist())
    assert {n: count for n, count in sizes.items() if n != 6} == odd
    found = Unet().segment(frame_of(true, dose, pixel_size))
    made = placed(found)
    assert other_rings(true, made) == []
    around = [len(near) for near, symbol in zip(Bonds.of(made).neighbours, made.symbols, strict=True) if symbol == "Si"]
    assert around == bonded


def test_a_real_grain_boundary_is_the_chain_of_rings_that_it_is(stem: Path) -> None:
    """Pentagons and heptagons where the authors' own table of this frame has them; and, seen again, the same."""
    name, stated = "graphene_grain_boundary_4nm", 0.0781
    found = Unet().segment(Image(pixels=np.load(stem / f"{name}.npy"), pixel_size=stated))
    made = placed(found)
    with (stem / f"{name}_atomnet.csv").open() as file:
        known = np.array([[float(r["col_px"]), float(r["row_px"])] for r in csv.DictReader(file)]) * stated
    table = segmentation_of(Atoms(f"C{len(known)}", positions=np.pad(known, ((0, 0), (0, 1)))))
    reference = placed(table.model_copy(update={"lattice": found.lattice, "pixel_size": stated}))
    assert found.lattice is not None
    width = 512 * found.lattice.pixel_size
    sizes = Counter(inside(reference, 4.0, width)[0].tolist())
    assert sizes == {5: 7, 6: 188, 7: 8}
    assert other_rings(reference, made, width) == []
    again = Unet().segment(frame_of(made, 300, 0.08, width))
    assert other_rings(made, placed(again, scale="stated"), width) == []
