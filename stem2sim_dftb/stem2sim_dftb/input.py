"""What DFTB+ is told: the parts of its input that structure and options decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.constraints import FixAtoms, FixCartesian

from stem2sim.errors import BadInput
from stem2sim_dftb.hsd import PARSER_VERSION, Block, Rows, Words

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from stem2sim_dftb.dftb import Dftb

SOLVERS = {
    "divide-and-conquer": "DivideAndConquer",
    "relatively-robust": "RelativelyRobust",
    "qr": "QR",
    "magma": "MAGMA",
    "elpa": "ELPA",
}
MIXERS = {"broyden": "Broyden", "anderson": "Anderson", "diis": "DIIS", "simple": "Simple"}

DISPERSION = {"d4": ("DftD4", {"s6": 1.0, "s8": 1.7303734, "s9": 0.0, "a1": 0.5546548, "a2": 4.7973454})}
"""Damping that the manual of DFTB+ gives for the set pbc; there is none for D3."""


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


def hamiltonian(
    engine: Dftb, atoms: Atoms, charge: int, folder: Path | None, shells: dict[str, str], warm: bool
) -> Block:
    """Return the Hamiltonian block.

    Args:
        engine: its options.
        atoms: elements and cell count.
        charge: total [e].
        folder: of the Slater-Koster set; None for xTB.
        shells: highest shell of each element.
        warm: whether to start from the charges of the step before.
    """
    tree: dict[str, Any] = {}
    if folder is None:
        tree["Method"] = engine.hamiltonian
    else:
        tree |= {
            "SCC": True,
            "SlaterKosterFiles": Block(
                "Type2FileNames", {"Prefix": f"{folder.resolve()}/", "Separator": "-", "Suffix": ".skf"}
            ),
            "MaxAngularMomentum": shells,
        }
    tree |= {
        "SCCTolerance": engine.scc_tolerance,
        "MaxSCCIterations": engine.max_iterations,
        "ReadInitialCharges": warm,
        "Charge": float(charge),
        "Filling": Block("Fermi", {"Temperature [K]": engine.electronic_temperature}),
        "Solver": Block(SOLVERS[engine.solver], {}),
        "Mixer": Block(MIXERS[engine.mixer], {} if engine.mixing is None else {_mixing(engine.mixer): engine.mixing}),
    }
    if atoms.pbc.all():
        mesh = np.diag(engine.kpoints).astype(object)
        shift = np.array([[0.5 if n % 2 == 0 else 0.0 for n in engine.kpoints]], dtype=object)
        tree["KPointsAndWeights"] = Block("SupercellFolding", {"": Rows(np.vstack([mesh, shift]))})
    if engine.dispersion is not None:
        name, defaults = DISPERSION.get(engine.dispersion, ("SimpleDftD3", {}))
        values = defaults | engine.dispersion_parameters
        if not values:
            raise BadInput(
                "dispersion = 'd3' has no published damping for the set pbc; give dispersion_parameters with s6, s8, "
                "a1, a2, or use 'd4'"
            )
        tree["Dispersion"] = Block(name, values)
    return Block("xTB" if folder is None else "DFTB", tree)


def _mixing(mixer: str) -> str:
    return "InitMixingParameter" if mixer == "diis" else "MixingParameter"


def whole(
    atoms: Atoms, driver: Any, hamiltonian: Block, options: dict[str, Any], forces: bool = True
) -> dict[str, Any]:
    """Return the whole input."""
    return {
        "Geometry": geometry(atoms),
        "Driver": driver,
        "Hamiltonian": hamiltonian,
        "Options": {"WriteResultsTag": True, "WriteDetailedOut": False, **options},
        "Analysis": {"PrintForces": True, "WriteBandOut": False},
        "ParserOptions": {"ParserVersion": PARSER_VERSION, "WriteHSDInput": False},
    }


def moved_atoms(atoms: Atoms) -> list[int]:
    """Return the numbers (from 1) of the atoms that a driver of DFTB+ may move.

    Raises:
        BadInput: a constraint that its drivers cannot hold; it is named.
    """
    fixed: set[int] = set()
    for constraint in atoms.constraints:
        whole = isinstance(constraint, FixCartesian) and bool(np.all(constraint.mask))
        if not (isinstance(constraint, FixAtoms) or whole):
            raise BadInput(
                f"DFTB+'s own drivers cannot hold {type(constraint).__name__} (they fix whole atoms only); use "
                "mode = 'socket'"
            )
        fixed |= set(np.atleast_1d(constraint.index).tolist())
    moving = [k + 1 for k in range(len(atoms)) if k not in fixed]
    if not moving:
        raise BadInput(f"nothing can move: all {len(atoms)} atoms are fixed")
    return moving
