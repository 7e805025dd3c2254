"""Statistics over structures that were drawn from the same uncertainties: means and standard deviations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim.structure import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stem2sim.simulation import SimulationResult


def sample_statistics(results: Iterable[tuple[str, SimulationResult]]) -> dict[str, dict[str, str]]:
    """Return, for each set of samples, its name and rows of a table: mean ± standard deviation.

    Args:
        results: of one simulation, and the name of each, which ends in the label of its structure.

    Energies are compared between samples of the same composition only, mean bond lengths over all of them. Results
    that did not converge do not count; a row states how many.
    """
    sets: dict[str, list[SimulationResult]] = {}
    for name, result in results:
        label = result.structure.label
        if label.startswith(SAMPLE) and name.endswith(label):
            sets.setdefault(f"{name.removesuffix(label)}samples", []).append(result)
    return {name: _describe(samples) for name, samples in sets.items() if len(samples) > 1}


def _describe(samples: list[SimulationResult]) -> dict[str, str]:
    converged = [result for result in samples if result.converged]
    failed = len(samples) - len(converged)
    rows = {"number": f"{len(samples)}" + (f", {failed} not converged" if failed else "")}
    energies: dict[str, list[float]] = {}
    lengths: dict[str, list[float]] = {}
    for result in converged:
        energies.setdefault(result.structure.atoms.get_chemical_formula("hill"), []).append(result.energy)
        for kind, values in result.structure.bonds.lengths().items():
            lengths.setdefault(kind, []).append(float(values.mean()))
    rows |= {f"energy of {formula}": _mean(values, 3, "eV") for formula, values in sorted(energies.items())}
    return rows | {f"{kind} bonds, mean": _mean(values, 4, "Å") for kind, values in sorted(lengths.items())}


def _mean(values: list[float], digits: int, unit: str) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f} {unit} (1)"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f} {unit} ({len(values)})"
