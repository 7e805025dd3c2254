"""The electronic loop: invented iterations towards an energy that an engine has computed at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTROPY_PER_ATOM = 0.002  # [eV], so that the three energies of VASP differ as they do in life


@dataclass(frozen=True)
class Energies:
    """The three energies of VASP [eV]; the free energy is the engine's, and the forces belong to it."""

    free: float
    without_entropy: float
    zero_smearing: float


def energies_of(free: float, atoms: int) -> Energies:
    """Return the three energies that belong to a free energy [eV]."""
    without_entropy = free + ENTROPY_PER_ATOM * atoms
    return Energies(free, without_entropy, 0.5 * (free + without_entropy))


@dataclass(frozen=True)
class Iteration:
    """One electronic iteration: its energies and the change of the free energy since the last [eV]."""

    number: int
    energies: Energies
    change: float


def iterations(free: float, atoms: int, nelm: int, nelmin: int, ediff: float, sloshing: bool) -> Iterator[Iteration]:
    """Yield iterations until the change is below EDIFF or NELM is hit.

    Args:
        free: Where they lead [eV].
        atoms: The number of atoms.
        nelm: The largest number of iterations.
        nelmin: The smallest.
        ediff: The change below which the loop ends [eV].
        sloshing: Whether the energy swings until NELM is hit.
    """
    before = 0.0
    for number in range(1, nelm + 1):
        error = 0.3 * (-1) ** number if sloshing else 10 ** (1.5 - 1.7 * number)
        change = free + error - before
        last = number == nelm or (number >= nelmin and abs(free - before) < ediff and not sloshing)
        if last:
            change = free - before
        before += change
        yield Iteration(number, energies_of(free if last else before, atoms), change)
        if last:
            return
