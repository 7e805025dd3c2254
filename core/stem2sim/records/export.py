"""Structures in the formats of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase.io import write

from stem2sim.engines.poscar import grouped
from stem2sim.errors import BadInput
from stem2sim.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

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
        atoms, _ = grouped(atoms)
    elif atoms.constraints:
        atoms.set_constraint()
        lost.append(f"{path.suffix} files hold no constraints: what was held in place is free in {path.name}")
    if structure.charge:
        lost.append(f"the charge of {structure.charge:+d} e is no part of {path.name}; tell the program that reads it")
    with write_atomically(path) as part:
        write(part, atoms, format=kind, **({"direct": True} if kind == "vasp" else {}))
    return tuple(lost)
