"""`Step`: one unit of work in a run folder, executed from the folder and its name alone."""

from __future__ import annotations

import json
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from stem2sim.analysis.validation import validate
from stem2sim.atoms_table import AtomsTable
from stem2sim.errors import BadInput, NotRun, OutOfTime, StageFailed
from stem2sim.files import fingerprint, write_text
from stem2sim.options import stage_with_paths
from stem2sim.runs.names import ATOMS, LOG, SEGMENTATION, labelled
from stem2sim.runs.origin import origin
from stem2sim.runs.sessions import DONE, STOPPED, UNDER_WAY
from stem2sim.segmentation import Segmentation
from stem2sim.stages import Builder, Segmenter, Simulator
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stem2sim.engines.motion import Mode
    from stem2sim.runs.names import StepName
    from stem2sim.runs.run import Run
    from stem2sim.simulation import SimulationResult
    from stem2sim.stages import Stage

log = logging.getLogger("stem2sim")


class Work(NamedTuple):
    """What executing a step left."""

    files: list[Path]
    waiting: str = ""
    """Why some of a simulation is still to come; '' where all is there."""
    partial: bool = False
    """Whether it was read while it can still go on: it counts as unfinished."""


Condition = Literal["waiting", "running", "done", "failed", "unfinished"]


def inputs_of(stage: Stage, *parts: str) -> str:
    """Return the hash of all that goes into a stage: its options and version, what it reads, and what came before."""
    made = stage_with_paths(stage.kind, stage.provenance(), _content_counts)
    return fingerprint(json.dumps(made, sort_keys=True), *parts, stage.input_fingerprint())


def _content_counts(path: str) -> str:
    """The name of a file, wherever it lies: the fingerprint of the stage has its content."""
    return Path(path).name if Path(path).is_file() else path


@dataclass(frozen=True)
class Branch:
    """One variant on its way through the pipeline."""

    label: str
    """Of the variant; '' where there is one only."""
    inputs: str
    """Hash of all that went into it."""
    file: Path | None = None
    """Where its structure lies; None before the first builder."""
    step: str = ""
    """The step that made it; '' for the start of the run."""


@dataclass(frozen=True)
class Step:
    """One unit of work: what is skipped, resumed, costed, and sent to another process or machine."""

    run: Run
    name: StepName
    start: Branch
    """What it builds on."""
    inputs: str
    """Hash of everything that goes into it."""
    stage: Stage | None = None
    """None for the step `structure`, which puts atoms into their cell and checks them."""

    @property
    def files(self) -> list[Path] | None:
        """What it left; None where it is not done with these inputs."""
        return self.run.state.finished(str(self.name), self.inputs)

    @property
    def condition(self) -> Condition:
        """Whether it is done, or how far it has come."""
        if self.files is not None:
            return "done"
        name = str(self.name)
        last = self.run.sessions[-1] if self.run.sessions else None
        if last is not None and last.steps[-1:] == [name]:
            if not last.ended and self.run.state.is_locked():
                return "running"
            if last.outcome not in ("", DONE, STOPPED, UNDER_WAY):
                return "failed"
        record = self.run.state.record(name)
        partial = record is not None and record.partial and record.inputs == self.inputs
        return "unfinished" if partial or self.run.state.was_started(name, self.inputs) else "waiting"

    def execute(self, mode: Mode = "run") -> Work:
        """Do the work, record it in the run folder, and return what it left.

        Args:
            mode: whether simulations that run elsewhere are run, only prepared, or only collected.

        Raises:
            BadInput, StageFailed: from the stage, the name of the step in front.
            NotRun: the simulation runs elsewhere, and is prepared, or has left nothing yet.
        """
        name, state = str(self.name), self.run.state
        started = time.monotonic()
        with failures_named(name):
            self._check_start()
            state.forget(name)  # if it stops from here on, its files are neither the old nor the new ones
            work = self._work(mode)
        self.run.contents.forget(work.files, self.run.folder / name)
        self.run.refresh()
        state.finish(name, self.inputs, work.files, self.start.step, work.partial)
        log.debug("%s: %.1f s", name, time.monotonic() - started)
        return work

    def _check_start(self) -> None:
        """Refuse a step without what it starts from, before anything that is recorded of it is forgotten."""
        if self.start.file is not None and not self.start.file.is_file():
            raise BadInput(f"there is no {self.start.file} to start from")
        if isinstance(self.stage, Segmenter) and self.stage.needs_image and self.run.image is None:
            raise BadInput(self.run.image_problem or "there is no image to segment")

    def _work(self, mode: Mode) -> Work:
        if isinstance(self.stage, Simulator):
            return self._simulate(self.stage, mode)
        if isinstance(self.stage, Segmenter):
            return Work(self._segment(self.stage))
        return Work(self._build(self.stage) if isinstance(self.stage, Builder) else self._finish())

    def _segment(self, segmenter: Segmenter) -> list[Path]:
        image = self.run.image if segmenter.needs_image else None
        segmentation = segmenter.segment(image)  # type: ignore[arg-type]  # None only where needs_image is False
        if len(segmentation.atoms) == 0:
            raise BadInput("no atoms found; check the pixel size, and that the image shows a lattice")
        table, atoms = self.run.folder / SEGMENTATION, self.run.folder / ATOMS
        segmentation.model_copy(update={"made_by": segmenter.provenance()}).save(table)
        write_text(atoms, segmentation.atoms.to_csv())
        return [table, atoms]

    def _build(self, builder: Builder) -> list[Path]:
        made = list(builder.build(self._structure, self._segmentation))
        if not made:
            raise StageFailed("made no structure")
        stems = [str(self.name)] if len(made) == 1 else [f"{self.name}.{k}" for k in range(len(made))]
        files = [self.run.folder / f"{stem}.extxyz" for stem in stems]
        for structure, file in zip(made, files, strict=True):
            structure.write(file)
        return files

    def _finish(self) -> list[Path]:
        """Put the atoms into their cell, and check them."""
        structure = self._structure.in_a_cell()
        if not self.start.step and self.start.file is not None:
            record = origin(self.start.file, self.run.contents.sha256(self.start.file), self.run.folder)
            structure = structure.model_copy(update={"history": (*structure.history, *([record] if record else []))})
        structure.check_distances()
        structure = structure.model_copy(update={"checks": validate(structure, self._segmentation)})
        for finding in structure.checks:
            if finding.severity == "error" and finding.check not in self.run.config.allow:
                raise BadInput(f"{finding.text}; --allow {finding.check} accepts it")
        file = self.run.folder / f"{self.name}.extxyz"
        structure.write(file)
        return [file]

    def _simulate(self, simulator: Simulator, mode: Mode) -> Work:
        if mode == "collect" and not simulator.external:  # it leaves nothing to collect, and gets no folder
            workdir = self.run.folder / str(self.name)
        else:
            workdir = self.run.state.workdir(str(self.name), self.inputs)
        assert self.start.file is not None  # a simulation follows the step `structure`
        started_from = str(self.start.file.relative_to(self.run.folder))
        files: list[Path] = []
        partial, waiting = False, ""
        try:
            for result in _results(simulator, self._structure, workdir, mode):
                stem = labelled("result", result.label)
                result.model_copy(update={"started_from": started_from}).write(workdir, stem)
                files += [workdir / f"{stem}.json", workdir / f"{stem}.extxyz"]
                partial |= result.unfinished
        except NotRun as problem:
            if not files:
                raise
            partial, waiting = True, str(problem)  # some of several are there
        if not files:
            raise StageFailed("ended without a result")
        return Work(files, waiting, partial)

    @property
    def _structure(self) -> Structure:
        return Structure.empty() if self.start.file is None else self.run.contents.structure(self.start.file)

    @property
    def _segmentation(self) -> Segmentation:
        return self.run.segmentation or Segmentation(atoms=AtomsTable.empty())


def _results(simulator: Simulator, structure: Structure, workdir: Path, mode: Mode) -> Iterator[SimulationResult]:
    """Run, prepare or collect; what is complete when it is prepared is a result like any other."""
    if mode == "collect":
        yield from simulator.collect(structure, workdir)
    elif mode == "run" or not simulator.external:
        yield from simulator.simulate(structure, workdir)
    else:
        prepared = simulator.prepare(structure, workdir)
        complete = True
        try:
            for result in simulator.collect(structure, workdir):
                complete = complete and not result.unfinished
                if not result.unfinished:
                    yield result
        except NotRun:
            complete = False
        if not complete:
            raise NotRun(prepared)


@contextmanager
def failures_named(step: str) -> Iterator[None]:
    """Put the name of a step in front of what stops it.

    Raises:
        BadInput, StageFailed: as raised inside; anything else becomes a StageFailed, its traceback in the log.
    """
    try:
        yield
    except BadInput as problem:
        raise BadInput(f"{step}: {problem}") from problem
    except StageFailed as problem:  # a plugin's own kind may not be made of a text alone
        kind = next(one for one in (NotRun, OutOfTime, StageFailed) if isinstance(problem, one))
        raise kind(f"{step}: {problem}") from problem
    except Exception as problem:  # a stage is foreign code: the user gets one line
        log.debug("%s failed", step, exc_info=True)
        text = " ".join(str(problem).split())
        raise StageFailed(f"{step}: {type(problem).__name__}: {text} (traceback in {LOG})") from problem


def variants_of(step: Step, labels: Sequence[str], files: Sequence[Path]) -> list[Branch]:
    """Return what goes on from the files of a finished step: labelled, or numbered, where there are several.

    Args:
        step: that made them.
        labels: of the variants, as many as files; numbers take their place where one is missing or double.
        files: their structures.
    """
    name, label = str(step.name), step.start.label
    if len(files) == 1:
        return [Branch(label, step.inputs, files[0], name)]
    telling = all(labels) and len(set(labels)) == len(labels)
    names = labels if telling else [str(k) for k in range(len(files))]
    return [
        Branch(labelled(label, own).lstrip("-"), fingerprint(step.inputs, own), file, name)
        for own, file in zip(names, files, strict=True)
    ]
