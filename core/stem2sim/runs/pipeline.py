"""The pipeline: every step in turn; what is done is skipped, what was interrupted resumes."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

from stem2sim import __version__
from stem2sim.analysis.comparison import Row, compared
from stem2sim.errors import BadInput, NotRun, StageFailed
from stem2sim.files import fingerprint, write_text
from stem2sim.imaging.readers import described
from stem2sim.runs.logfile import logged
from stem2sim.runs.names import CONFIG, LOG, REPORT
from stem2sim.runs.outcome import Outcome, log_results, log_stage
from stem2sim.runs.plan import step_of, steps
from stem2sim.runs.requirements import check_requirements
from stem2sim.runs.run import Run
from stem2sim.runs.step import Work, failures_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stem2sim.config.config import Config
    from stem2sim.engines.motion import Mode
    from stem2sim.runs.names import Kind
    from stem2sim.runs.step import Step

    WriteReport = Callable[[Run], Path]

log = logging.getLogger("stem2sim")

UNTIL = ("segment", "build", "simulate")
"""Stages at which a run may end."""


def run(
    config: Config,
    out: Path,
    until: str = "simulate",
    write_report: WriteReport | None = None,
    prepare_only: bool = False,
) -> Outcome:
    """Run a pipeline in the folder `out`, up to and including the stage `until` (see `UNTIL`).

    Args:
        config: the pipeline.
        out: the run folder; made where it is not there.
        until: the last stage.
        write_report: writes the report of a run and returns its path; None for no report.
        prepare_only: whether simulations that run elsewhere are only prepared.

    Raises:
        BadInput: a program, package or parameter that a step needs is missing; no step was run.
        BadInput, StageFailed: from a step, its name in front; everything finished before stays finished.
    """
    if until == "segment" and config.segment is None:
        raise BadInput("the config starts from a structure: there is nothing to segment")
    config = config.with_absolute_paths()
    # read what the run starts from before the folder is touched: a mistyped path must not leave an empty run behind
    needs_image = config.segment is not None and config.segment.needs_image
    image = config.image.read() if config.image is not None and needs_image else None
    now = Run(out, config, image)
    if config.structure is not None:
        if config.structure.is_dir():
            advice = "give the file of a structure, such as 01-xtb/result.extxyz in a run folder"
            raise BadInput(f"structure = '{config.structure}' is a folder; {advice}")
        now.contents.structure(config.structure)
    check_requirements(now, _last(until), "prepare" if prepare_only else "run")
    with now.state.locked(), logged(out / LOG):
        log.debug("stem2sim %s in %s", __version__, out)
        if image is not None:
            log.info("image %s", described(image))
        write_text(out / CONFIG, now.config_text)
        outcome = Outcome(now)
        with now.session_log.recorded(), _failure_reported(outcome, write_report):
            _execute(outcome, until, "prepare" if prepare_only else "run")
            if write_report is not None:
                now.state.keep_only([*outcome.steps, REPORT])
                _report(outcome, write_report)
    return outcome


def collect(out: Path, write_report: WriteReport) -> Outcome:
    """Read partial or final results of the external simulations of a run folder, and write its report.

    Nothing is run, and no image is needed.

    Raises:
        BadInput: not a run folder, or one without structures.
        StageFailed: nothing is there to read.
    """
    now = Run(out)
    with now.state.locked(), logged(out / LOG):
        outcome = Outcome(now)
        with now.session_log.recorded():
            _execute(outcome, "simulate", "collect")
            if not outcome.results:
                raise StageFailed("; ".join(outcome.waiting) or "there is no simulation to collect from")
            now.state.forget(REPORT)
            outcome.report = write_report(now.under_way())
    return outcome


def run_step(out: Path, name: str) -> list[Path]:
    """Run one step of a run folder by its name, and return its files; one that is done is not run again.

    Raises:
        BadInput: not a run folder, or no step of that name that could run now.
        StageFailed: it failed.
    """
    now = Run(out)
    with now.state.locked(), logged(out / LOG):
        outcome = Outcome(now)
        with now.session_log.recorded():
            step = step_of(now, name)
            work = _do(outcome, step, "run")
    if outcome.waiting:
        raise NotRun("; ".join(outcome.waiting))
    assert work is not None  # it waits for nothing
    return work.files


def _execute(outcome: Outcome, until: str, mode: Mode) -> None:
    """Execute the steps up to a stage."""
    config = outcome.run.config
    rows: list[Row] = []
    plan = steps(outcome.run, _last(until), as_recorded=mode == "collect")
    simulating = False
    for _, group in groupby(plan, key=lambda step: step.name.short):
        done: list[Step] = []
        for step in group:
            if step.name.kind == "simulate" and not simulating and mode != "collect":
                simulating = True
                check_requirements(outcome.run, "simulate", mode)
            if mode == "collect" and step.name.kind != "simulate" and step.files is None:
                message = "is not done, or not with what it builds on now, so there is nothing to collect"
                raise BadInput(f"{step.name} {message}; stem2sim run does it")
            _do(outcome, step, mode)
            if step.name.kind == "simulate":
                rows += log_results(outcome, step)
            done.append(step)
        log_stage(outcome, done)
    if until != "segment" and config.segment is not None and not config.build:
        log.info("build: nothing to do, the config has no builders")
        if until == "simulate" and config.simulate:
            raise BadInput("there is no structure to simulate: the config has no builders")
    outcome.rows = compared(list(zip(rows, (result for _, result in outcome.results), strict=True)))


def _last(until: str) -> Kind:
    """The kind of the last steps of a run up to a stage."""
    return "segment" if until == "segment" else "structure" if until == "build" else "simulate"


def _do(outcome: Outcome, step: Step, mode: Mode) -> Work | None:
    """Do one step, or skip it when it is done; return what it left, None where it waits for a program elsewhere."""
    name = str(step.name)
    if step.files is not None:
        outcome.steps[name] = "already done"
        log.info("%s: already done", name)
        return Work(step.files)
    outcome.run.session_log.begin(name)
    outcome.run.state.forget(REPORT)  # of a partial result of these very inputs, it may be
    try:
        work = step.execute(mode)
    except NotRun as problem:
        log.info("%s", problem)
        outcome.waiting.append(str(problem))
        return None
    outcome.steps[name] = "unfinished" if work.partial else "done"
    if work.waiting:
        log.info("%s: %s", name, work.waiting)
        outcome.waiting.append(f"{name}: {work.waiting}")
    return work


def _report(outcome: Outcome, write_report: WriteReport) -> None:
    """Write the report, unless it is of just this."""
    now = outcome.run
    inputs = fingerprint(
        __version__, now.config.model_dump_json(), *(now.state.inputs(step) for step in sorted(outcome.steps))
    )
    files = now.state.finished(REPORT, inputs)
    if files is not None:
        outcome.steps[REPORT] = "already done"
        log.info("%s: already done", REPORT)
        outcome.report = files[0]
        return
    now.session_log.begin(REPORT)
    now.state.forget(REPORT)
    with failures_named(REPORT):
        outcome.report = write_report(now.under_way())
    now.state.finish(REPORT, inputs, [outcome.report], "")
    outcome.steps[REPORT] = "done"


@contextmanager
def _failure_reported(outcome: Outcome, write_report: WriteReport | None) -> Iterator[None]:
    """Write the report of a run that fails: what it came to, and why it went no further."""
    try:
        yield
    except (BadInput, StageFailed) as failure:
        if write_report is not None:
            outcome.run.state.forget(REPORT)
            try:
                write_report(outcome.run.under_way(str(failure), list(outcome.steps)))
            except Exception:  # the failure itself is what the user must see
                log.debug("no report of the failure", exc_info=True)
        raise
