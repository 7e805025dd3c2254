"""Results that the present config of a run would not make: of an earlier config, or of options that have changed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from stem2sim.analysis.comparison import Row, row
from stem2sim.config.tree import settings
from stem2sim.errors import BadInput
from stem2sim.options import recorded_stage
from stem2sim.runs.plan import steps

if TYPE_CHECKING:
    from stem2sim.runs.names import StepName
    from stem2sim.runs.run import Run
    from stem2sim.simulation import SimulationResult


def stale(run: Run) -> dict[str, str]:
    """Return why results are stale, by their names; none of those that the config would make as they are.

    A result whose stage is not installed here counts as it is recorded: only what the config has no more is stale.
    """
    reasons: dict[StepName, str] = {}
    results = {place.step: run.results[name] for name, place in run.places.items()}
    asked = _inputs(run)
    for step, result in results.items():
        record = run.state.record(str(step))
        before = run.step_name(record.after) if record is not None and record.after else None
        if run.table(step).get("use") != step.stage:
            reasons[step] = "its step is not in the present config"
        elif before in reasons:
            reasons[step] = f"it started from a result of {before}, which is stale"
        elif record is not None and record.inputs != asked.get(str(step)) and (changed := _changed(run, step, result)):
            reasons[step] = f"its options have changed: {', '.join(changed)}"
    return {name: reasons[place.step] for name, place in run.places.items() if place.step in reasons}


def replaced(run: Run) -> list[str]:
    """Return the finished simulations of a run that count no more: what they started from has been made again."""
    recorded = {text: run.step_name(text) for text in run.state.recorded()}
    return [
        text for text, name in recorded.items() if name and name.kind == "simulate" and not run.state.is_current(text)
    ]


def rows(run: Run) -> list[tuple[Row, SimulationResult]]:
    """Return the numbers of each result, those of stale ones marked, and the result."""
    reasons = stale(run)
    return [
        (
            replace(
                row(str(run.places[name].step), one, run.start(one), run.trajectory(name)), stale=reasons.get(name, "")
            ),
            one,
        )
        for name, one in run.results.items()
    ]


def _inputs(run: Run) -> dict[str, str]:
    """The hash of what goes into each simulation now; none where a stage is not installed here."""
    found: dict[str, str] = {}
    with suppress(BadInput):
        for step in steps(run, as_recorded=True):
            found[str(step.name)] = step.inputs
    return found


def _changed(run: Run, step: StepName, result: SimulationResult) -> list[str]:
    """The options that the config sets otherwise than the result was made with, by their dotted keys."""
    try:
        now = run.config.simulate[step.number - 1]
        then = recorded_stage("simulator", result.made_by)
    except BadInput:
        return []
    after, before = dict(settings(now.model_dump(mode="json"))), dict(settings(then.model_dump(mode="json")))
    return [key for key in dict.fromkeys((*after, *before)) if after.get(key) != before.get(key)]
