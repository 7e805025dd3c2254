"""Degrees of freedom under constraints, and rigid motion that a thermostat must not act on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.constraints import FixAtoms, FixCartesian, FixedLine, FixedPlane
from numpy.typing import NDArray

from stem2sim.errors import BadInput

if TYPE_CHECKING:
    from ase import Atoms

LINEAR = (FixAtoms, FixCartesian, FixedLine, FixedPlane)
"""Constraints that project momenta, step by step, onto a fixed subspace: exact in velocity Verlet."""

Floats = NDArray[np.float64]


def check_constraints(atoms: Atoms) -> None:
    """Raise BadInput for a constraint that the integrator does not support."""
    for constraint in atoms.constraints:
        if not isinstance(constraint, LINEAR):
            supported = ", ".join(c.__name__ for c in LINEAR)
            raise BadInput(f"aimd does not support the constraint {type(constraint).__name__}; it supports {supported}")


def moves(atoms: Atoms, symbol: str) -> bool:
    """Return whether any atom of that element is free to move."""
    free = np.abs(_subspaces(atoms)).max(axis=(1, 2), initial=0) > 0
    return bool((free & (atoms.symbols == symbol)).any())


def conserved_motions(atoms: Atoms) -> list[Floats]:
    """Return the rigid velocity fields, each (atoms, 3), that the dynamics conserves and the thermostat must not heat.

    A translation counts where every atom is free to move along it; a rotation, of an isolated molecule, where every
    atom is free to move along both axes across it.
    """
    free = [bool(np.allclose(_subspaces(atoms)[:, :, k], np.eye(3)[k])) for k in range(3)]
    fields = [np.tile(axis, (len(atoms), 1)) for axis, moves in zip(np.eye(3), free, strict=True) if moves]
    if atoms.pbc.any():
        return fields
    arms = atoms.positions - atoms.get_center_of_mass()
    turns = [np.cross(np.eye(3)[k], arms) for k in range(3) if all(free[j] for j in range(3) if j != k)]
    if turns:  # a linear molecule has only two: keep the independent ones
        _, weights, basis = np.linalg.svd(np.array([turn.ravel() for turn in turns]), full_matrices=False)
        fields += [b.reshape(-1, 3) for b, w in zip(basis, weights, strict=True) if w > 1e-6 * weights[0] and w > 1e-9]
    return fields


def _subspaces(atoms: Atoms) -> Floats:
    """What the constraints leave of a motion of each atom along x, y and z: matrices (atoms, 3, 3), in columns."""
    return np.stack([allowed(atoms, np.tile(axis, (len(atoms), 1))) for axis in np.eye(3)], axis=2)


def allowed(atoms: Atoms, momenta: Floats) -> Floats:
    """Return what the constraints leave of momenta (atoms, 3)."""
    out = momenta.copy()
    for constraint in atoms.constraints:
        constraint.adjust_momenta(atoms, out)
    return out


def degrees_of_freedom(atoms: Atoms) -> int:
    """Return how many momenta share the thermal energy: 3N, less constrained and conserved ones.

    Raises:
        BadInput: nothing can move.
    """
    # ranks, not sums: two constraints may fix the same motion of one atom
    free = int(np.linalg.matrix_rank(_subspaces(atoms), tol=1e-9).sum()) - len(conserved_motions(atoms))
    if free < 1:
        raise BadInput(f"nothing can move: {len(atoms)} atoms with {free} degrees of freedom under the constraints")
    return free


def without_rigid_motion(atoms: Atoms, momenta: Floats) -> Floats:
    """Return momenta with every conserved rigid motion taken out (mass-weighted projection)."""
    fields = conserved_motions(atoms)
    if not fields:
        return momenta
    root = np.sqrt(atoms.get_masses())[:, None]
    basis, _ = np.linalg.qr(np.array([(f * root).ravel() for f in fields]).T)
    weighted = (momenta / root).ravel()
    return np.asarray((weighted - basis @ (basis.T @ weighted)).reshape(-1, 3) * root)


def thermal_momenta(atoms: Atoms, energy: float, rng: np.random.Generator) -> Floats:
    """Draw Maxwell-Boltzmann momenta with exactly the temperature kT = `energy` [eV] under the constraints.

    Args:
        atoms: with their constraints.
        energy: kT [eV].
        rng: source of the draw.
    """
    drawn = rng.normal(size=(len(atoms), 3)) * np.sqrt(atoms.get_masses() * energy)[:, None]
    momenta = without_rigid_motion(atoms, allowed(atoms, drawn))
    kinetic = 0.5 * float((momenta**2 / atoms.get_masses()[:, None]).sum())
    scale = float(np.sqrt(0.5 * degrees_of_freedom(atoms) * energy / kinetic))
    return momenta * scale
