"""Runs that tests put together by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stem2sim.report.report import write_report
from stem2sim.runs import pipeline
from stem2sim.runs.listing import ResultPlace
from stem2sim.runs.names import SEGMENTATION, StepName, result_name
from stem2sim.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stem2sim.config.config import Config
    from stem2sim.image import Image
    from stem2sim.runs.outcome import Outcome
    from stem2sim.segmentation import Segmentation
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure


def run(config: Config, out: Path, until: str = "report") -> Outcome:
    """Run a pipeline as the command line does, up to a stage or to its report."""
    if until == "report":
        return pipeline.run(config, out, write_report=write_report)
    return pipeline.run(config, out, until)


def run_with(
    folder: Path,
    results: Mapping[str, SimulationResult] | None = None,
    structures: Mapping[str, Structure] | None = None,
    segmentation: Segmentation | None = None,
    image: Image | None = None,
) -> Run:
    """Return a run of these parts; results by their files, such as 01-xtb/result.json."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "" if segmentation is None else '[segment]\nuse = "atoms-table"\npath = "atoms.csv"\n'
    (folder / "run.toml").write_text(text)
    if segmentation is not None:
        segmentation.save(folder / SEGMENTATION)
    made = Run(folder, image=image)
    places, named = {}, {}
    for file, result in (results or {}).items():
        number, _, rest = Path(file).parent.name.partition("-")
        use = str(result.made_by.get("use", rest))
        step = StepName("simulate", int(number), use, rest.removeprefix(use).removeprefix("-"))
        name = result_name(step, Path(file))
        places[name], named[name] = ResultPlace(step, folder / file), result
    made.__dict__ |= {"structures": dict(structures or {}), "results": named, "places": places}
    return made
