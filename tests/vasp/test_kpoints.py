"""The mesh of k-points follows the structure: as dense as asked where it repeats, one point where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk, graphene
from tests.vasp.runs import benzene, engine, relax

from stem2sim.structure import Structure
from stem2sim_vasp.request import request_for

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from stem2sim_vasp.request import Request


def sheet(vacuum: float = 10.0) -> Atoms:
    return graphene(vacuum=vacuum)


def requested(atoms: Atoms, library: Path, **options: object) -> Request:
    vasp = engine(library, **options)
    return request_for(vasp, vasp.adopt(Structure(atoms=atoms)), "single-point", 0)


@pytest.mark.parametrize(
    ("atoms", "mesh"),
    [
        (bulk("Si"), (10, 10, 10)),
        (bulk("Si", cubic=True), (6, 6, 6)),
        (bulk("Si", cubic=True) * (2, 1, 1), (3, 6, 6)),
        (sheet(), (14, 14, 1)),
        (benzene(), (1, 1, 1)),
    ],
)
def test_points_lie_no_further_apart_than_asked(atoms: Atoms, mesh: tuple[int, int, int], library: Path) -> None:
    """0.22 1/Å, 2π included, as VASP's KSPACING counts; vacuum has one point, whatever the cell says of it."""
    atoms.pbc = True
    request = requested(atoms, library)
    assert request.kpoints == mesh
    assert request.mesh == f"stem2sim\n0\nGamma\n{' '.join(map(str, mesh))}\n0 0 0\n"
    assert not [warning for warning in request.warnings if "k-point" in warning]
    spacing = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal(), axis=1) / mesh
    assert (spacing[np.array(mesh) > 1] <= 0.22).all()


def test_what_is_not_periodic_has_one_point(library: Path) -> None:
    """VASP's cell repeats along all vectors, the structure did not; where in the cell its atoms lie does not matter."""
    atoms = bulk("Si", cubic=True)
    atoms.pbc = (True, False, True)
    assert requested(atoms, library).kpoints == (6, 1, 6)
    vasp = engine(library)
    twice = vasp.adopt(vasp.adopt(Structure(atoms=atoms)))
    assert request_for(vasp, twice, "single-point", 0).kpoints == (6, 1, 6)
    moved = sheet()
    moved.positions[:, 2] += 9.7
    moved.wrap()
    moved.pbc = True
    assert requested(moved, library).kpoints == (14, 14, 1)


def test_one_point_along_a_periodic_direction_is_a_warning(library: Path) -> None:
    """Of a mesh that was asked for, or of a cell so large that one point is dense enough."""
    for atoms, options in ((bulk("Si"), {"kpoints": (1, 1, 1)}), (bulk("Si"), {"kspacing": 3.0})):
        (warning,) = [text for text in requested(atoms, library, **options).warnings if "k-point" in text]
        assert "only one k-point along a (3.1 Å), b (3.1 Å), c (3.1 Å), where the structure is periodic" in warning
    assert not requested(bulk("Si"), library, kpoints=(2, 2, 2)).warnings
    assert not requested(benzene(), library, kpoints=(1, 1, 1)).warnings


@pytest.mark.usefixtures("quick")
def test_the_mesh_that_was_used_is_in_the_result(library: Path, tmp_path: Path) -> None:
    atoms = bulk("Si", cubic=True)
    result = relax(atoms, tmp_path / "01-vasp", library, task="single-point")
    assert result.details["mesh"] == "Gamma 6 6 6 0 0 0"
    assert result.made_by["kpoints"] is None
    assert result.options["kpoints"] == [6, 6, 6]
    assert "6 × 6 × 6 k-point mesh" in engine(library, kpoints=result.options["kpoints"]).theory()
    assert "k-point spacing of at most 0.22 Å⁻¹" in engine(library).theory()
