"""Where a verb of the front door runs: in a folder that is kept, or in a temporary one."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, nullcontext
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, TypeVar
from weakref import finalize

import numpy as np
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
    from stem2sim.runs.starts import Start

Kept = TypeVar("Kept", bound=Noun)


_known: set[str] = set()
"""Warnings that were printed: each verb goes through the steps before it, which warn again."""


@contextmanager
def reported() -> Iterator[None]:
    """Show progress and warnings of the work inside on standard error, as the command line does.

    Where the user has set up logging, the warnings go there alone.

    Raises:
        BadInput: in place of an OSError: a folder or file that cannot be used.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    warnings = nullcontext() if logging.getLogger().handlers else messages(console, logging.WARNING, known=_known)
    try:
        with warnings, shown(console):
            yield
    except OSError as problem:
        place = f"{problem.filename}: " if problem.filename else ""
        raise BadInput(f"{place}{problem.strerror or problem}") from problem


def path_of(value: object) -> Path:
    """Return a path that was given in Python; ~ stands for the home folder.

    Raises:
        BadInput: neither a text nor a path.
    """
    if not isinstance(value, str | Path):
        array = "; an array becomes an image by Image(pixels=array, pixel_size=...) [Å]" * isinstance(value, np.ndarray)
        raise BadInput(f"a path is a text or a pathlib.Path, not {type(value).__name__}{array}")
    return Path(value).expanduser()


def names_in(value: str | Sequence[str]) -> Sequence[str]:
    """Return names that were given as one or as several."""
    return [value] if isinstance(value, str) else value


class RunFolder:
    """The run folder of one verb; a temporary one is removed with the last object that came from it."""

    def __init__(self, out: str | Path | None) -> None:
        """Take the folder `out`, or make a temporary one.

        Raises:
            BadInput: `out` is a file, or empty.
        """
        if out is None:
            self.folder = Path(mkdtemp(prefix="stem2sim-")).resolve()
            finalize(self, _remove, self.folder, os.getpid())
        else:
            self.folder = path_of(out).absolute()
            if not str(out) or (self.folder.exists() and not self.folder.is_dir()):
                raise BadInput(f"out = '{out}' is not a folder; choose another name")

    def run(self, begun: Start, sections: Tree, until: str, allow: str | Sequence[str] = ()) -> Outcome:
        """Run the pipeline here, with progress and warnings on standard error.

        Args:
            begun: what it starts from; nothing is written where the config has a mistake.
            sections: of the config, which follow.
            until: the last stage.
            allow: names of checks of the structure that may fail.
        """
        config = parse({**begun.tree, **sections}, Changes(allow=names_in(allow)))
        with reported():
            begun.settle()
            return pipeline.run(config, self.folder, until)

    def kept(self, made: Kept) -> Kept:
        """Return an object, which now holds on to this folder."""
        for one in (made, made.structure) if isinstance(made, SimulationResult) else (made,):
            finalize(one, _nothing, self).atexit = False
        return made


def _remove(folder: Path, process: int) -> None:
    """Remove a temporary folder, unless this process is only a fork of the one that made it."""
    if os.getpid() == process:
        rmtree(folder, ignore_errors=True)


def _nothing(place: RunFolder) -> None:
    """Hold on to a folder until the object is gone."""
