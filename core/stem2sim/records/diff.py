"""What differs between two runs: options, versions, results."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stem2sim.analysis.comparison import row
from stem2sim.run.folder import CONFIG, RunFolder
from stem2sim.simulation import SimulationResult

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def differences(one: Path, other: Path) -> list[Difference]:
    """Return what differs, options first; wall-clock times are no difference.

    Raises:
        BadInput: not a run folder.
    """
    runs = [_Run(one), _Run(other)]
    found = []
    for kind in ("option", "version", "result"):
        first, second = (getattr(run, f"{kind}s")() for run in runs)
        for key in [*first, *(key for key in second if key not in first)]:
            if not _same(first.get(key), second.get(key)):
                found.append(Difference(kind, key, first.get(key), second.get(key)))
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int) and not isinstance(one, bool):
        return abs(one - other) <= SAME * max(abs(one), abs(other), 1e-12)
    return bool(one == other)


class _Run:
    def __init__(self, folder: Path) -> None:
        files = RunFolder.existing(folder).simulations()
        self._folder = folder
        self._config = tomllib.loads((folder / CONFIG).read_text(encoding="utf-8"))
        self._results = {str(file.relative_to(folder).with_suffix("")): SimulationResult.read(file) for file in files}

    def options(self) -> dict[str, Any]:
        """Every option by its dotted key, as `--set` takes it."""
        return dict(_leaves(self._config))

    def versions(self) -> dict[str, Any]:
        """Of whatever made a result."""
        found = {}
        for name, result in self._results.items():
            for key, value in _leaves(result.made_by):
                last = key.rpartition(".")[2]
                if last == "version" or (last == "engine" and isinstance(value, str)):
                    found[f"{name}: {key}"] = value
        return found

    def results(self) -> dict[str, Any]:
        """Numbers of every result."""
        found: dict[str, Any] = {}
        for name, result in self._results.items():
            numbers = row(name, result, None, self._folder / Path(name).parent)
            found |= {
                f"{name}: energy [eV]": result.energy,
                f"{name}: largest force [eV/Å]": result.largest_force,
                f"{name}: converged": result.converged,
                f"{name}: rings": ", ".join(f"{count} of {size}" for size, count in numbers.rings.items()),
                **{f"{name}: {kind} [Å]": value for kind, value in numbers.bonds.items()},
            }
        return found


def _leaves(tree: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{at}.{key}" if at else str(key))
    elif isinstance(tree, list) and any(isinstance(one, dict) for one in tree):
        for number, value in enumerate(tree):
            yield from _leaves(value, f"{at}.{number}")
    else:
        yield at, tree
