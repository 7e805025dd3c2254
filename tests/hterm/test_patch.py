"""Laws of choosing a part of the frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.conftest import NOTHING, built, flake, stem2sim, table_of

from stem2sim.analysis.validation import validate
from stem2sim.errors import BadInput
from stem2sim.geometry import bonds as graph
from stem2sim.geometry.rings import rings
from stem2sim.segmentation import Segmentation
from stem2sim.structure import Structure
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from stem2sim.geometry.pairs import Pairs


def cut(structure: Structure, found: Segmentation = NOTHING, **options: object) -> list[Structure]:
    return list(Patch(**options).build(structure, found))  # type: ignore[arg-type]


def middle_of(structure: Structure) -> np.ndarray:
    return np.asarray(structure.atoms.positions[:, :2].mean(axis=0))


def holed(*places: tuple[float, float], width: float = 36.0, size: int = 6) -> Structure:
    """A sheet without the atoms nearest to each place."""
    atoms = flake(width, 7).atoms
    for place in places:
        atoms = atoms[np.sort(np.argsort(np.hypot(*(atoms.positions[:, :2] - place).T), kind="stable")[size:])]
    return Structure(atoms=atoms)


def test_a_hole_is_found_and_its_rim_is_whole() -> None:
    """Of two holes, the one with the more certain surroundings; every atom round it is in the patch."""
    sheet = holed((10, 18), (26, 18))
    sheet.atoms.set_array("probability", np.where(sheet.atoms.positions[:, 0] < 18, 0.7, 0.99))
    (made,) = cut(sheet, contains="hole", size=50)
    assert max(len(ring) for ring in rings(made.bonds)) > 8
    assert middle_of(made) == pytest.approx([26, 18], abs=1.5)
    both = cut(sheet, contains="hole", size=50, count=2)
    assert [one.label for one in both] == ["patch-1", "patch-2"]
    assert middle_of(both[1]) == pytest.approx([10, 18], abs=1.5)
    with pytest.raises(BadInput, match=r"only 2 of 3 patches fit without overlap \(contains = 'hole'\)"):
        cut(sheet, contains="hole", size=50, count=3)
    with pytest.raises(BadInput, match="no patch of up to 50 atoms contains a whole hole"):
        cut(flake(24), contains="hole", size=50)


def test_an_edge_of_the_sheet_is_not_where_the_frame_ends() -> None:
    """Vacuum on the right: the patch lies at the sheet's own edge, away from the frame's corners."""
    whole = flake(36, 7).atoms
    sheet = Structure(atoms=whole[whole.positions[:, 0] < 22])
    frame = Segmentation(
        atoms=table_of(sheet.atoms.positions[:, :2]), mean=np.zeros((2, 361, 361), dtype=np.float32), pixel_size=0.1
    )
    (made,) = cut(sheet, frame, contains="edge", size=40)
    x, y = made.atoms.positions[:, :2].T
    assert x.max() > 20.5
    assert y.min() > 1
    assert y.max() < 35
    assert "around the edge of the sheet (C " in made.findings[-1]
    full = Segmentation(
        atoms=table_of(whole.positions[:, :2]), mean=np.zeros((2, 361, 361), dtype=np.float32), pixel_size=0.1
    )
    with pytest.raises(BadInput, match="no edge of the sheet is 4 Å or more from the border of the image"):
        cut(Structure(atoms=whole), full, contains="edge")


def test_the_most_uncertain_place_is_the_one_to_look_at() -> None:
    sheet = flake(36)
    away = np.hypot(*(sheet.atoms.positions[:, :2] - [12, 24]).T)
    sheet.atoms.set_array("probability", np.where(away < 3, 0.6, 0.99))
    (made,) = cut(sheet, contains="any", by="uncertainty", size=40)
    assert middle_of(made) == pytest.approx([12, 24], abs=1.5)
    (sure,) = cut(sheet, contains="any", size=40)
    assert sure.atoms.arrays["probability"].min() == 0.99
    # doubt about the species counts as well
    table = table_of(sheet.atoms.positions[:, :2])
    entropy = np.where(np.hypot(*(table.positions - [25, 10]).T) < 3, 0.69, 0.0)
    sheet.atoms.set_array("probability", np.ones(len(sheet.atoms)))
    found = Segmentation(atoms=table.model_copy(update={"entropy": entropy}))
    (doubtful,) = cut(sheet, found, contains="any", by="uncertainty", size=40)
    assert middle_of(doubtful) == pytest.approx([25, 10], abs=1.5)


@settings(max_examples=15)
@given(count=st.integers(2, 5), size=st.integers(10, 30), seed=st.integers(0, 99))
def test_several_patches_share_no_atom(count: int, size: int, seed: int) -> None:
    """Each connected and no larger than asked; the first is the one that a single patch would be."""
    sheet = flake(36, 4)
    sheet.atoms.set_array("probability", np.random.default_rng(seed).uniform(0.5, 1, len(sheet.atoms)))
    made = cut(sheet, contains="any", size=size, count=count)
    source = [one.atoms.arrays["source"].tolist() for one in made]
    assert len(made) == count
    assert len(set().union(*source)) == sum(map(len, source))
    for one in made:
        assert len(one.atoms) <= size
        assert min(len(near) for near in one.bonds.neighbours) >= 2
    (alone,) = cut(sheet, contains="any", size=size)
    assert alone.atoms.arrays["source"].tolist() == source[0]
    tried = np.random.default_rng(seed + 1).choice(len(sheet.atoms), 40)
    joint = [np.log(alone.atoms.arrays["probability"]).sum()]
    for k in tried:
        x, y = sheet.atoms.positions[k, :2]
        if min(x, y) > 8 and max(x, y) < 28:
            (other,) = cut(sheet, center=(x, y), size=size)
            if len(other.atoms) == len(alone.atoms):
                joint.append(np.log(other.atoms.arrays["probability"]).sum())
    assert joint[0] >= np.quantile(joint, 0.9), "hardly a patch elsewhere is more probable as a whole"


def test_regions_in_angstrom_and_pixels() -> None:
    """A box, a circle, a polygon hold just what is bonded within them; several centres are several patches."""
    sheet = flake(36)
    found = Segmentation(atoms=table_of(sheet.atoms.positions[:, :2]), pixel_size=0.2)
    xy = sheet.atoms.positions[:, :2]
    triangle = ((10.0, 10.0), (26.0, 10.0), (18.0, 26.0))
    for option, inside in (
        ({"box": (8, 20, 10, 25)}, (xy[:, 0] > 8) & (xy[:, 0] < 20) & (xy[:, 1] > 10) & (xy[:, 1] < 25)),
        ({"circle": (18, 18, 7)}, np.hypot(*(xy - 18).T) < 7),
        ({"polygon": triangle}, (xy[:, 1] > 10) & (np.abs(xy[:, 0] - 18) < (26 - xy[:, 1]) / 2)),
    ):
        (made,) = cut(sheet, found, **option)
        kept = set(made.atoms.arrays["source"].tolist())
        assert kept <= set(np.flatnonzero(inside).tolist())
        near = sheet.bonds.neighbours
        left = [k for k in np.flatnonzero(inside) if k not in kept and sum(n in kept for n in near[k]) >= 2]
        assert not left
        in_pixels = {name: (np.array(values) / 0.2).tolist() for name, values in option.items()}
        (again,) = cut(sheet, found, unit="pixel", **in_pixels)
        assert again.atoms == made.atoms
    several = cut(sheet, found, center=[(10, 10), (25, 25)], size=24)
    assert [one.label for one in several] == ["patch-1", "patch-2"]
    for one, at in zip(several, ((10, 10), (25, 25)), strict=True):
        assert middle_of(one) == pytest.approx(at, abs=1.5)


def test_what_cannot_be_cut_is_one_line() -> None:
    sheet = flake(24)
    count = len(sheet.atoms)
    with pytest.raises(BadInput, match=rf"size = 5000 atoms, but there are only {count}"):
        cut(sheet, size=5000)
    with pytest.raises(BadInput, match=r"no atom within the circle; they span x 0\.\d to 2\d\.\d"):
        cut(sheet, circle=(90, 90, 5))
    with pytest.raises(BadInput, match=r"the box holds \d+ connected atoms, more than size = 10"):
        cut(sheet, box=(2, 20, 2, 20), size=10)
    with pytest.raises(BadInput, match="the pixel size is not known; give center"):
        cut(sheet, circle=(50, 50, 30), unit="pixel")
    for options, said in (
        ({"box": (5, 1, 0, 1)}, "a box is x from, x to, y from, y to, in ascending order"),
        ({"box": (0, 5, 0, 5), "circle": (1, 1, 2)}, "give a region as one shape, not as box and circle"),
        ({"circle": (1, 1, -2)}, "the radius of a circle must be positive, got -2"),
        ({"box": (0, 5, 0, 5), "count": 2}, "a box is one patch"),
        ({"center": (1, 2), "count": 2}, "give a list of centers instead"),
        ({"contains": "Unobtainium"}, "contains must be 'impurity', 'hole', 'edge', 'any' or a species"),
    ):
        with pytest.raises(ValidationError, match=said):
            Patch(**options)  # type: ignore[arg-type]


def test_several_patches_are_several_runs(tmp_path: Path) -> None:
    """From a config, each to a structure of its own that knows its place in the frame."""
    rows = [f"{x:.4f},{y:.4f},C" for x, y in flake(30).atoms.positions[:, :2]]
    (tmp_path / "atoms.csv").write_text("\n".join(["x,y,species", *rows]) + "\n")
    (tmp_path / "run.toml").write_text(
        '[segment]\nuse = "atoms-table"\npath = "atoms.csv"\n[[build]]\nuse = "place"\n[[build]]\nuse = "patch"\n'
        'size = 24\ncenter = [[8, 8], [22, 20]]\n[[build]]\nuse = "hterm"\n'
    )
    done = stem2sim("build", tmp_path / "run.toml", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    for name, at in (("patch-1", "x = 8.00, y = 8.00 Å"), ("patch-2", "x = 22.00, y = 20.00 Å")):
        one = Structure.read(tmp_path / "run" / f"structure-{name}.extxyz")
        assert sum(at in finding for finding in one.findings) == 1


@pytest.mark.parametrize("terminate", ["all", "outer"])
def test_the_bond_graph_of_a_structure_is_built_once(monkeypatch: pytest.MonkeyPatch, terminate: str) -> None:
    """On the way from a sheet to a validated flake: that of the sheet, and that with hydrogen on it."""
    built_of: list[int] = []
    near_pairs = graph.near_pairs

    def counted(atoms: Atoms, cutoff: np.ndarray) -> Pairs:
        built_of.append(len(atoms))
        return near_pairs(atoms, cutoff)

    sheet = flake(24, 5)
    monkeypatch.setattr(graph, "near_pairs", counted)
    made = built(sheet, Patch(size=60, contains="any"), Hterm(terminate=terminate)).in_a_cell()
    validate(made)
    rings(made.bonds)
    assert built_of == [len(sheet.atoms), len(made.atoms)]
