"""The report: all that is in a run folder, read for the page."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stem2sim import __version__
from stem2sim.analysis.comparison import Row, row
from stem2sim.config.records import server_address
from stem2sim.config.tree import read_toml
from stem2sim.errors import BadInput
from stem2sim.files import write_atomically, write_text
from stem2sim.image import Image
from stem2sim.imaging.readers import ImageSource
from stem2sim.records.crate import write_crate
from stem2sim.records.database import share, write_database
from stem2sim.report.compare_back import agreements, compare_back
from stem2sim.report.found import found
from stem2sim.report.geometry import geometry
from stem2sim.report.page import Page, stale
from stem2sim.report.paper import paper
from stem2sim.report.provenance import provenance
from stem2sim.report.simulations import simulations
from stem2sim.report.structures import structures
from stem2sim.report.summary import summary
from stem2sim.report.together import adsorption, samples
from stem2sim.report.trajectories import evolutions, trajectories
from stem2sim.run.folder import CONFIG, MARKDOWN, REPORT, SEGMENTATION, RunFolder
from stem2sim.run.sessions import NOW, Session, sessions
from stem2sim.segmentation import Segmentation
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from stem2sim.agreement.agreement import Agreement
    from stem2sim.analysis.evolution import Evolution
    from stem2sim.report.blocks import Section


class Report(BaseModel):
    """Everything in a run folder, read for the page."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    folder: Path
    title: str
    config: str
    image: Image | None = None
    image_missing: str = ""
    segmentation: Segmentation | None = None
    structures: dict[str, Structure]
    results: dict[str, SimulationResult]
    failure: str = Field("", description="why a stage failed, in words; '' for a run that finished")
    waiting: tuple[str, ...] = Field((), description="simulations of the config that have no result yet")
    sessions: tuple[Session, ...] = Field((), description="when the run was worked on, the first time first")

    @classmethod
    def of(
        cls,
        path: Path,
        image: Image | None = None,
        failure: str | None = None,
        under_way: bool = False,
        steps: Collection[str] | None = None,
    ) -> Self:
        """Read a run folder; the image too, from where the config says, unless it is given.

        Args:
            path: the run folder.
            image: its frame.
            failure: why it went no further; left out, what its last session says.
            under_way: whether the last session is the one that writes the report.
            steps: that belong to the run; left out, all that are up to date.

        Raises:
            BadInput: a folder without structures or segmentation, and no failure that would say why.
        """
        folder = RunFolder(path)
        known = sessions(path)
        if known and under_way:
            known[-1] = known[-1].model_copy(update={"outcome": NOW})
        if failure is None:
            failure = known[-1].failure if known else ""
        tree = read_toml(path / CONFIG)
        missing = ""
        if image is None and "image" in tree:
            try:
                image = ImageSource.model_validate(tree["image"]).read()
            except (BadInput, ValidationError) as problem:
                missing = " ".join(str(problem).split())
        segmentation = path / SEGMENTATION
        structures = {file.name: Structure.read(file) for file in folder.structures(steps)}
        if not segmentation.is_file() and not structures and not failure:
            raise BadInput(f"nothing to report in {path}: no segmentation and no structure yet")
        results = {str(f.relative_to(path)): SimulationResult.read(f) for f in folder.simulations(steps)}
        start = tree.get("image", {}).get("path") or tree.get("segment", {}).get("path") or tree.get("structure", "run")
        return cls(
            folder=path,
            title=Path(start).name,
            config=(path / CONFIG).read_text(encoding="utf-8"),
            image=image,
            image_missing=missing,
            segmentation=Segmentation.load(segmentation) if "segment" in tree and segmentation.is_file() else None,
            structures=structures,
            results=results,
            failure=failure,
            waiting=tuple(_waiting(tree, results)),
            sessions=tuple(known),
        )

    def built(self, result: SimulationResult) -> Structure | None:
        """Return the structure that was built of the frame and that a result goes back to, where it is known."""
        for _ in range(len(self.results) + 1):
            if result.started_from in self.structures:
                return self.structures[result.started_from]
            before = [one for name, one in self.results.items() if _structure_of(name) == result.started_from]
            if not before:
                return None
            result = before[0]
        return None

    @cached_property
    def agreements(self) -> dict[str, Agreement | str]:
        """Every structure and result held against the frame, or why that could not be."""
        return agreements(self)

    @cached_property
    def evolutions(self) -> dict[str, Evolution]:
        """What happened along each trajectory, by the name of its result."""
        return evolutions(self)

    def page(self, made: str) -> Page:
        """Return the page, with the time it was made."""
        sections = [one for section in SECTIONS for one in section(self)]
        return Page(self.title, f"stem2sim {__version__} · {made} · {self.folder.resolve().name}", sections)

    def write(self, folder: Path) -> Path:
        """Write the page, the same in Markdown with its pictures, and the records; return the path of the page."""
        made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        page = self.page(made)
        words, pictures = page.markdown()
        for name, png in pictures.files.items():
            with write_atomically(folder / name) as part:
                part.write_bytes(png)
        write_text(folder / MARKDOWN, words)
        write_text(folder / REPORT, page.html())
        for file in stale(folder, pictures):
            file.unlink()
        own = {folder / name for name in (MARKDOWN, *pictures.files)}
        if not self.failure:  # rows of an earlier run are worth more than none
            write_database(folder, self.results)
        write_crate(folder, self.title, made, RunFolder(folder).all_files() | own, failure=self.failure)
        # last of all: a server that does not answer costs nothing of what is written here
        if not self.failure and (
            address := server_address(read_toml(self.folder / CONFIG).get("records", {}).get("database"))
        ):
            share(folder, self.results, address)
        return folder / REPORT

    def rows(self) -> list[tuple[Row, SimulationResult]]:
        """Return the numbers of each result, and the result."""
        found = []
        for name, result in self.results.items():
            folder = Path(name).parent
            found.append((row(folder.name, result, self.start(result), self.folder / folder), result))
        return found

    def start(self, result: SimulationResult) -> Structure | None:
        """Return the structure that a result started from, where it is known."""
        if result.started_from in self.structures:
            return self.structures[result.started_from]
        for name, other in self.results.items():
            if _structure_of(name) == result.started_from:
                return other.structure
        return None


def _waiting(tree: dict[str, Any], results: Mapping[str, SimulationResult]) -> Iterator[str]:
    for k, stage in enumerate(tree.get("simulate", []), start=1):
        step = f"{k:02d}-{stage.get('use', '')}"
        if not any(Path(name).parent.name.startswith(step) for name in results):
            yield step


def _structure_of(result: str) -> str:
    """File of the structure of a result, given by the name of its own."""
    return str(Path(result).with_suffix(".extxyz"))


SECTIONS: tuple[Callable[[Report], Iterable[Section]], ...] = (
    summary,
    found,
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
"""In the order of the page; each leaves out what a run has not."""
