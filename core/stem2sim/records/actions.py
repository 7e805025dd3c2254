"""What ran in a run folder, step by step: with which options, from which files, to which files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stem2sim import __version__
from stem2sim.config.tree import SECTIONS
from stem2sim.options import recorded_paths
from stem2sim.records.made_with import built_with
from stem2sim.registry import installed
from stem2sim.runs.listing import movie_files
from stem2sim.runs.movie_folder import movie_of
from stem2sim.runs.names import ATOMS, CONFIG, GROWING, REPORT, StepName
from stem2sim.runs.origin import started_from
from stem2sim.runs.staleness import stale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.runs.movie_folder import Movie
    from stem2sim.runs.run import Run
    from stem2sim.runs.state import Record


@dataclass
class Action:
    """One step that ran."""

    name: str
    title: str
    made: dict[str, Any]
    """Name of the stage (`use`), its options, its version, and its engine."""
    results: list[Path]
    inputs: list[Path] = field(default_factory=list)
    """Files of the run and from outside of it; the config is one of every step."""
    fingerprint: str = ""
    """Hash of everything that went into it."""
    description: str = ""
    status: str = "Completed"
    error: str = ""


def actions(run: Run, listed: set[Path]) -> Iterator[Action]:
    """Yield what ran, in order: the step that failed comes after those that finished, the report last.

    Args:
        run: whose steps count.
        listed: all files of the run.
    """
    failed = _failed(run) if run.failure else None
    for name in run.steps:
        if name.kind != "report" and (failed is None or failed.name != str(name)):
            yield _finished(run, name, listed)
    if movie := movie_of(run):
        yield _tracked(movie)
    yield _report(run, listed)
    if failed is not None:
        yield failed


def _finished(run: Run, name: StepName, listed: set[Path]) -> Action:
    files = run.steps[name]
    record = run.state.record(str(name))
    assert record is not None  # of a finished step
    action = {"segment": _segmented, "build": _built, "structure": _checked, "simulate": _simulated}[name.kind](
        run, name, record
    )
    action.results = action.results or files
    action.fingerprint = record.inputs
    action.status = "Active" if record.partial else "Completed"
    if name.kind == "simulate":
        action.results = sorted(listed & set((run.folder / str(name)).rglob("*")))
    kind = SECTIONS.get(name.kind, "")
    action.inputs = [*action.inputs, *recorded_paths(kind, action.made)]
    return action


def _segmented(run: Run, name: StepName, record: Record) -> Action:
    frame = {f"image.{key}": value for key, value in run.tree.get("image", {}).items()}
    segmentation = run.segmentation
    assert segmentation is not None  # of a finished step
    counts = ", ".join(f"{count} {species}" for species, count in segmentation.atoms.counts().items())
    given = [Path(run.tree["image"]["path"])] if frame else []
    return Action(
        str(name), "find the atoms", {**segmentation.made_by, **frame}, [], given, description=f"found: {counts}"
    )


def _built(run: Run, name: StepName, record: Record) -> Action:
    return Action(str(name), f"build: {name.stage}", built_with(run, name), [], _before(run, name, record))


def _checked(run: Run, name: StepName, record: Record) -> Action:
    options: dict[str, Any] = {
        "use": "cell and checks",
        "version": f"stem2sim {__version__}",
        "allow": run.tree.get("allow", []),
    }
    start = started_from(run.contents.structure(run.steps[name][0])) if "structure" in run.tree else None
    options |= {"start": {key: value for key, value in start.items() if key != "use"}} if start else {}
    return Action(str(name), "make the structure to simulate", options, [], _before(run, name, record))


def _simulated(run: Run, name: StepName, record: Record) -> Action:
    results = [run.results[own] for own, place in run.places.items() if place.step == name]
    starts = dict.fromkeys(result.started_from for result in results)
    inputs = [run.folder / start if start else Path(run.tree["structure"]) for start in starts]
    why = next((why for own, why in stale(run).items() if run.places[own].step == name), "")
    reasons = [*([f"stale: {why}"] if why else []), *(f"{r.label}: {r.reason}".removeprefix(": ") for r in results)]
    made = results[0].record
    title = f"simulate: {made.get('use', name)}"
    return Action(str(name), title, made, [], inputs, description="; ".join(reasons))


def _tracked(movie: Movie) -> Action:
    about = movie.about
    counts = f"{about['atoms']} atoms in {about['tracks']} tracks over {movie.frames} frames"
    made = {**movie.segmenter, **{f"linking.{key}": value for key, value in movie.linking.items()}}
    given = [Path(movie.run.tree["image"]["path"])]
    return Action("track", "find and follow the atoms of every frame", made, movie.files, given, description=counts)


def _report(run: Run, listed: set[Path]) -> Action:
    steps = [(name, files) for name, files in run.steps.items() if name.kind != "report"]
    others = {run.folder / name for name in (CONFIG, *GROWING)} | {file for _, files in steps for file in files}
    others |= {file for name, _ in steps for file in (run.folder / str(name)).rglob("*")}
    others |= set(movie_files(run.folder))
    read = [file for name, files in steps if name.kind != "build" for file in files]
    read += movie_files(run.folder)
    written = sorted((listed - others) | ({run.folder / REPORT} & listed))
    made = {"use": "report", "version": f"stem2sim {__version__}"}
    return Action("report", "write the report", made, written, read)


def _before(run: Run, name: StepName, record: Record) -> list[Path]:
    """The file that a step started from: of the variants of the step before it, the one whose label it bears."""
    before = run.step_name(record.after) if record.after else None
    if before is None:
        return [Path(run.tree["structure"])] if "structure" in run.tree else []
    if before.kind == "segment":
        return [run.folder / ATOMS]
    files = run.steps.get(before, [])
    if len(files) < 2:
        return files
    own = name.label.removeprefix(before.label).removeprefix("-")
    named = [file for file in files if run.contents.structure(file).label == own]
    numbered = [file for file in files if file.stem.endswith(f".{own}")]
    return named[:1] or numbered or files


def _failed(run: Run) -> Action:
    """The step that ended a run: known from the config, with the version that is installed."""
    text, _, message = run.failure.partition(": ")
    name = run.step_name(text)
    given = run.table(name) if name is not None and name.kind in SECTIONS else {}
    if name is None or not given:
        own = {"use": "run", "version": f"stem2sim {__version__}"}
        return Action("run", "run the pipeline", own, [], status="Failed", error=run.failure)
    use = str(given.get("use"))
    made: dict[str, Any] = {**given, **_installed(SECTIONS[name.kind], use)}
    if isinstance(given.get("engine"), dict):
        made["engine"] = {**given["engine"], **_installed("simulator", str(given["engine"].get("use")))}
    inputs = recorded_paths(SECTIONS[name.kind], made)
    return Action(text, f"{name.kind}: {use}", made, [], inputs, status="Failed", error=message or run.failure)


def _installed(kind: str, use: str) -> dict[str, str]:
    offers = [offer for offer in installed().offers if offer.kind == kind and offer.stage.name == use]
    return {"version": f"{offers[0].distribution} {offers[0].version}"} if offers else {}
