"""Means with error bars: within one trajectory, between replicas, and between samples of a structure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.analysis.evolution import TIME
from stem2sim.structure import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from stem2sim.analysis.evolution import Evolution
    from stem2sim.simulation import SimulationResult

FEWEST_BLOCKS = 8
"""The spread of fewer means gives no useful error."""

PLATEAU = 3
"""Further levels of blocking that have to agree with the one that is taken; with 8 blocks left, 64 values at least."""


@dataclass(frozen=True)
class Mean:
    """One quantity over several trajectories of one protocol at one temperature."""

    quantity: str
    mean: float
    error: float | None
    """Standard error of the mean; None if it is not known."""
    unit: str
    """Empty for a number of things."""
    n: int
    """Of what the error is from."""
    of: str
    """'samples' of the structure, 'replicas', or 'trajectory': correlated values of one, by block averaging."""

    def describe(self) -> str:
        """Return it in words."""
        if self.error is None:
            return f"{self.quantity} {self.mean:.4g} {self.unit}".rstrip()
        digits = int(np.clip(1 - np.floor(np.log10(self.error)), 0, 6)) if self.error > 0 else 4
        return f"{self.quantity} {self.mean:.{digits}f} ± {self.error:.{digits}f} {self.unit}".rstrip()


def block_error(values: NDArray[np.float64]) -> float | None:
    """Return the standard error of the mean of a correlated series; None if the series is too short for it.

    Blocking: neighbours are averaged two by two until the error that follows from the spread grows no more (H.
    Flyvbjerg and H. G. Petersen, J. Chem. Phys. 91, 461 (1989), doi 10.1063/1.457480). A plateau is a level
    that none of the next three exceeds by more than its own uncertainty, and none after those by more than twice that;
    the error is the largest of these four. A series that is short for its correlation has no plateau, and one that
    never changes no spread to tell by.

    Args:
        values: (frames,) evenly spaced in time.
    """
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    errors, uncertainties = [], []
    while len(x) >= FEWEST_BLOCKS:
        error = float(np.sqrt(x.var() / (len(x) - 1)))
        errors.append(error)
        uncertainties.append(error / np.sqrt(2 * (len(x) - 1)))
        x = x[: len(x) // 2 * 2].reshape(-1, 2).mean(axis=1)
    for k, error in enumerate(errors[:-PLATEAU]):
        near = range(k + 1, k + PLATEAU + 1)
        if all(errors[n] - (1 if n in near else 2) * uncertainties[n] <= error for n in range(k + 1, len(errors))):
            return max(errors[k : k + PLATEAU + 1]) or None
    return None


def averages(
    results: Iterable[tuple[str, SimulationResult, Evolution | None]],
) -> dict[str, list[Mean]]:
    """Return, for each protocol and temperature, means with their errors.

    Trajectories of samples of one structure (labels `sample-1`, `sample-2`, ...) and replicas of one trajectory
    (labels `300K-1`, `300K-2`, ...) count together. Where there are several samples, the error is that of the mean
    over samples, each the mean of its replicas, for these share their structure; where there are replicas only, that
    over replicas; of one trajectory alone, that of its second half by block averaging.

    Args:
        results: of one simulation: label of the variant ('' where there is only one), the result, and what
            happened along its trajectory where that was looked at. Results that did not converge do not count.

    Returns:
        '300 K', or 'name, 300 K', -> rows of a table.
    """
    sets: dict[str, dict[str, list[dict[str, tuple[float, float | None]]]]] = {}
    for name, result, evolution in results:
        if result.converged and TIME in result.observables:
            sample = result.structure.label if result.structure.label.startswith(SAMPLE) else ""
            key = ", ".join(part for part in (_variant(name, sample), temperature_of(result)) if part)
            sets.setdefault(key, {}).setdefault(sample, []).append(quantities(result, evolution))
    return {key: _rows(samples) for key, samples in sets.items()}


def _variant(name: str, sample: str) -> str:
    return f"{name.removesuffix(sample)}samples" if sample and name.endswith(sample) else name


def temperature_of(result: SimulationResult) -> str:
    """Return the temperature that a trajectory was meant to have, '300 K': of its label, else of its options."""
    if found := re.match(r"([\d.]+(?:e[+-]?\d+)?)K(?:-|$)", result.label):
        return f"{float(found[1]):g} K"
    option = result.made_by.get("temperature")
    temperatures = option if isinstance(option, list | tuple) else [option]
    single = len(temperatures) == 1 and isinstance(temperatures[0], int | float)
    return f"{temperatures[0]:g} K" if single else ""


def quantities(result: SimulationResult, evolution: Evolution | None) -> dict[str, tuple[float, float | None]]:
    """Return the quantities of one trajectory: name with unit -> mean and, by block averaging, its error.

    Temperature, energy, bond lengths, coordination, rings and holes are means over the second half, mean square
    displacements means over the last tenth, bonds and healed holes what the end has.
    """
    series = {k: np.array(v, dtype=float) for k, v in result.observables.items() if k.startswith(("temp", "pot"))}
    means = {name: _late(values) for name, values in series.items()}
    if evolution is None:
        return means
    for name in evolution.series:
        values = evolution.column(name)
        if name in ("bonds broken", "bonds formed"):
            means[f"{name} at the end"] = float(values[-1]), None
        elif name.startswith("mean square displacement"):
            tenth = values[-max(1, len(values) // 10) :]
            means[f"{name.removesuffix(' [Å²]')} at the end [Å²]"] = float(tenth.mean()), None
        elif name != TIME and not name.startswith("lowest") and np.isfinite(values[len(values) // 2 :]).any():
            means[name] = _late(values)
    means["bond events"] = float(len(evolution.events)), None
    means["holes healed"] = float(sum(hole.healed for hole in evolution.holes)), None
    return means


def _late(values: NDArray[np.float64]) -> tuple[float, float | None]:
    late = values[len(values) // 2 :]
    return float(np.nanmean(late)), block_error(late)


def _rows(samples: dict[str, list[dict[str, tuple[float, float | None]]]]) -> list[Mean]:
    whole = [one for several in samples.values() for one in several]
    rows = []
    for name in dict.fromkeys(name for one in whole for name in one):
        # rings of a size that a trajectory never had are none of them; a bond of no length is nothing
        default = 0.0 if name.startswith("rings of") else np.nan
        groups = [np.array([one.get(name, (default, None))[0] for one in several]) for several in samples.values()]
        of = "samples" if len(groups) > 1 else "replicas"
        values = np.array([np.nanmean(g) for g in groups if np.isfinite(g).any()]) if len(groups) > 1 else groups[0]
        values = values[np.isfinite(values)]
        error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
        if len(whole) == 1:
            of, error = "trajectory", whole[0][name][1]
        quantity, _, unit = name.removesuffix("]").partition(" [")
        rows.append(Mean(quantity, float(values.mean()), error, unit, len(values), of))
    return rows
