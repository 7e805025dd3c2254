"""What differs between two runs: options, versions, results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stem2sim.analysis.comparison import row
from stem2sim.config.tree import settings

if TYPE_CHECKING:
    from stem2sim.runs.run import Run

SAME = 1e-9
"""Relative: numbers closer than this are the same."""


@dataclass(frozen=True)
class Difference:
    """One thing that two runs do not have in common."""

    kind: str
    """option, version or result."""
    what: str
    first: Any
    """None where the first has no such thing."""
    second: Any


def differences(first: Run, second: Run) -> list[Difference]:
    """Return what differs, options first; wall-clock times are no difference."""
    found = []
    for kind, values_of in (("option", _options), ("version", _versions), ("result", _results)):
        before, after = values_of(first), values_of(second)
        for key in [*before, *(key for key in after if key not in before)]:
            if not _same(before.get(key), after.get(key)):
                found.append(Difference(kind, key, before.get(key), after.get(key)))
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int) and not isinstance(one, bool):
        return abs(one - other) <= SAME * max(abs(one), abs(other), 1e-12)
    return bool(one == other)


def _options(run: Run) -> dict[str, Any]:
    """Every option by its dotted key, as `--set` takes it."""
    return dict(settings(run.tree))


def _versions(run: Run) -> dict[str, Any]:
    """Versions of whatever made a result."""
    found = {}
    for name, result in run.results.items():
        for key, value in settings(result.made_by):
            last = key.rpartition(".")[2]
            if last == "version" or (last == "engine" and isinstance(value, str)):
                found[f"{_file(run, name)}: {key}"] = value
    return found


def _results(run: Run) -> dict[str, Any]:
    """Numbers of every result."""
    found: dict[str, Any] = {}
    for name, result in run.results.items():
        title = _file(run, name)
        numbers = row(title, result, None, run.trajectory(name))
        found |= {
            f"{title}: energy [eV]": result.energy,
            f"{title}: largest force [eV/Å]": result.largest_force,
            f"{title}: converged": result.converged,
            f"{title}: rings": ", ".join(f"{count} of {size}" for size, count in numbers.rings.items()),
            **{f"{title}: {kind} [Å]": value for kind, value in numbers.bonds.items()},
        }
    return found


def _file(run: Run, name: str) -> str:
    """A result by its file, as scripts know it: 01-xtb/result."""
    return str(run.places[name].file.relative_to(run.folder).with_suffix(""))
