"""The stages that ran in a run folder, each with the options that it ran with, whatever the config says now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stem2sim.errors import BadInput
from stem2sim.options import recorded_stage
from stem2sim.runs.movie_folder import movie_of
from stem2sim.stages import Simulator

if TYPE_CHECKING:
    from stem2sim.runs.names import StepName
    from stem2sim.runs.run import Run
    from stem2sim.stages import Stage


def prepared(run: Run) -> list[Stage]:
    """Return the segmenter and the builders that ran, in turn.

    Raises:
        BadInput: a stage of the run is not installed here.
    """
    found: list[Stage] = []
    segmentation, movie = run.segmentation, movie_of(run)
    made = segmentation.made_by if segmentation is not None else movie.segmenter if movie is not None else None
    if made is not None:
        found.append(_stage("segmenter", made, run.config.segment))
    builders = {name.number: name for name in reversed(run.steps) if name.kind == "build"}
    for number, name in sorted(builders.items()):
        given = run.config.build[number - 1] if number <= len(run.config.build) else None
        found.append(_stage("builder", built_with(run, name), given))
    return found


def built_with(run: Run, name: StepName) -> dict[str, Any]:
    """Return the record of the builder of a finished step: its name, options and version."""
    structure = run.contents.structure(run.steps[name][0])
    own = [made for made in structure.history if made.get("use") == name.stage]
    return own[-1] if own else {"use": name.stage}


def simulated(run: Run) -> dict[str, Simulator]:
    """Return the simulator that made each result, by the name of the result; values decided while it ran are set.

    Raises:
        BadInput: a stage of the run is not installed here.
    """
    found = {}
    for name, result in run.results.items():
        step = run.places[name].step
        stages = run.config.simulate
        given = stages[step.number - 1] if step.number <= len(stages) else None
        stage = _stage("simulator", result.options, given)
        assert isinstance(stage, Simulator)  # by its kind
        found[name] = stage
    return found


def _stage(kind: str, made: dict[str, Any], given: Stage | None) -> Stage:
    """The stage of a record; where that cannot be read, the stage of the config if it has the same name."""
    try:
        return recorded_stage(kind, made)
    except BadInput:
        if given is None or made.get("use", given.name) != given.name:
            raise
        return given
