"""What a run leaves for whoever started it, and what it says of each stage while it goes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stem2sim.analysis.comparison import Row, row
from stem2sim.analysis.samples import sample_statistics
from stem2sim.builtin.adsorption import CONVENTION, adsorption_energies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stem2sim.runs.run import Run
    from stem2sim.runs.step import Step
    from stem2sim.segmentation import Segmentation
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure

log = logging.getLogger("stem2sim")


@dataclass
class Outcome:
    """What a run left, for the command line to print."""

    run: Run
    steps: dict[str, str] = field(default_factory=dict)
    """Step -> done, already done or unfinished."""
    warnings: list[str] = field(default_factory=list)
    segmentation: Segmentation | None = None
    structures: list[tuple[Path, Structure]] = field(default_factory=list)
    results: list[tuple[Path, SimulationResult]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    """The results side by side."""
    waiting: list[str] = field(default_factory=list)
    """Simulations that are to run elsewhere: where they are prepared, or what they lack."""
    report: Path | None = None

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.folder


def log_stage(outcome: Outcome, steps: Sequence[Step]) -> None:
    """Log what the steps of one stage left, all variants together, and put it into the outcome."""
    kind = steps[0].name.kind
    if kind == "segment":
        outcome.segmentation = outcome.run.segmentation
        outcome.warnings += _log_segmentation(outcome.run)
    elif kind == "simulate":
        if all(step.files is not None for step in steps):
            _log_together(outcome.run, steps)
    else:
        structures = _log_structures(outcome.run, steps)
        outcome.structures += structures if kind == "structure" else []


def log_results(outcome: Outcome, step: Step) -> list[Row]:
    """Log the results of one simulation of one variant, put them into the outcome, and return their numbers."""
    contents = outcome.run.contents
    rows = []
    for file in result_files(step):
        result = contents.result(file)
        title = f"{step.name} {result.label}".strip()
        log.info("%s: %.4f eV, %s", title, result.energy, result.reason)
        for warning in result.warnings:
            log.warning("%s: %s", title, warning)
        start = contents.structure(step.start.file) if step.start.file else None
        rows.append(row(str(step.name), result, start, contents.trajectory_of(file, result)))
        if result.label:
            log.info("  %s", rows[-1].describe())
        outcome.results.append((file, result))
    return rows


def result_files(step: Step) -> list[Path]:
    """Return the `result*.json` of a simulation, those of an unfinished one among them."""
    record = step.run.state.record(str(step.name))
    return [step.run.folder / name for name in (record.files if record else ()) if name.endswith(".json")]


def _log_segmentation(run: Run) -> list[str]:
    """Log what was found in the image; return the warnings of the image and of the segmentation."""
    segmentation = run.segmentation
    if segmentation is None:
        return []
    log.info("segment: %s", ", ".join(f"{count} {species}" for species, count in segmentation.atoms.counts().items()))
    image = run.image if run.config.segment is not None and run.config.segment.needs_image else None
    warnings = [*(image.warnings if image else ()), *segmentation.warnings]
    for warning in warnings:
        log.warning("%s", warning)
    return warnings


def _log_structures(run: Run, steps: Sequence[Step]) -> list[tuple[Path, Structure]]:
    """Log what one builder, or the step `structure`, made of all variants; return the structures with their files."""
    made = [(file, run.contents.structure(file)) for step in steps for file in step.files or ()]
    if not made:
        return []
    structures = [structure for _, structure in made]
    if steps[0].name.kind == "build":
        formula = structures[0].atoms.get_chemical_formula("hill") or "nothing"
        several = f"{len(made)} variants, the first {formula}"
        log.info("build %s: %s", steps[0].name.stage, several if len(made) > 1 else formula)
        return made
    for finding in dict.fromkeys(finding for structure in structures for finding in structure.findings):
        log.info("  %s", finding)
    for check in dict.fromkeys(c for structure in structures for c in structure.checks if c.severity != "note"):
        log.warning("%s: %s", check.check, check.text)
    return made


def _log_together(run: Run, steps: Sequence[Step]) -> None:
    """Log what results that belong together say: adsorption energies, and the spread over samples."""
    simulator = steps[0].name.stage
    named = [(step.name.label, run.contents.result(file)) for step in steps for file in result_files(step)]
    energies = adsorption_energies(named)
    if energies:
        log.info("%s", CONVENTION)
    for site, energy in energies.items():
        log.info("  %s at %s: %s", simulator, site, energy)
    for name, quantities in sample_statistics(named).items():
        log.info("%s of %s: %s", simulator, name, "; ".join(f"{what} {value}" for what, value in quantities.items()))
