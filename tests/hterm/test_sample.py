"""Laws of drawing structures from what is uncertain."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import NOTHING, flake, table_of

from stem2sim.errors import BadInput
from stem2sim.lattice import lattice_of
from stem2sim.segmentation import Segmentation
from stem2sim.structure import Structure
from stem2sim.testing import check_builder, graphene_sheet
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.place import Place
from stem2sim_hterm.sample import Sample

XY = graphene_sheet(14, 9).positions[:, :2]
DOUBTFUL, MIXED = (int(np.argmin(np.hypot(*(XY - middle).T))) for middle in ((7, 7), (4, 9)))


def uncertain(std: float = 0.04) -> Segmentation:
    """A sheet: one atom as likely there as not, one of 40 % silicon, all others certain."""
    n = len(XY)
    probability, silicon = np.ones(n), np.zeros(n)
    probability[DOUBTFUL], silicon[MIXED] = 0.45, 0.4
    more = {"position_std": np.full(n, std), "shares": {"C": 1 - silicon, "Si": silicon}}
    return Segmentation(atoms=table_of(XY, probability=probability).model_copy(update=more))


def placed(found: Segmentation) -> Structure:
    (made,) = Place().build(Structure.empty(), found)
    return made


def test_samples_differ_as_their_uncertainties_say() -> None:
    """Over 400 of them: positions by their standard deviation, a species and an atom by their probabilities."""
    found = uncertain()
    drawn = list(Sample(count=400).build(placed(found), found))
    assert [one.label for one in drawn] == [f"sample-{k}" for k in range(1, 401)]
    moved = []
    for one in drawn:
        source = one.atoms.arrays["source"]
        moved.append(one.atoms.positions[source != DOUBTFUL, :2] - XY[source[source != DOUBTFUL]])
    spread = np.concatenate(moved)
    assert spread.std() == pytest.approx(0.04, rel=0.02)
    assert np.abs(spread.mean(axis=0)).max() < 0.001
    there = np.mean([DOUBTFUL in one.atoms.arrays["source"] for one in drawn])
    assert there == pytest.approx(0.45, abs=0.1)
    silicon = np.mean([one.atoms.symbols[one.atoms.arrays["source"] == MIXED][0] == "Si" for one in drawn])
    assert silicon == pytest.approx(0.4, abs=0.1)
    assert {len(one.atoms) for one in drawn} == {len(XY), len(XY) - 1}


def test_one_sample_is_the_mean() -> None:
    found = uncertain()
    mean = placed(found)
    (one,) = Sample(count=1).build(mean, found)
    assert one.atoms == mean.atoms
    assert one.label == "mean"


def test_a_seed_is_a_set_of_samples() -> None:
    found = uncertain()
    first, again, other = (
        [one.atoms.positions for one in Sample(count=3, seed=seed).build(placed(found), found)] for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    check_builder(Sample(count=3), placed(found), found)


def test_doubtful_atoms_come_in_where_the_structure_has_its_own_scale() -> None:
    """The scan's stretch was taken out of the structure: an atom that place left out follows it."""
    stretch = np.array([[1.05, 0.02], [0.02, 0.96]])
    found = uncertain(0.0)
    table = found.atoms.model_copy(update={"x": (XY @ stretch)[:, 0], "y": (XY @ stretch)[:, 1]})
    lattice = lattice_of(0.1 * np.linalg.inv(stretch), 2.46)
    scanned = Segmentation(atoms=table, pixel_size=0.1, lattice=lattice)
    for one in Sample(count=12).build(placed(scanned), scanned):
        source = one.atoms.arrays["source"]
        assert one.atoms.positions[:, :2] == pytest.approx(XY[source], abs=1e-6)


def test_what_cannot_be_drawn_is_refused() -> None:
    found = uncertain()
    (terminated,) = Hterm().build(placed(found), found)
    with pytest.raises(BadInput, match="put it before builders that add others"):
        list(Sample().build(terminated, found))
    with pytest.raises(BadInput, match="after place and before hterm"):
        list(Sample().build(flake(8), NOTHING))
    unknown = Segmentation(atoms=uncertain(np.nan).atoms)
    with pytest.raises(BadInput, match=r"position_std is not known for \d+ of \d+ atoms"):
        list(Sample().build(placed(unknown), unknown))
