"""`Run`: all that one run folder holds."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from stem2sim.config.config import parse
from stem2sim.config.tree import count_paths_from, tree_of
from stem2sim.errors import BadInput
from stem2sim.imaging.readers import ImageSource
from stem2sim.noun import Shown
from stem2sim.runs.contents import Contents
from stem2sim.runs.derived import SimulatedImage, compare_with_image, evolution_along, simulated_image
from stem2sim.runs.listing import ResultPlace, files_of, places_of
from stem2sim.runs.names import CONFIG, SEGMENTATION, StepName, analysis_of
from stem2sim.runs.sessions import UNDER_WAY, Session, SessionLog
from stem2sim.runs.state import State

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from matplotlib.axes import Axes

    from stem2sim.agreement.agreement import Agreement
    from stem2sim.analysis.evolution import Evolution
    from stem2sim.config.config import Config
    from stem2sim.engines.trajectory import Trajectory
    from stem2sim.image import Image
    from stem2sim.runs.names import Kind
    from stem2sim.segmentation import Segmentation
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure


class Run(Shown):
    """The image, segmentation, structures, results and record of one run folder, each read once, when asked for."""

    def __init__(self, folder: str | Path, config: Config | None = None, image: Image | None = None) -> None:
        """Open a run folder.

        Args:
            folder: where the run is, or will be.
            config: of a run that is about to begin; else read from the folder.
            image: its frame, where that has been read already.

        Raises:
            BadInput: no run was ever begun there.
        """
        self.folder = Path(folder)
        if config is None and not (self.folder / CONFIG).is_file():
            raise BadInput(f"{folder} is not a run folder: it has no {CONFIG}")
        self.contents = Contents()
        self._given, self._image = config, image
        self._failure: str | None = None
        self._under_way = False
        self._steps: Collection[str] | None = None

    def under_way(self, failure: str = "", steps: Collection[str] | None = None) -> Self:
        """Return the run as the session that is writing it has it: what it came to so far, and why no further.

        Args:
            failure: what stopped it; '' for nothing.
            steps: that belong to the run; None for all that are up to date.
        """
        _ = self.state, self.session_log  # shared with the copy: neither is read twice
        now = copy.copy(self)
        now.refresh()
        now._failure, now._under_way, now._steps = failure, True, steps
        return now

    def refresh(self) -> None:
        """Forget what followed from the steps that were done: another one is."""
        for name in ("steps", "structures", "places", "results", "agreements", "evolutions"):
            self.__dict__.pop(name, None)

    def describe(self) -> str:
        """Return the folder, and the names of the structures and the results."""
        return "; ".join(filter(None, [str(self.folder), ", ".join(self.structures), ", ".join(self.results)]))

    def facts(self) -> dict[str, str]:
        """Return the atoms, the structures, the results, and what stopped the run."""
        found = self.segmentation.facts() if self.segmentation else {}
        made = {name: one.describe() for name, one in {**self.structures, **self.results}.items()}
        stopped = {"stopped by": self.failure} if self.failure else {}
        return {"folder": str(self.folder), **found, **made, **stopped}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the atoms over their frame; of a run without them, its last result or structure.

        Raises:
            BadInput: nothing is done yet.
        """
        if self.segmentation is not None:
            return self.segmentation.model_copy().found_in(self.image).plot(ax)
        done = [*self.structures.values(), *self.results.values()]
        if not done:
            raise BadInput(f"there is nothing to draw in {self.folder} yet")
        return done[-1].plot(ax)

    @cached_property
    def state(self) -> State:
        """What of the run is done.

        Raises:
            BadInput: its file is damaged.
        """
        return State(self.folder)

    # what was asked for

    @cached_property
    def config_text(self) -> str:
        """The resolved config, as TOML."""
        return self._given.to_toml() if self._given else self.contents.text(self.folder / CONFIG)

    @cached_property
    def tree(self) -> dict[str, Any]:
        """The config as a tree of tables: readable without the plugins that it names.

        Relative paths that somebody wrote into it count from the run folder.
        """
        tree = tree_of(self.config_text, self.folder / CONFIG)
        count_paths_from(self.folder.resolve(), tree)
        return tree

    @cached_property
    def config(self) -> Config:
        """The config with its stages.

        Raises:
            BadInput: a plugin that it names is not installed here.
        """
        return self._given or parse(self.tree)

    @property
    def title(self) -> str:
        """Name of the file that the run started from."""
        image, structure = self.tree.get("image"), self.tree.get("structure")
        starts = (image.get("path") if isinstance(image, dict) else None, self.table(StepName("segment")).get("path"))
        return Path(next((one for one in (*starts, structure) if isinstance(one, str)), "run")).name

    # what is there

    @property
    def image(self) -> Image | None:
        """The frame; None where the run has none, or it cannot be read (see `image_problem`)."""
        return self._frame[0]

    @property
    def image_problem(self) -> str:
        """Why the frame cannot be read; '' where it can."""
        return self._frame[1]

    @cached_property
    def _frame(self) -> tuple[Image | None, str]:
        if self._image is not None or "image" not in self.tree:
            return self._image, ""
        try:
            return ImageSource.model_validate(self.tree["image"]).read(), ""
        except (BadInput, ValidationError) as problem:
            return None, " ".join(str(problem).split())

    @property
    def segmentation(self) -> Segmentation | None:
        """The atoms that were found; None where nothing was, or the run started from a structure."""
        file = self.folder / SEGMENTATION
        return self.contents.segmentation(file) if "segment" in self.tree and file.is_file() else None

    @cached_property
    def steps(self) -> dict[StepName, list[Path]]:
        """The finished steps, in the order they run in, each with its files; those of an earlier config are kept."""
        finished = {}
        for text, files in self.state.current().items():
            name = self.step_name(text)
            if name is not None and (self._steps is None or text in self._steps):
                finished[name] = files
        order = ("segment", "build", "structure", "simulate", "report")
        return dict(sorted(finished.items(), key=lambda step: (order.index(step[0].kind), str(step[0]))))

    def step_name(self, text: str) -> StepName | None:
        """Return a step's name from its text; None for what is no name of a step."""
        return StepName.parse(text, self._stages("build"), self._stages("simulate"))

    def table(self, name: StepName) -> dict[str, Any]:
        """Return what the config says of the stage of a step; empty for one that it has no more."""
        given = self.tree.get(name.kind, {})
        if isinstance(given, list):
            given = given[name.number - 1] if 0 < name.number <= len(given) else {}
        return given if isinstance(given, dict) else {"use": given} if isinstance(given, str) else {}

    def _stages(self, section: Kind) -> list[str]:
        given = self.tree.get(section)
        numbers = range(1, len(given) + 1) if isinstance(given, list) else ()
        return [str(self.table(StepName(section, number)).get("use", "")) for number in numbers]

    @cached_property
    def structures(self) -> dict[str, Structure]:
        """The structures to simulate, by the names of their files."""
        files = (file for name, own in self.steps.items() if name.kind == "structure" for file in own)
        return {file.name: self.contents.structure(file) for file in files}

    @cached_property
    def places(self) -> dict[str, ResultPlace]:
        """Where each result lies, by its name: `01-xtb`, or `02-aimd 300K` where a step has several."""
        return places_of(self.steps)

    @cached_property
    def results(self) -> dict[str, SimulationResult]:
        """The results of simulations by their names, in the order they were made."""
        return {name: self.contents.result(place.file) for name, place in self.places.items()}

    @property
    def waiting(self) -> list[str]:
        """Simulations of the config that have no result yet."""
        stages = enumerate(self._stages("simulate"), start=1)
        wanted = [StepName("simulate", number, stage).short for number, stage in stages if stage]
        return [step for step in wanted if all(place.step.short != step for place in self.places.values())]

    # how it was made

    @cached_property
    def session_log(self) -> SessionLog:
        """The record of its sessions, the one under way among them."""
        return SessionLog(self.folder)

    @property
    def sessions(self) -> list[Session]:
        """When the run was worked on, the first time first."""
        known = self.session_log.sessions
        if known and self._under_way:
            known[-1] = known[-1].model_copy(update={"outcome": UNDER_WAY})
        return known

    @property
    def failure(self) -> str:
        """Why the run did not reach its end; '' where it did."""
        if self._failure is not None:
            return self._failure
        return self.sessions[-1].failure if self.sessions else ""

    def start(self, result: SimulationResult) -> Structure | None:
        """Return the structure that a result started from, where it is known."""
        if result.started_from in self.structures:
            return self.structures[result.started_from]
        before = self._made(result.started_from)
        return before.structure if before else None

    def built(self, result: SimulationResult) -> Structure | None:
        """Return the structure that was built of the frame and that a result goes back to, where it is known."""
        for _ in range(len(self.results) + 1):
            if result.started_from in self.structures:
                return self.structures[result.started_from]
            before = self._made(result.started_from)
            if before is None:
                return None
            result = before
        return None

    def _made(self, structure: str) -> SimulationResult | None:
        """The result whose final structure lies in this file."""
        for name, place in self.places.items():
            if str(place.file.with_suffix(".extxyz").relative_to(self.folder)) == structure:
                return self.results[name]
        return None

    # what follows from it

    @cached_property
    def agreements(self) -> dict[str, Agreement | str]:
        """Every structure and result compared with the image, or why that was not possible."""
        return compare_with_image(self.image, self.segmentation, self.structures, self._ends())

    def _ends(self) -> Mapping[str, tuple[SimulationResult, Trajectory | None, Structure | None]]:
        return {name: (result, self.trajectory(name), self.built(result)) for name, result in self.results.items()}

    def trajectory(self, name: str) -> Trajectory | None:
        """Return the trajectory of a result; None where it has none."""
        return self.contents.trajectory_of(self.places[name].file, self.results[name])

    @cached_property
    def evolutions(self) -> dict[str, Evolution]:
        """What happened along each trajectory, by the name of its result; kept beside it, and read again from there."""
        found = {
            name: evolution_along(one, self.trajectory(name), self.contents, analysis_of(self.places[name].file))
            for name, one in self.results.items()
        }
        return {name: one for name, one in found.items() if one is not None}

    def multislice(self, name: str) -> SimulatedImage | None:
        """Return the image that a plugin simulated from a result; None where there is none."""
        return simulated_image(self.contents, self.places[name].file) if name in self.places else None

    def files(self) -> set[Path]:
        """Return every file of the run as it stands, those of simulations included; none left from earlier configs."""
        files = (file for own in self.steps.values() for file in own)
        return files_of(self.folder, files, {self.places[name].file: one for name, one in self.results.items()})
