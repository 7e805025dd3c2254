"""Which structure of a run is meant: a result by its name, the last one, or the structure as it was built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stem2sim.errors import BadInput, nearest
from stem2sim.runs.staleness import stale

if TYPE_CHECKING:
    from stem2sim.runs.run import Run
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure


class Selected(NamedTuple):
    """A structure of a run."""

    name: str
    """`01-xtb` or `02-aimd 300K`, as in `Run.results`; `structure` or `structure-top` for one as it was built."""
    structure: Structure
    file: Path
    """Where it lies."""
    result: SimulationResult | None = None
    """That it is the end of; None for one as it was built."""
    stale: str = ""
    """Why the present config would not make it; '' where it would."""

    @property
    def rank(self) -> int:
        """How much it is a result to go on with: as built, unfinished, stale, done."""
        return 0 if self.result is None else 1 if self.result.unfinished else 2 if self.stale else 3

    def describe(self) -> str:
        """Return in words which one it is, and what a reader should know of it."""
        unconverged = self.result is not None and not self.result.converged
        notes = [
            *(["as built"] if self.result is None else []),
            *(["not converged"] if unconverged else []),
            *([f"stale: {self.stale}"] if self.stale else []),
        ]
        return f"{self.name} ({'; '.join(notes)})" if notes else self.name


def select(run: Run, name: str = "") -> Selected:
    """Return the structure of that name; without a name, that of the last simulation that is done.

    Stale and unfinished results come last; a structure as built is taken only where there is no result.

    Raises:
        BadInput: no such name, or several structures that could be meant; the message lists the names.
    """
    offers = selectable(run)
    if not offers:
        raise BadInput(f"{run.folder} has no structure yet")
    if name:
        known = list(offers)
        wanted = name.removesuffix(".extxyz")
        if wanted not in offers:
            raise BadInput(f"{run.folder} has no result '{name}'; results: {', '.join(known)}{nearest(name, known)}")
        return offers[wanted]
    groups: dict[tuple[int, int], list[Selected]] = {}
    for one in offers.values():
        number = run.places[one.name].step.number if one.result is not None else 0
        groups.setdefault((one.rank, number), []).append(one)
    last = groups[max(groups)]
    if len(last) > 1:
        names = ", ".join(one.name for one in last)
        raise BadInput(f"{run.folder} has {len(last)} variants ({names}); choose one by its name (--result)")
    return last[0]


def selectable(run: Run) -> dict[str, Selected]:
    """Return every structure of a run by its name: those as built first, then the results in the order of the steps."""
    reasons = stale(run)
    built = {Path(name).stem: structure for name, structure in run.structures.items()}
    offers = {name: Selected(name, one, run.folder / f"{name}.extxyz") for name, one in built.items()}
    for name, result in run.results.items():
        file = run.places[name].file.with_suffix(".extxyz")
        offers[name] = Selected(name, result.structure, file, result, reasons.get(name, ""))
    return offers
