"""What structures drawn from the same uncertainties say together: means, and how far they spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim.structure import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stem2sim.simulation import SimulationResult


def spread(results: Iterable[tuple[str, SimulationResult]]) -> dict[str, dict[str, str]]:
    """Return, for each set of samples, its name and what is known of it in words, mean ± standard deviation.

    Args:
        results: of one simulation, and the name of each, which ends in the label of its structure.

    Energies are compared between samples of the same composition only, mean bond lengths over all of them. Results
    that did not converge do not count, and that is told.
    """
    sets: dict[str, list[SimulationResult]] = {}
    for name, result in results:
        label = result.structure.label
        if label.startswith(SAMPLE) and name.endswith(label):
            sets.setdefault(f"{name.removesuffix(label)}samples", []).append(result)
    return {name: _describe(samples) for name, samples in sets.items() if len(samples) > 1}


def _describe(samples: list[SimulationResult]) -> dict[str, str]:
    good = [one for one in samples if one.converged]
    told = {"number": f"{len(samples)}" + (f", {len(samples) - len(good)} not converged" * (len(good) < len(samples)))}
    energies: dict[str, list[float]] = {}
    lengths: dict[str, list[float]] = {}
    for one in good:
        energies.setdefault(one.structure.atoms.get_chemical_formula("hill"), []).append(one.energy)
        for kind, values in one.structure.bonds.lengths().items():
            lengths.setdefault(kind, []).append(float(values.mean()))
    told |= {f"energy of {formula}": _mean(values, 3, "eV") for formula, values in sorted(energies.items())}
    return told | {f"{kind} bonds, mean": _mean(values, 4, "Å") for kind, values in sorted(lengths.items())}


def _mean(values: list[float], digits: int, unit: str) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f} {unit} (1)"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f} {unit} ({len(values)})"
