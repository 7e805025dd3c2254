"""A crystal of springs that stiffen: real forces in a tenth of a millisecond, chaotic enough for statistics."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

from stem2sim.engines.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ase import Atoms

    from stem2sim.structure import Structure


def crystal(*repeat: int) -> Atoms:
    """Return cubic copper cells."""
    return bulk("Cu", cubic=True).repeat(repeat or (2, 2, 2))


class Springs(Calculator):
    """V = k/2 x² + g x⁴ of every bond that the crystal at rest has: k [eV/Å²], g [eV/Å⁴]."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  # as ASE declares it

    def __init__(self, rest: Atoms, k: float = 2.0, g: float = 3.0) -> None:
        super().__init__()
        i, j, shift, length = neighbor_list("ijSd", rest, 4.0)
        once = i < j
        self.i, self.j, self.shift, self.length = i[once], j[once], shift[once] @ np.asarray(rest.cell), length[once]
        self.k, self.g = k, g

    def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = tuple(all_changes)) -> None:
        self.atoms = atoms.copy()
        vectors = atoms.positions[self.j] - atoms.positions[self.i] + self.shift
        now = np.sqrt((vectors**2).sum(axis=1))
        x = now - self.length
        pull = ((self.k * x + 4 * self.g * x**3) / now)[:, None] * vectors
        forces = np.zeros_like(atoms.positions)
        np.add.at(forces, self.i, pull)
        np.add.at(forces, self.j, -pull)
        self.results = {"energy": float((0.5 * self.k * x**2 + self.g * x**4).sum()), "forces": forces}


class SpringEngine(Engine):
    """The springs of a crystal of 2 × 2 × 2 cells, as an engine."""

    name: ClassVar[str] = "springs"

    @contextmanager
    def calculator(self, structure: Structure, workdir: Path) -> Iterator[Springs]:
        yield Springs(crystal())
