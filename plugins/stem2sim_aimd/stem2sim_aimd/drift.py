"""Whether the conserved quantity is conserved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stem2sim_aimd.freedom import Floats

MOST_DRIFT = 1.0
"""[meV per atom and ps]; a hundredth of kT at 300 K in 0.25 ps. Integrations in common use stay well under it."""

CLEAR = 4.0
"""A drift counts where it moved the quantity by this many times the scatter around its trend."""


def drift(times: Floats, conserved: Floats, atoms: int) -> str:
    """Return a warning in words where the conserved quantity drifts, else ''.

    Args:
        times: of the values [fs], evenly spaced.
        conserved: [eV].
        atoms: their number.
    """
    if len(times) < 10:
        return ""
    slope, level = np.polyfit(times - times.mean(), conserved, 1)
    scatter = float((conserved - slope * (times - times.mean()) - level).std())
    per_atom = 1e6 * float(slope) / atoms
    if abs(per_atom) <= MOST_DRIFT or abs(slope) * float(np.ptp(times)) <= CLEAR * scatter:
        return ""
    return (
        f"the conserved quantity drifts by {per_atom:+.1f} meV per atom and ps; use a shorter time step, or converge "
        "the self-consistent field more tightly"
    )
