"""`Movie`: what tracking the atoms of a movie left in a run folder."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from stem2sim.analysis.tracks import Tracks
from stem2sim.errors import BadInput, damaged
from stem2sim.imaging.readers import ImageSource
from stem2sim.imaging.stack import Stack
from stem2sim.runs.listing import movie_files
from stem2sim.runs.names import DRIFT, EVENTS, TRACKING, TRACKS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from stem2sim.image import Image
    from stem2sim.runs.run import Run


def movie_of(run: Run) -> Movie | None:
    """Return the movie that was tracked in a run folder; None where none was, or not to its end."""
    return Movie(run) if (run.folder / TRACKING).is_file() else None


class Movie:
    """The frames, tracks and events of one run folder; files are read when they are first needed.

    Whatever reads a file raises BadInput where it is damaged.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def about(self) -> dict[str, Any]:
        """The summary, as `tracks.json` has it."""
        file = self.run.folder / TRACKING
        try:
            about = json.loads(self.run.contents.text(file))
            return {**about, "failed": {int(number): why for number, why in about["failed"].items()}}
        except (AttributeError, KeyError, TypeError, ValueError) as problem:
            raise BadInput(damaged(file)) from problem

    @property
    def frames(self) -> int:
        """How many there are."""
        return int(self.about["frames"])

    @property
    def failed(self) -> dict[int, str]:
        """Frames without atoms, and why."""
        failed: dict[int, str] = self.about["failed"]
        return failed

    @property
    def segmenter(self) -> dict[str, Any]:
        """The segmenter that found the atoms: its name, options and version."""
        return dict(self.about["segmenter"])

    @property
    def linking(self) -> dict[str, float]:
        """How atoms were linked: `reach [Å]`, and `gap` in frames."""
        return dict(self.about["linking"])

    @cached_property
    def tracks(self) -> Tracks:
        """Every atom of every frame, the events and the drift."""
        folder, contents = self.run.folder, self.run.contents
        try:
            return Tracks.parse(*(contents.text(folder / name) for name in (TRACKS, EVENTS, DRIFT)))
        except (KeyError, ValueError) as problem:
            if isinstance(problem, BadInput):
                raise
            raise BadInput(damaged(folder / TRACKS)) from problem

    @property
    def files(self) -> list[Path]:
        """All of them, the atoms of each frame among them."""
        return movie_files(self.run.folder)

    def images(self, numbers: Iterable[int]) -> dict[int, Image]:
        """Return frames by their numbers; those that can be read.

        Raises:
            BadInput: the file cannot be read.
        """
        found = {}
        try:
            source = ImageSource.model_validate(self.run.tree.get("image"))
        except ValidationError as problem:
            raise BadInput(" ".join(str(problem).split())) from problem
        with Stack(source) as stack:
            for number in numbers:
                if number not in self.failed:
                    found[number] = stack.frame(number)
        return found
