"""Input of DFTB+: the blocks that structure and options decide."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.constraints import FixAtoms, FixCartesian

from stem2sim.errors import BadInput
from stem2sim_dftb.hsd import PARSER_VERSION, HsdBlock, Rows, Words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ase import Atoms

SOLVERS = {
    "divide-and-conquer": "DivideAndConquer",
    "relatively-robust": "RelativelyRobust",
    "qr": "QR",
    "magma": "MAGMA",
    "elpa": "ELPA",
}
MIXERS = {"broyden": "Broyden", "anderson": "Anderson", "diis": "DIIS", "simple": "Simple"}

DISPERSION = {"d4": ("DftD4", {"s6": 1.0, "s8": 1.7303734, "s9": 0.0, "a1": 0.5546548, "a2": 4.7973454})}
"""Damping parameters that the DFTB+ manual gives for the set pbc; there are none for D3."""

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""An empty block; as the driver, it leaves the atoms where they are."""


@dataclass(frozen=True)
class Input:
    """The input for any atoms of the same elements."""

    model: str
    """DFTB or xTB."""
    hamiltonian: Mapping[str, Any]
    """The options of that block that are the same for every geometry."""
    kpoints: tuple[int, int, int]
    """Mesh for a periodic cell."""

    def tree(
        self, atoms: Atoms, driver: Any = NOTHING, saved_charges: bool = False, options: Mapping[str, Any] = NOTHING
    ) -> dict[str, Any]:
        """Return the whole input.

        Args:
            atoms: the geometry.
            driver: what moves the atoms.
            saved_charges: whether to start from the charges of the step before.
            options: more entries of the Options block.
        """
        hamiltonian = {**self.hamiltonian, "ReadInitialCharges": saved_charges}
        if atoms.pbc.all():
            hamiltonian["KPointsAndWeights"] = mesh(self.kpoints)
        return {
            "Geometry": geometry(atoms),
            "Driver": driver,
            "Hamiltonian": HsdBlock(self.model, hamiltonian),
            "Options": {"WriteResultsTag": True, "WriteDetailedOut": False, **options},
            "Analysis": {"PrintForces": True, "WriteBandOut": False},
            "ParserOptions": {"ParserVersion": PARSER_VERSION, "WriteHSDInput": False},
        }


def geometry(atoms: Atoms) -> dict[str, Any]:
    """Return the Geometry block, coordinates in full precision [Å]."""
    names = sorted(set(atoms.get_chemical_symbols()))
    types = np.array([names.index(symbol) + 1 for symbol in atoms.get_chemical_symbols()])
    rows = np.empty((len(atoms), 4), dtype=object)
    rows[:, 0], rows[:, 1:] = types, atoms.positions
    tree: dict[str, Any] = {"TypeNames": Words(names), "TypesAndCoordinates [Angstrom]": Rows(rows)}
    if atoms.pbc.all():
        tree |= {"Periodic": True, "LatticeVectors [Angstrom]": Rows(np.asarray(atoms.cell))}
    return tree


def slater_koster_files(folder: Path, shells: Mapping[str, str]) -> dict[str, Any]:
    """Return the entries of a DFTB Hamiltonian for a Slater-Koster set and the highest shell of each element."""
    names = {"Prefix": f"{folder.resolve()}/", "Separator": "-", "Suffix": ".skf"}
    return {"SCC": True, "SlaterKosterFiles": HsdBlock("Type2FileNames", names), "MaxAngularMomentum": shells}


def charge_mixer(mixer: str, mixing: float | None) -> HsdBlock:
    """Return the Mixer block; its own mixing parameter where `mixing` is None."""
    parameter = "InitMixingParameter" if mixer == "diis" else "MixingParameter"
    return HsdBlock(MIXERS[mixer], {} if mixing is None else {parameter: mixing})


def mesh(kpoints: tuple[int, int, int]) -> HsdBlock:
    """Return a Monkhorst-Pack mesh as DFTB+ writes it: even numbers of points are shifted off Gamma."""
    shift = np.array([[0.5 if n % 2 == 0 else 0.0 for n in kpoints]], dtype=object)
    return HsdBlock("SupercellFolding", {"": Rows(np.vstack([np.diag(kpoints).astype(object), shift]))})


def dispersion_correction(name: str, parameters: Mapping[str, float]) -> HsdBlock:
    """Return the Dispersion block.

    Args:
        name: d3 or d4.
        parameters: damping parameters that replace those of the set pbc.

    Raises:
        BadInput: no damping parameters are published, and none are given.
    """
    model, defaults = DISPERSION.get(name, ("SimpleDftD3", {}))
    values = {**defaults, **parameters}
    if not values:
        raise BadInput(
            "no damping parameters are published for dispersion = 'd3' with the set pbc; give dispersion_parameters "
            "with s6, s8, a1, a2, or use 'd4'"
        )
    return HsdBlock(model, values)


def movable_atoms(atoms: Atoms) -> list[int]:
    """Return the numbers (from 1) of the atoms that a driver of DFTB+ may move.

    Raises:
        BadInput: a constraint that its drivers do not support, or no atom that can move.
    """
    fixed: set[int] = set()
    for constraint in atoms.constraints:
        fixes_whole_atoms = isinstance(constraint, FixAtoms) or (
            isinstance(constraint, FixCartesian) and bool(np.all(constraint.mask))
        )
        if not fixes_whole_atoms:
            raise BadInput(
                f"DFTB+'s own drivers do not support the constraint {type(constraint).__name__} (they can only fix "
                "whole atoms); use mode = 'socket'"
            )
        fixed |= set(np.atleast_1d(constraint.index).tolist())
    movable = [k + 1 for k in range(len(atoms)) if k not in fixed]
    if not movable:
        raise BadInput(f"nothing to do: all {len(atoms)} atoms are fixed; leave at least one free to move")
    return movable
