"""Structures in the formats of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.constraints import FixAtoms, FixCartesian, FixScaled
from ase.io import write

from stem2sim.errors import BadInput
from stem2sim.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from stem2sim.structure import Structure

FORMATS = {".vasp": "vasp", ".gen": "gen", ".cif": "cif", ".extxyz": "extxyz", ".xyz": "extxyz"}
"""Suffix -> ASE's name of the format; a file whose name begins with POSCAR or CONTCAR is VASP's too."""


def format_of(path: Path) -> str:
    """Return the format that a file's name asks for.

    Raises:
        BadInput: a name that asks for none.
    """
    if path.name.upper().startswith(("POSCAR", "CONTCAR")):
        return "vasp"
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise BadInput(f"{path.name}: no known format; POSCAR, {', '.join(FORMATS)} are")
    return known


def export(structure: Structure, path: Path) -> tuple[str, ...]:
    """Write a structure, atomically, and return what the format could not hold.

    POSCAR has its atoms grouped by species, in order of atomic number, and what is held as selective dynamics.

    Args:
        structure: in a cell, unless the format is extended XYZ.
        path: its name chooses the format: POSCAR or .vasp, .gen (DFTB+), .cif, .extxyz.

    Raises:
        BadInput: an unknown format, a structure without a cell, constraints that the format would hold wrongly.
    """
    kind = format_of(path)
    if kind == "extxyz":
        structure.write(path)
        return ()
    structure = structure.in_a_cell()
    atoms = structure.atoms.copy()
    atoms.calc, atoms.info = None, {}
    lost = []
    if kind == "vasp":
        held = _held(atoms)
        order = np.argsort(atoms.numbers, kind="stable")
        atoms.set_constraint()
        atoms = atoms[order]
        if held.any():
            atoms.set_constraint([FixScaled(k, mask) for k, mask in enumerate(held[order]) if mask.any()])
    elif atoms.constraints:
        atoms.set_constraint()
        lost.append(f"{path.suffix} files hold no constraints: what was held in place is free in {path.name}")
    if structure.charge:
        lost.append(f"the charge of {structure.charge:+d} e is no part of {path.name}; tell the program that reads it")
    with write_atomically(path) as part:
        write(part, atoms, format=kind, **({"direct": True} if kind == "vasp" else {}))
    return tuple(lost)


def _held(atoms: Atoms) -> np.ndarray:
    """(atoms, 3) which motion is held along which vector of the cell."""
    held = np.zeros((len(atoms), 3), dtype=bool)
    cell = np.asarray(atoms.cell)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            held[constraint.index] = True
        elif isinstance(constraint, FixCartesian) and (vectors := _along(constraint.mask, cell)) is not None:
            held[constraint.index] |= vectors
        else:
            name = type(constraint).__name__
            raise BadInput(f"POSCAR holds motion along the cell's vectors only, which {name} is not, in this cell")
    return held


def _along(mask: np.ndarray, cell: np.ndarray) -> np.ndarray | None:
    """(3,) which vectors of the cell span just the axes x, y, z of a mask; None where none do."""
    axes = np.asarray(mask, dtype=bool)
    there = np.abs(cell) > 1e-6 * np.abs(cell).max()
    within = ~(there & ~axes).any(axis=1)
    outside = ~(there & axes).any(axis=1)
    return within if (within ^ outside).all() and within.sum() == axes.sum() else None
