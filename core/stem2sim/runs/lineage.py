"""Which run an object in memory came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from stem2sim.config.config import parse
from stem2sim.errors import BadInput, StageFailed
from stem2sim.runs.names import SEGMENTATION, StepName, run_folder_of
from stem2sim.runs.plan import steps
from stem2sim.runs.run import Run
from stem2sim.segmentation import Segmentation

if TYPE_CHECKING:
    from stem2sim.runs.names import Kind
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure

Tree = dict[str, Any]


class Ancestor(NamedTuple):
    """The run that made an object, which no one has changed since, as the single outcome of its steps so far."""

    run: Run
    tree: Tree
    """Its config, up to the step that made the object."""
    steps: list[str]
    """Names of the steps up to there, all of them done."""


def ancestor_of(noun: Segmentation | Structure | SimulationResult) -> Ancestor | None:
    """Return the run whose single outcome an object is, as it is; None where there is no such run.

    That run must make the object again: with its present config, from its image and its other files as they are now.
    """
    folder = run_folder_of(noun.file) if noun.file is not None else None
    if folder is None:
        return None
    run = Run(folder)
    try:
        step = _step_of(noun, run)
    except BadInput:  # the run is damaged
        return None
    if step is None:
        return None
    tree = _up_to(run, step)
    done = _done(run, tree, step.kind)
    return Ancestor(run, tree, done) if str(step) in done else None


def _step_of(noun: Segmentation | Structure | SimulationResult, run: Run) -> StepName | None:
    """The step whose single outcome an object is."""
    if isinstance(noun, Segmentation):
        found = (run.folder / SEGMENTATION).is_file() and run.segmentation == noun
        return StepName("segment") if found else None
    if len(run.structures) != 1:
        return None
    if next(iter(run.structures.values())) == noun:
        return StepName("structure")
    for name, result in run.results.items():
        step = run.places[name].step
        alone = sum(place.step == step for place in run.places.values()) == 1
        if alone and not step.label and noun in (result, result.structure) and not result.unfinished:
            return step
    return None


def _up_to(run: Run, step: StepName) -> Tree:
    """The config of a run up to a step."""
    sections = ["image", "structure", "segment", "allow", *(["build"] if step.kind != "segment" else [])]
    tree = {name: run.tree[name] for name in sections if name in run.tree}
    return {**tree, "simulate": run.tree.get("simulate", [])[: step.number]} if step.kind == "simulate" else tree


def _done(run: Run, tree: Tree, last: Kind) -> list[str]:
    """The steps of a config in the folder of a run; none where one of them would run again."""
    names = []
    try:
        for step in steps(Run(run.folder, parse(tree)), last):
            if step.files is None:
                return []
            names.append(str(step.name))
    except (BadInput, StageFailed):  # the image is gone, say
        return []
    return names
