"""The pipeline: every stage in turn, what is done skipped, what was cut off continued."""

from __future__ import annotations

import json
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar
from zipfile import BadZipFile

from stem2sim import __version__
from stem2sim.analysis.comparison import Row, compared, row
from stem2sim.analysis.samples import sample_statistics
from stem2sim.analysis.validation import validate
from stem2sim.builtin.adsorption import CONVENTION, adsorption_energies
from stem2sim.config.config import parse
from stem2sim.engines.external import asked, only
from stem2sim.errors import BadInput, NotRun, StageFailed
from stem2sim.files import fingerprint, write_text
from stem2sim.run.folder import ATOMS, CONFIG, LOG, REPORT, SEGMENTATION, RunFolder
from stem2sim.run.sessions import Log
from stem2sim.segmentation import AtomsTable, Segmentation
from stem2sim.simulation import SimulationResult, variants
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from stem2sim.config.config import Config
    from stem2sim.image import Image
    from stem2sim.stages import Stage

log = logging.getLogger("stem2sim")

Made = TypeVar("Made")

UNTIL = ("segment", "build", "simulate", "report")


@dataclass
class Outcome:
    """What a run left, for the command line to print."""

    folder: Path
    session: Log
    steps: dict[str, str] = field(default_factory=dict)
    """Step -> done, already done or unfinished."""
    warnings: list[str] = field(default_factory=list)
    segmentation: Segmentation | None = None
    structures: list[tuple[Path, Structure]] = field(default_factory=list)
    results: list[tuple[Path, SimulationResult]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    """The results side by side."""
    waiting: list[str] = field(default_factory=list)
    """Simulations that are to run elsewhere: where they are prepared, or what they lack."""
    report: Path | None = None


@dataclass(frozen=True)
class _Branch:
    """One variant on its way: its label, the hash of all that went into it, and where it stands."""

    label: str
    inputs: str
    structure: Structure
    file: str = ""
    """Where the structure lies, relative to the run folder."""
    step: str = ""
    """The step that made it."""


def run(config: Config, out: Path, until: str = "report") -> Outcome:
    """Run a pipeline in the folder `out`, up to and including the stage `until` (see `UNTIL`).

    Raises:
        BadInput, StageFailed: from a stage, its name in front; everything finished before stays finished.
    """
    if until == "segment" and config.segment is None:
        raise BadInput("the config starts from a structure: there is nothing to segment")
    # read what the run starts from before the folder is touched: a mistyped path must not leave an empty run behind
    image = config.image.read() if config.image is not None and _needs_image(config) else None
    given = Structure.read(config.structure) if config.structure is not None else None
    folder = RunFolder(out)
    with folder.locked(), _logged(out / LOG):
        log.debug("stem2sim %s in %s", __version__, out)
        write_text(out / CONFIG, config.to_toml())
        outcome = Outcome(out, Log(out))
        with _ended(outcome), _told_on_the_page(image, folder, outcome, until):
            if config.structure is not None and given is not None:
                segmentation, start = _given(config.structure, given)
            else:
                segmentation, start = _segment(config, image, folder, outcome)
                outcome.segmentation = segmentation
            if UNTIL.index(until) >= 1:
                branches = _build(config, segmentation, start, folder, outcome)
                if UNTIL.index(until) >= 2:
                    _simulate(config, branches, folder, outcome)
            if until == "report":
                folder.keep_only([*outcome.steps, REPORT])
                _report(config, image, folder, outcome)
    return outcome


@contextmanager
def _ended(outcome: Outcome) -> Iterator[None]:
    """Record how the work ended."""
    try:
        yield
    except (BadInput, StageFailed) as problem:
        outcome.session.ends(str(problem))
        raise
    except BaseException:
        outcome.session.ends("interrupted")
        raise
    outcome.session.ends("done")


@contextmanager
def _told_on_the_page(image: Image | None, folder: RunFolder, outcome: Outcome, until: str) -> Iterator[None]:
    """Leave a report of a run that fails, with what it came to, and why it went no further."""
    try:
        yield
    except (BadInput, StageFailed) as failure:
        if until == "report":
            from stem2sim.report import Report

            folder.forget(REPORT)
            try:
                report = Report.of(folder.path, image, str(failure), under_way=True, steps=outcome.steps)
                report.write(folder.path)
            except Exception:  # the failure is what must be told
                log.debug("no report of the failure", exc_info=True)
        raise


def collect(out: Path) -> Outcome:
    """Read what external simulations of a run folder have left so far, finished or not, and write its report.

    Nothing is run, and no image is needed.

    Raises:
        BadInput: not a run folder, or one without structures.
        StageFailed: nothing is there to read.
    """
    folder = RunFolder.existing(out)
    config = parse(out / CONFIG, {})
    with folder.locked(), _logged(out / LOG), only("collect"):
        outcome = Outcome(out, Log(out))
        with _ended(outcome):
            branches = []
            for step, files in folder.current().items():
                if step.startswith("structure"):
                    (file,) = files
                    outcome.structures.append((file, _read(Structure.read, file)))
                    label = step.removeprefix("structure").removeprefix("-")
                    branches.append(_Branch(label, folder.inputs(step), outcome.structures[-1][1], file.name, step))
            _simulate(config, branches, folder, outcome)
            if not outcome.results:
                raise StageFailed("; ".join(outcome.waiting) or "there is no simulation to collect from")
            from stem2sim.report import Report

            folder.forget(REPORT)
            outcome.report = Report.of(out, failure="", under_way=True).write(out)
    return outcome


def _needs_image(config: Config) -> bool:
    return config.segment is not None and config.segment.needs_image


def _step(
    folder: RunFolder,
    outcome: Outcome,
    step: str,
    inputs: str,
    work: Callable[[], list[Path]],
    after: str = "",
    partial: Callable[[], bool] = lambda: False,
) -> list[Path]:
    """Do one step, which builds on the step `after`, or skip it when it is done; either way return its files.

    What is only `partial` in the end is done again the next time.
    """
    files = folder.finished(step, inputs)
    if files is not None:
        outcome.steps[step] = "already done"
        log.info("%s: already done", step)
        return files
    started = time.monotonic()
    outcome.session.begins(step)
    folder.forget(step)  # first of all: cut off from here on, its files are neither the old nor the new ones
    try:
        files = work()
    except BadInput as problem:
        raise BadInput(f"{step}: {problem}") from problem
    except StageFailed as problem:
        raise type(problem)(f"{step}: {problem}") from problem
    except Exception as problem:  # a stage is foreign code; the log keeps the traceback, the user gets one line
        log.debug("%s failed", step, exc_info=True)
        text = " ".join(str(problem).split())
        raise StageFailed(f"{step}: {type(problem).__name__}: {text} (traceback in {LOG})") from problem
    folder.finish(step, inputs, files, after, partial())
    outcome.steps[step] = "unfinished" if partial() else "done"
    log.debug("%s: %.1f s", step, time.monotonic() - started)
    return files


def _inputs(stage: Stage, *parts: str) -> str:
    return fingerprint(json.dumps(stage.provenance(), sort_keys=True), *parts, stage.input_fingerprint())


def _given(file: Path, structure: Structure) -> tuple[Segmentation, _Branch]:
    """Start from a structure file: nothing was segmented. Its bytes count, constraints and all."""
    inputs = fingerprint("structure", sha256(file.read_bytes()).hexdigest())
    return Segmentation(atoms=AtomsTable.empty()), _Branch("", inputs, structure)


def _segment(config: Config, image: Image | None, folder: RunFolder, outcome: Outcome) -> tuple[Segmentation, _Branch]:
    assert config.segment is not None  # read_config: a config without a segmenter starts from a structure
    segmenter = config.segment
    inputs = _inputs(segmenter, image.fingerprint() if image else "")
    target = folder.path / SEGMENTATION

    def work() -> list[Path]:
        found = segmenter.segment(image)  # type: ignore[arg-type]  # None only where needs_image is False
        if len(found.atoms) == 0:
            raise BadInput("no atoms found; check the pixel size, and that the frame shows a lattice")
        found.model_copy(update={"made_by": segmenter.provenance()}).save(target)
        write_text(folder.path / ATOMS, found.atoms.to_csv())
        return [target, folder.path / ATOMS]

    _step(folder, outcome, "segment", inputs, work)
    found = _read(Segmentation.load, target)
    log.info("segment: %s", ", ".join(f"{n} {s}" for s, n in found.atoms.counts().items()))
    outcome.warnings += [*(image.warnings if image else ()), *found.warnings]
    for warning in outcome.warnings:
        log.warning("%s", warning)
    return found, _Branch("", inputs, Structure.empty(), step="segment")


def _build(
    config: Config, segmentation: Segmentation, start: _Branch, folder: RunFolder, outcome: Outcome
) -> list[_Branch]:
    if not config.build and len(start.structure.atoms) == 0:
        log.info("build: nothing to do, the config has no builders")
        return []
    branches = [start]
    for number, builder in enumerate(config.build, start=1):
        grown = []
        for branch in branches:
            step = _named(f"build/{number:02d}-{builder.name}", branch.label)
            inputs = _inputs(builder, branch.inputs)

            def work(branch: _Branch = branch, step: str = step) -> list[Path]:
                made = list(builder.build(branch.structure, segmentation))  # noqa: B023  # called before builder changes
                if not made:
                    raise StageFailed("made no structure")
                return _written(made, folder.path, step)

            files = _step(folder, outcome, step, inputs, work, branch.step)
            made = [Structure.read(file) for file in files]
            labels = [one.label for one in made]
            named = labels if all(labels) and len(set(labels)) == len(labels) else None
            grown += _branches(branch, step, inputs, [(one, "") for one in made], named)
        branches = grown
        log.info("build %s: %s", builder.name, _described(branches))
    done = []
    for branch in branches:
        step = _named("structure", branch.label)
        inputs = fingerprint("cell", branch.inputs, *config.allow)

        def finish(branch: _Branch = branch, step: str = step) -> list[Path]:
            structure = branch.structure.in_a_cell()
            structure.check_distances()
            structure = structure.model_copy(update={"checks": validate(structure, segmentation)})
            _stop_on_errors(structure, config.allow)
            structure.write(folder.path / f"{step}.extxyz")
            return [folder.path / f"{step}.extxyz"]

        file = _step(folder, outcome, step, inputs, finish, branch.step)[0]
        outcome.structures.append((file, Structure.read(file)))
        done.append(_Branch(branch.label, inputs, outcome.structures[-1][1], file.name, step))
    for finding in dict.fromkeys(f for branch in done for f in branch.structure.findings):
        log.info("  %s", finding)
    for check in dict.fromkeys(c for branch in done for c in branch.structure.checks if c.severity != "note"):
        log.warning("%s: %s", check.check, check.text)
    return done


def _stop_on_errors(structure: Structure, allow: Sequence[str]) -> None:
    for one in structure.checks:
        if one.severity == "error" and one.check not in allow:
            raise BadInput(f"{one.text}; --allow {one.check} accepts it")


def _simulate(config: Config, branches: list[_Branch], folder: RunFolder, outcome: Outcome) -> None:
    if config.simulate and not branches:
        raise BadInput("there is no structure to simulate: the config has no builders")
    rows: list[tuple[Row, SimulationResult]] = []
    for number, simulator in enumerate(config.simulate, start=1):
        grown = []
        unfinished: list[str] = []
        for branch in branches:
            step = _named(f"{number:02d}-{simulator.name}", branch.label)
            inputs = _inputs(simulator, branch.inputs)

            def work(branch: _Branch = branch, step: str = step, inputs: str = inputs) -> list[Path]:
                if asked() == "collect" and not simulator.external:  # noqa: B023  # called before simulator changes
                    raise NotRun("has not run here; stem2sim run goes on with it")
                workdir = folder.workdir(step, inputs)
                files: list[Path] = []
                try:
                    for result in simulator.simulate(branch.structure, workdir):  # noqa: B023  # as above
                        stem = _named("result", result.label)
                        result.model_copy(update={"started_from": branch.file}).write(workdir, stem)
                        files += [workdir / f"{stem}.json", workdir / f"{stem}.extxyz"]
                        if result.unfinished:
                            unfinished.append(step)  # noqa: B023  # as above
                except NotRun as problem:  # some of several are there
                    if not files:
                        raise
                    log.info("%s: %s", step, problem)
                    outcome.waiting.append(f"{step}: {problem}")
                    unfinished.append(step)  # noqa: B023  # as above
                if not files:
                    raise StageFailed("ended without a result")
                return files

            def partial(step: str = step) -> bool:
                return step in unfinished  # noqa: B023  # as above

            try:
                files = _step(folder, outcome, step, inputs, work, branch.step, partial)
            except NotRun as problem:
                log.info("%s", problem)
                outcome.waiting.append(str(problem))
                continue
            files = [file for file in files if file.suffix == ".json"]
            results = [_read(SimulationResult.read, file) for file in files]
            outcome.results += zip(files, results, strict=True)
            for result in results:
                name = f"{step} {result.label}".strip()
                log.info("%s: %.4f eV, %s", name, result.energy, result.reason)
                for warning in result.warnings:
                    log.warning("%s: %s", name, warning)
                rows.append((row(step, result, branch.structure, folder.path / step), result))
                if result.label:
                    log.info("  %s", rows[-1][0].describe())
            ends = [
                (result.structure, f"{step}/{file.stem}.extxyz") for result, file in zip(results, files, strict=True)
            ]
            grown += _branches(branch, step, inputs, ends, [result.label for result in results])
        if outcome.waiting or unfinished:  # what follows starts from the ends of these
            break
        named = variants((file.parent.name, result) for file, result in outcome.results[-len(grown) :])
        energies = adsorption_energies(named)
        if energies:
            log.info("%s", CONVENTION)
        for site, energy in energies.items():
            log.info("  %s at %s: %s", simulator.name, site, energy)
        for name, told in sample_statistics(named).items():
            said = "; ".join(f"{what} {value}" for what, value in told.items())
            log.info("%s of %s: %s", simulator.name, name, said)
        branches = grown
    outcome.rows = compared(rows)


def _report(config: Config, image: Image | None, folder: RunFolder, outcome: Outcome) -> None:
    from stem2sim.report import Report  # draws with matplotlib: half a second to import

    inputs = fingerprint(
        __version__, config.model_dump_json(), *(folder.inputs(step) for step in sorted(outcome.steps))
    )

    def work() -> list[Path]:
        return [Report.of(folder.path, image, failure="", under_way=True).write(folder.path)]

    outcome.report = _step(folder, outcome, REPORT, inputs, work)[0]


def _branches(
    parent: _Branch,
    step: str,
    inputs: str,
    made: Sequence[tuple[Structure, str]],
    labels: Sequence[str] | None = None,
) -> list[_Branch]:
    """One branch per structure and its file; numbered, or labelled, where there are several."""
    if len(made) == 1:
        return [_Branch(parent.label, inputs, *made[0], step)]
    names = labels if labels else [str(k) for k in range(len(made))]
    return [
        _Branch(_named(parent.label, name).lstrip("-"), fingerprint(inputs, name), *one, step)
        for name, one in zip(names, made, strict=True)
    ]


def _read(reader: Callable[[Path], Made], file: Path) -> Made:
    try:
        return reader(file)
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as problem:
        raise BadInput(f"{file} is damaged; delete it, and its step runs again") from problem


def _named(stem: str, label: str) -> str:
    return f"{stem}-{label}" if label else stem


def _written(structures: Sequence[Structure], folder: Path, step: str) -> list[Path]:
    stems = [step] if len(structures) == 1 else [f"{step}.{k}" for k in range(len(structures))]
    files = [folder / f"{stem}.extxyz" for stem in stems]
    for structure, file in zip(structures, files, strict=True):
        structure.write(file)
    return files


def _described(branches: Sequence[_Branch]) -> str:
    formula = branches[0].structure.atoms.get_chemical_formula("hill") or "nothing"
    return formula if len(branches) == 1 else f"{len(branches)} variants, the first {formula}"


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.DEBUG)
    log.addHandler(handler)
    before = log.level
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)
        handler.close()
