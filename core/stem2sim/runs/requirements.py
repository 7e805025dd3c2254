"""What the steps that are still to be done need on this machine, checked before any of them starts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from stem2sim.errors import BadInput, StageFailed
from stem2sim.runs.names import StepName
from stem2sim.runs.plan import steps
from stem2sim.stages import Simulator

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from stem2sim.engines.motion import Mode
    from stem2sim.runs.names import Kind
    from stem2sim.runs.run import Run
    from stem2sim.stages import Stage

log = logging.getLogger("stem2sim")


def check_requirements(run: Run, last: Kind, mode: Mode) -> None:
    """Check that the programs, packages and parameters of all steps that are still to be done are there.

    Parameters of elements are checked as soon as the structures are known: if the run starts from one, or has built
    them.

    Args:
        run: with its config.
        last: kind of the last steps.
        mode: whether simulations that run elsewhere are run or only prepared.

    Raises:
        BadInput: something is missing; the message lists all of it, each with its fix.
    """
    stages = _stages(run, last)
    reached = _reached(run, last, list(stages))
    elements = _elements(run, reached)
    lacking: list[str] = []
    for stage, here in _to_do(run, stages, reached, mode):
        own = _missing(stage, elements)
        if not here:  # its input files need parameters; the program itself may have run on another machine
            whatever = _missing(stage, ())
            own = [one for one in own if one not in whatever]
        lacking += own
    if lacking:
        raise BadInput(f"missing: {'; '.join(dict.fromkeys(lacking))}")


class _Reached(NamedTuple):
    """How far a run has come."""

    first: str | None
    """The first step that is not done, without its variant; None if all are done."""
    started: bool = False
    """Whether that one was started."""
    structures: Sequence[Path] = ()
    """To simulate; empty if they are not all there."""


def _missing(stage: Stage, elements: Collection[str]) -> list[str]:
    """What a stage lacks, in words."""
    try:
        checks = [check for check in stage.diagnose(sorted(elements)) if check.state == "missing"]
    except Exception:  # foreign code; that its diagnosis fails does not prove that anything is missing
        log.debug("%s: the diagnosis failed", stage.name, exc_info=True)
        return []
    return [f"{one.what}: {one.found}" + (f" ({one.fix})" if one.fix else "") for one in checks]


def _to_do(run: Run, stages: Mapping[str, Stage | None], reached: _Reached, mode: Mode) -> Iterator[tuple[Stage, bool]]:
    """Yield the stages with steps that are not done, and whether a program must be on this machine for them."""
    first, started, _ = reached
    recorded = {step.short for step in map(run.step_name, run.state.names()) if step is not None}
    for name in list(stages)[list(stages).index(first) :] if first else ():
        stage = stages[name]
        # a later step that is recorded is done if what it starts from turns out the same
        if stage is None or (name != first and name in recorded):
            continue
        external = isinstance(stage, Simulator) and stage.external
        if external and mode == "prepare":  # it says itself what its input files lack
            continue
        yield stage, not (external and name == first and started)


def _elements(run: Run, reached: _Reached) -> set[str]:
    start = run.config.structure
    files = [start] if start is not None and not run.config.build else reached.structures
    return {symbol for file in files for symbol in run.contents.structure(file).atoms.get_chemical_symbols()}


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


def _reached(run: Run, last: Kind, names: list[str]) -> _Reached:
    """Follow the steps that are done."""
    done = set()
    structures: list[Path] = []
    try:
        for step in steps(run, last):
            simulating = step.name.kind == "simulate"
            if step.files is None:
                started = run.state.was_started(str(step.name), step.inputs)
                return _Reached(step.name.short, started, structures if simulating else ())
            done.add(step.name.short)
            structures += step.files if step.name.kind == "structure" else ()
    except (BadInput, StageFailed):  # something is missing already for the hash of the next step, or a file is damaged
        return _Reached(next((name for name in names if name not in done), None), structures=structures)
    return _Reached(None)
