"""What the steps that are still to be done need on this machine, checked before any of them starts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from stem2sim.errors import BadInput, StageFailed
from stem2sim.runs.names import StepName
from stem2sim.runs.plan import steps
from stem2sim.stages import Simulator

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from stem2sim.engines.motion import Mode
    from stem2sim.runs.names import Kind
    from stem2sim.runs.run import Run
    from stem2sim.stages import Stage

log = logging.getLogger("stem2sim")


def check_requirements(run: Run, last: Kind, mode: Mode, elements: Collection[str] = ()) -> None:
    """Check that the programs, packages and parameters of all steps that are still to be done are there.

    Args:
        run: with its config.
        last: kind of the last steps.
        mode: whether simulations that run elsewhere are run or only prepared.
        elements: of the structures; empty if they are not known yet, then parameters of elements are not checked.

    Raises:
        BadInput: something is missing; the message lists all of it, each with its fix.
    """
    lacking: list[str] = []
    for stage, here in _to_do(run, last, mode):
        own = _missing(stage, elements)
        if not here:  # its input files need parameters; the program itself is on another machine, or has run already
            whatever = _missing(stage, ())
            own = [one for one in own if one not in whatever]
        lacking += own
    if lacking:
        raise BadInput(f"missing: {'; '.join(dict.fromkeys(lacking))}")


def _missing(stage: Stage, elements: Collection[str]) -> list[str]:
    """What a stage lacks, in words."""
    try:
        checks = [check for check in stage.diagnose(sorted(elements)) if check.state == "missing"]
    except Exception:  # foreign code; that its diagnosis fails does not prove that anything is missing
        log.debug("%s: the diagnosis failed", stage.name, exc_info=True)
        return []
    return [f"{one.what}: {one.found}" + (f" ({one.fix})" if one.fix else "") for one in checks]


def _to_do(run: Run, last: Kind, mode: Mode) -> Iterator[tuple[Stage, bool]]:
    """Yield the stages with steps that are not done, and whether a program must be on this machine for them."""
    stages = _stages(run, last)
    first, started = _first(run, last, list(stages))
    recorded = {step.short for step in map(run.step_name, run.state.names()) if step is not None}
    for name in list(stages)[list(stages).index(first) :] if first else ():
        stage = stages[name]
        # a later step that is recorded is done if what it starts from turns out the same
        if stage is None or (name != first and name in recorded):
            continue
        external = isinstance(stage, Simulator) and stage.external
        yield stage, not (external and (mode == "prepare" or (name == first and started)))


def _stages(run: Run, last: Kind) -> dict[str, Stage | None]:
    """The stages of the config by the names of their steps, without variants, in the order they run in."""
    config = run.config
    stages: dict[str, Stage | None] = {}
    if config.segment is not None:
        stages[StepName("segment").short] = config.segment
    if last != "segment":
        stages |= {StepName("build", k, one.name).short: one for k, one in enumerate(config.build, start=1)}
        stages[StepName("structure").short] = None
    if last == "simulate":
        stages |= {StepName("simulate", k, one.name).short: one for k, one in enumerate(config.simulate, start=1)}
    return stages


def _first(run: Run, last: Kind, names: list[str]) -> tuple[str | None, bool]:
    """The first step that is not done, without its variant, and whether it was started; None if all are done."""
    done = set()
    try:
        for step in steps(run, last):
            if step.files is None:
                return step.name.short, run.state.was_started(str(step.name), step.inputs)
            done.add(step.name.short)
    except (BadInput, StageFailed):  # something is missing already for the hash of the next step, or a file is damaged
        return next((name for name in names if name not in done), None), False
    return None, False
