"""Where a verb of the front door runs: in a folder that is kept, or in a temporary one."""

from __future__ import annotations

import logging
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, TypeVar
from weakref import finalize

from rich.console import Console

from stem2sim.config.config import Changes, parse
from stem2sim.errors import BadInput
from stem2sim.messages import messages
from stem2sim.noun import Noun
from stem2sim.progress import shown
from stem2sim.runs import pipeline
from stem2sim.simulation import SimulationResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stem2sim.runs.lineage import Tree
    from stem2sim.runs.outcome import Outcome

Kept = TypeVar("Kept", bound=Noun)


_known: set[str] = set()
"""Warnings that were printed: each verb goes through the steps before it, which warn again."""


@contextmanager
def reported() -> Iterator[None]:
    """Show progress and warnings of the work inside on standard error, as the command line does.

    Where the user has set up logging, the warnings go there alone.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    warnings = nullcontext() if logging.getLogger().handlers else messages(console, logging.WARNING, known=_known)
    with warnings, shown(console):
        yield


class RunFolder:
    """The run folder of one verb; a temporary one is removed with the last object that came from it."""

    def __init__(self, out: str | Path | None) -> None:
        """Take the folder `out`, or make a temporary one.

        Raises:
            BadInput: `out` is a file, or empty.
        """
        if out is None:
            self.folder = Path(mkdtemp(prefix="stem2sim-"))
            finalize(self, rmtree, self.folder, ignore_errors=True)
        else:
            self.folder = Path(out)
            if not str(out) or (self.folder.exists() and not self.folder.is_dir()):
                raise BadInput(f"out = '{out}' is not a folder; choose another name")

    def run(self, tree: Tree, until: str, allow: Sequence[str] = ()) -> Outcome:
        """Run the pipeline here, with progress and warnings on standard error."""
        with reported():
            return pipeline.run(parse(tree, Changes(allow=allow)), self.folder, until)

    def kept(self, made: dict[str, Kept]) -> dict[str, Kept]:
        """Return objects, which now hold on to this folder."""
        for one in made.values():
            finalize(one, _nothing, self).atexit = False
            if isinstance(one, SimulationResult):
                finalize(one.structure, _nothing, self).atexit = False
        return made


def _nothing(place: RunFolder) -> None:
    """Hold on to a folder until the object is gone."""
