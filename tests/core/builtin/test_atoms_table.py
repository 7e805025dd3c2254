from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from stem2sim.atoms_table import AtomsTable
from stem2sim.builtin.atoms_table import AtomsTableSegmenter
from stem2sim.errors import BadInput
from stem2sim.lattice import Lattice
from stem2sim.segmentation import Ambiguity, Segmentation
from stem2sim.testing import graphene_sheet

if TYPE_CHECKING:
    from pathlib import Path


def table() -> AtomsTable:
    rng = np.random.default_rng(0)
    return AtomsTable(
        x=rng.uniform(0, 30, 7),
        y=rng.uniform(0, 30, 7),
        species=np.array(["C"] * 6 + ["Si"]),
        probability=rng.uniform(0, 1, 7),
        position_std=rng.uniform(0, 0.1, 7),
        entropy=np.zeros(7),
        flags=np.array(["edge", "edge;fitted", "", "", "", "", "contamination"]),
        shares={"C": np.linspace(0.9, 0.3, 7), "Si": np.linspace(0.1, 0.7, 7)},
    )


def test_csv_starts_with_the_columns_that_scripts_rely_on(tmp_path: Path) -> None:
    text = table().to_csv()
    assert text.startswith("x,y,species,probability,")
    (tmp_path / "a.csv").write_text(text)
    read = AtomsTable.from_csv(tmp_path / "a.csv")
    assert np.allclose(read.positions, table().positions, atol=1e-5)
    assert read.counts() == {"C": 6, "Si": 1}
    assert read.flags.tolist() == table().flags.tolist()
    assert np.allclose(read.shares["Si"], table().shares["Si"], atol=1e-5)
    assert text.splitlines()[0].endswith("flags,p_C,p_Si")
    some = read.chosen(np.array([6, 0]))
    assert (some.species.tolist(), some.flags.tolist()) == (["Si", "C"], ["contamination", "edge"])
    assert np.allclose(some.shares["C"], [0.3, 0.9], atol=1e-5)


def test_a_column_of_several_atoms_has_a_formula(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,species\n1.0,2.0,S2\n1.0,3.8,Mo\n")
    assert AtomsTable.from_csv(tmp_path / "a.csv").counts() == {"Mo": 1, "S2": 1}


def test_three_columns_are_enough(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,species\n1.0,2.0,C\n")
    read = AtomsTable.from_csv(tmp_path / "a.csv")
    assert read.probability.tolist() == [1.0]
    assert np.isnan(read.position_std[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no atoms in"),
        ("x,y,species\n", "no atoms in"),
        ("x,y\n1,2\n", "has no column species"),
        ("x,y,species\n1,two,C\n", "column y of a.csv holds a value that is not a number"),
        ("x,y,species\n1,nan,C\n", "not finite"),
        ("x,y,species\n1,2,Xx\n", "unknown species 'Xx'"),
        ("x,y,species\n1,2,X\n", "unknown species 'X'"),
        ("x,y,species\n1e9,2,C\n", "beyond 1e\\+06 Å"),
        ("x,y,species,probability\n1,2,C,5\n", "probability of a.csv holds values outside 0 to 1"),
        ("x,y,species,probability\n1,2,C,nan\n", "outside 0 to 1"),
        ("x,y,species,position_std\n1,2,C,-1\n", "negative"),
        ("a,b\n1,2,3,4\n", "has no column x, y, species"),
        ("x,y,species\n" + "9" * 200000 + ",2,C\n", "comma-separated text"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BadInput, match=message) as caught:
        AtomsTable.from_csv(tmp_path / "a.csv")
    assert "\n" not in str(caught.value)


def test_a_table_from_a_spreadsheet_reads(tmp_path: Path) -> None:
    """A byte-order mark is no part of the first column's name; what is not text is refused."""
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfx,y,species\n1,2,C\n")
    assert len(AtomsTable.from_csv(tmp_path / "a.csv")) == 1
    (tmp_path / "b.csv").write_bytes(b"x,y,species\n1,2,\xff\xfe\n")
    with pytest.raises(BadInput, match="not a table of comma-separated text"):
        AtomsTable.from_csv(tmp_path / "b.csv")


def test_a_saved_segmentation_reads_back_whole(tmp_path: Path) -> None:
    """Maps within float16, all else exactly."""
    lattice = Lattice(
        pixel_size=0.1, anisotropy=1.01, angle=3, strength=40, lattice_constant=2.46, metric=(0.1, 0.001, 0.1)
    )
    rng = np.random.default_rng(0)
    whole = Segmentation(
        atoms=table(),
        class_names=("C", "Si", "background"),
        mean=rng.uniform(0, 1, (3, 5, 6)).astype(np.float32),
        spread=rng.uniform(0, 1, (3, 5, 6)).astype(np.float32),
        information=rng.uniform(0, 1, (5, 6)).astype(np.float32),
        ambiguities=(Ambiguity(x=1.0, y=2.0, information=0.3, readings=(("Si", 0.6), ("nothing", 0.3))),),
        pixel_size=0.1,
        lattice=lattice,
        out_of_distribution=0.4,
        warnings=("a warning",),
        made_by={"use": "unet"},
    )
    whole.save(tmp_path / "s.npz")
    read = Segmentation.load(tmp_path / "s.npz")
    assert np.array_equal(read.atoms.x, whole.atoms.x)
    assert read.atoms.species.tolist() == whole.atoms.species.tolist()
    assert read.mean is not None
    assert np.allclose(read.mean, whole.mean, atol=1e-3)
    assert read.information is not None
    assert read.information.shape == (5, 6)
    assert read.ambiguities == whole.ambiguities
    assert read.atoms.flags.tolist() == whole.atoms.flags.tolist()
    assert np.array_equal(read.atoms.shares["Si"], whole.atoms.shares["Si"])
    assert (read.lattice, read.warnings, read.made_by) == (lattice, ("a warning",), {"use": "unet"})
    assert not list(tmp_path.glob(".*")), "no half-written file stays behind"


@pytest.mark.parametrize("name", ["POSCAR", "s.xyz", "s.cif"])
def test_a_structure_file_is_a_table_of_atoms_too(name: str, tmp_path: Path) -> None:
    """x, y and species as they are in the file, all certain; z has no part in it."""
    atoms = graphene_sheet(8)
    atoms.symbols[3] = "Si"
    atoms.set_cell([20, 20, 15])
    atoms.positions[:, 2] += 4
    atoms.write(str(tmp_path / name), format="vasp" if name == "POSCAR" else None)
    found = AtomsTableSegmenter(path=tmp_path / name).segment().atoms
    assert found.positions == pytest.approx(atoms.positions[:, :2], abs=1e-6)
    assert found.species.tolist() == atoms.get_chemical_symbols()
    assert (found.probability == 1).all()
    with pytest.raises(BadInput, match="no atom table at"):
        AtomsTableSegmenter(path=tmp_path / "gone.vasp").segment()
