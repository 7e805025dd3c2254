"""Laws of relaxation that every engine inherits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.constraints import FixAtoms
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import Emt

from stem2sim.errors import BadInput, NotRun
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms


def relaxed(atoms: Atoms, folder: Path, **options: object) -> Atoms:
    (result,) = Emt(relax_cell=True, fmax=0.005, **options).simulate(Structure(atoms=atoms), folder)  # type: ignore[arg-type]
    assert result.converged, result.reason
    return result.structure.atoms


@settings(max_examples=10)
@given(scale=st.floats(0.94, 1.06), shear=st.floats(-0.03, 0.03))
def test_a_crystal_relaxes_to_its_own_lattice_constant(scale: float, shear: float, tmp_path: Path) -> None:
    """However it was strained: the copper of EMT has a volume of 11.565 Å³ an atom, and cubic axes."""
    copper = bulk("Cu", cubic=True) * (2, 2, 2)
    copper.set_cell(copper.cell @ (scale * np.eye(3) + shear * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])), True)
    made = relaxed(copper, tmp_path)
    assert made.get_volume() / len(made) == pytest.approx(11.565, abs=0.02)
    assert made.cell.angles() == pytest.approx([90, 90, 90], abs=0.2)


def test_the_vacuum_beside_a_sheet_stays_as_it_is(tmp_path: Path) -> None:
    """A slab, strained in its plane: the plane relaxes, the third vector does not move, and the result says by what."""
    slab = fcc111("Cu", (3, 3, 3), a=3.70, vacuum=8.0, periodic=True)
    made = relaxed(slab, tmp_path)
    assert made.cell[2] == pytest.approx(slab.cell[2], abs=1e-9)
    assert made.cell.lengths()[0] / 3 == pytest.approx(3.59 / np.sqrt(2), abs=0.03)
    (result,) = Emt(relax_cell=True, fmax=0.005).simulate(Structure(atoms=slab), tmp_path)
    assert "stretched by up to -" in result.reason


def test_a_cell_that_cannot_relax_is_refused(tmp_path: Path) -> None:
    held = bulk("Cu", cubic=True)
    held.set_constraint(FixAtoms([0]))
    flake = graphene_sheet(8)
    flake.center(vacuum=10)
    skew = fcc111("Cu", (2, 2, 2), vacuum=8.0, periodic=True)
    skew.set_cell([skew.cell[0], skew.cell[1], skew.cell[2] + skew.cell[0]])
    for atoms, said in (
        (held, "relax_cell moves every atom, but some are fixed"),
        (flake, "bonds repeat along none of its vectors; add the builder periodic"),
        (skew, "a cell whose vacuum is at right angles to the rest"),
    ):
        with pytest.raises(BadInput, match=said):
            relaxed(atoms, tmp_path)


def test_what_runs_in_this_process_has_nothing_to_prepare_or_collect(tmp_path: Path) -> None:
    """And leaves no file."""
    structure = Structure(atoms=bulk("Cu", cubic=True))
    with pytest.raises(BadInput, match="emt runs in this process; there is nothing to prepare"):
        Emt().prepare(structure, tmp_path)
    with pytest.raises(NotRun, match="emt has not run here; stem2sim run continues with it"):
        list(Emt().collect(structure, tmp_path))
    assert not list(tmp_path.iterdir())
