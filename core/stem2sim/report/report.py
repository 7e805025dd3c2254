"""`Report`: a run as one page, and the same in Markdown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stem2sim import __version__
from stem2sim.errors import BadInput
from stem2sim.files import write_atomically, write_text
from stem2sim.records.writing import write_records
from stem2sim.report.compare_back import compare_back
from stem2sim.report.geometry import geometry
from stem2sim.report.groups import adsorption, samples
from stem2sim.report.movie import movie
from stem2sim.report.page import Page, stale
from stem2sim.report.paper import paper
from stem2sim.report.provenance import provenance
from stem2sim.report.segmentation import segmentation
from stem2sim.report.simulations import simulations
from stem2sim.report.structures import structures
from stem2sim.report.summary import summary
from stem2sim.report.trajectories import trajectories
from stem2sim.runs.movie_folder import movie_of
from stem2sim.runs.names import FRAMES, MARKDOWN, REPORT
from stem2sim.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from stem2sim.report.blocks import Section

SECTIONS: tuple[Callable[[Run], Iterable[Section]], ...] = (
    summary,
    segmentation,
    structures,
    compare_back,
    simulations,
    geometry,
    trajectories,
    adsorption,
    samples,
    paper,
    provenance,
)
"""In the order of the page; each yields nothing where a run has nothing for it."""

OF_A_MOVIE: tuple[Callable[[Run], Iterable[Section]], ...] = (movie, paper, provenance)
"""In place of them, where the atoms of a movie were tracked."""


class Report:
    """The page of one run: it renders what the run holds, and computes nothing of its own."""

    def __init__(self, run: Run) -> None:
        """Take a run.

        Raises:
            BadInput: it has no segmentation, no structure, no movie, and no failure that would say why.
        """
        folder = run.folder
        self._sections = OF_A_MOVIE if movie_of(run) is not None else SECTIONS
        if self._sections is SECTIONS and run.segmentation is None and not run.structures:
            if (folder / FRAMES).is_dir():
                raise BadInput(
                    f"the tracking of the movie in {folder} is not complete; stem2sim track {folder} resumes"
                )
            if not run.failure:
                raise BadInput(f"nothing to report in {folder}: no segmentation and no structure yet")
        self.run = run

    def page(self) -> Page:
        """Return the page, with the time it was made."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        sections = [one for section in self._sections for one in section(self.run)]
        subtitle = f"stem2sim {__version__} · {now} · {self.run.folder.resolve().name}"
        return Page(self.run.title, subtitle, sections)

    def write(self) -> Path:
        """Write the page and the same in Markdown with its figures into the run folder; return the path of the page."""
        folder = self.run.folder
        page = self.page()
        words, pictures = page.markdown()
        for name, png in pictures.files.items():
            with write_atomically(folder / name) as part:
                part.write_bytes(png)
        write_text(folder / MARKDOWN, words)
        write_text(folder / REPORT, page.html())
        for file in stale(folder, pictures):
            file.unlink()
        self.run.contents.forget([folder / MARKDOWN, folder / REPORT, *(folder / name for name in pictures.files)])
        return folder / REPORT


def write_report(run: Run) -> Path:
    """Write the report of a run and the records beside it; return the path of the page.

    Raises:
        BadInput: there is nothing to report.
        StageFailed: the database server of the config cannot be written to; all else is written by then.
    """
    written = Report(run).write()
    write_records(run)
    return written


def write_again(folder: Path) -> Path:
    """Write the report of a run folder that no other process is at work in; return the path of the page.

    Raises:
        BadInput: not a run folder, one in use, or nothing to report.
        StageFailed: as `write_report`.
    """
    run = Run(folder)
    with run.state.locked():
        run.state.forget(REPORT)
        return write_report(run)
