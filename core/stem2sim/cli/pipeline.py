"""Commands that run the pipeline, or parts of it."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stem2sim.cli.console import console, print_json
from stem2sim.cli.flags import (
    Allow,
    BuilderFlag,
    EngineFlag,
    Folder,
    Force,
    Input,
    Json,
    Out,
    PixelSize,
    PrepareOnly,
    SegmenterFlag,
    Set,
    SimulatorFlag,
    Verbose,
    WallLimit,
)
from stem2sim.cli.next_steps import after, after_movie, announce

if TYPE_CHECKING:
    from stem2sim.runs.outcome import Outcome
    from stem2sim.runs.request import RunRequest, Verb


def run(
    input: Input,
    out: Out = None,
    pixel_size: PixelSize = None,
    segmenter: SegmenterFlag = None,
    builder: BuilderFlag = None,
    simulator: SimulatorFlag = None,
    engine: EngineFlag = None,
    assignments: Set = None,
    force: Force = False,
    allow: Allow = None,
    wall_limit: WallLimit = None,
    prepare_only: PrepareOnly = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run the whole pipeline, from image to report. Finished steps are skipped; interrupted ones resume.

    Example: stem2sim run graphene.dm3 --pixel-size 0.1
    """
    from stem2sim.runs.request import RunRequest

    request = RunRequest(
        input, out, segmenter, builder, simulator, engine, assignments, allow, force, pixel_size=pixel_size
    )
    with console(verbose):
        outcome = _run(request, "run", wall_limit, prepare_only)
    _print(outcome, json, "run")


def segment(
    input: Input,
    out: Out = None,
    pixel_size: PixelSize = None,
    segmenter: SegmenterFlag = None,
    assignments: Set = None,
    force: Force = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Locate the atoms in an image.

    Example: stem2sim segment graphene.dm3 --out runs/graphene
    """
    from stem2sim.runs.request import RunRequest

    request = RunRequest(input, out, segmenter, assignments=assignments, force=force, pixel_size=pixel_size)
    with console(verbose):
        outcome = _run(request, "segment")
    _print(outcome, json, "segment")


def build(
    input: Input,
    out: Out = None,
    pixel_size: PixelSize = None,
    segmenter: SegmenterFlag = None,
    builder: BuilderFlag = None,
    assignments: Set = None,
    force: Force = False,
    allow: Allow = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Build structures from an image or an atom table.

    Example: stem2sim build runs/graphene --builder place --builder patch --builder hterm
    """
    from stem2sim.runs.request import RunRequest

    request = RunRequest(
        input, out, segmenter, builder, assignments=assignments, allow=allow, force=force, pixel_size=pixel_size
    )
    with console(verbose):
        outcome = _run(request, "build")
    _print(outcome, json, "build")


def simulate(
    input: Annotated[Path, typer.Argument(help="A run folder, a config (.toml) or a structure file readable by ASE.")],
    out: Out = None,
    simulator: SimulatorFlag = None,
    engine: EngineFlag = None,
    assignments: Set = None,
    allow: Allow = None,
    result: Annotated[
        str,
        typer.Option(
            "--result", metavar="NAME", help="Start a new run (--out) from this result of a run folder, e.g. 01-xtb."
        ),
    ] = "",
    wall_limit: WallLimit = None,
    prepare_only: PrepareOnly = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Simulate the structures of a run folder, a config or a structure file. Interrupted simulations resume.

    Example: stem2sim simulate runs/graphene --simulator xtb --simulator aimd --engine xtb
    """
    from stem2sim.runs.request import RunRequest

    request = RunRequest(
        input, out, simulators=simulator, engine=engine, assignments=assignments, allow=allow, result=result
    )
    with console(verbose):
        outcome = _run(request, "simulate", wall_limit, prepare_only)
    _print(outcome, json, "simulate")


def collect(folder: Folder, json: Json = False, verbose: Verbose = False) -> None:
    """Collect partial or final results of simulations running on another machine, and write the report.

    Example: stem2sim collect runs/graphene
    """
    from stem2sim.report.report import write_report
    from stem2sim.runs.pipeline import collect

    with console(verbose):
        outcome = collect(folder, write_report)
    _print(outcome, json, "collect")


def track(
    input: Annotated[Path, typer.Argument(help="An image stack, or a config (.toml) or run folder that contains one.")],
    out: Out = None,
    pixel_size: PixelSize = None,
    segmenter: SegmenterFlag = None,
    assignments: Set = None,
    reach: Annotated[
        float, typer.Option(help="Maximum displacement of an atom between frames, after drift correction (in Å).")
    ] = 0.7,
    gap: Annotated[
        int, typer.Option(help="Maximum number of consecutive frames in which an atom may go undetected.")
    ] = 2,
    force: Force = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Locate the atoms in every frame of a movie and track them. Finished frames are skipped.

    Example: stem2sim track movie.tif --pixel-size 0.1
    """
    from stem2sim.report.report import write_report
    from stem2sim.runs import movie
    from stem2sim.runs.request import RunRequest

    with console(verbose):
        request = RunRequest(input, out, segmenter, assignments=assignments, force=force, pixel_size=pixel_size)
        outcome = movie.follow(*request.config_in("segment"), reach, gap, write_report)
    if json:
        print_json(outcome.summary())
        return
    announce(outcome.folder, after_movie(outcome.report))
    typer.echo(outcome.report)


def step(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Name of the step, e.g. 02-aimd.")],
    wall_limit: WallLimit = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run one step of a run folder; the steps it depends on must be complete.

    Example: stem2sim step runs/graphene 02-aimd
    """
    from stem2sim.engines.deadline import time_limit
    from stem2sim.report.report import write_again
    from stem2sim.runs.names import REPORT
    from stem2sim.runs.pipeline import run_step

    with console(verbose), time_limit(wall_limit):
        files = [write_again(folder)] if name == REPORT else run_step(folder, name)
    print_json({"step": name, "files": [str(file) for file in files]}) if json else typer.echo(files[0])


def _run(request: RunRequest, verb: Verb, wall_limit: float | None = None, prepare_only: bool = False) -> Outcome:
    from stem2sim.engines.deadline import time_limit
    from stem2sim.runs.pipeline import run

    with time_limit(wall_limit):
        config, target = request.config_in(verb)
        if verb != "run":
            return run(config, target, verb, None, prepare_only)
        from stem2sim.report.report import write_report  # draws with matplotlib: half a second to import

        return run(config, target, "simulate", write_report, prepare_only)


def _print(outcome: Outcome, json: bool, verb: str) -> None:
    if json:
        print_json(_summary(outcome))
    else:
        announce(outcome.folder, after(outcome, verb))
        typer.echo(outcome.report or outcome.folder)


def _summary(outcome: Outcome) -> dict[str, Any]:
    from stem2sim.geometry.defects import defects

    found = outcome.segmentation
    return {
        "folder": str(outcome.folder),
        "steps": outcome.steps,
        "atoms": found.atoms.counts() if found else {},
        "lattice": found.lattice.model_dump() if found and found.lattice else None,
        "warnings": outcome.warnings,
        "structures": [
            {
                "path": str(path),
                "label": structure.label,
                "formula": structure.atoms.get_chemical_formula("hill"),
                "defects": [vars(one) for one in defects(structure.bonds)],
                "findings": structure.findings,
                "checks": [check.model_dump(mode="json") for check in structure.checks],
            }
            for path, structure in outcome.structures
        ],
        "results": [
            {
                "path": str(path),
                "label": result.label,
                "energy_eV": result.energy,
                "largest_force_eV_per_A": result.largest_force,
                "converged": result.converged,
                "reason": result.reason,
                "warnings": result.warnings,
                "defects": [vars(one) for one in defects(result.structure.bonds)],
                **row.summary(),
            }
            for (path, result), row in zip(outcome.results, outcome.rows, strict=True)
        ],
        "waiting": outcome.waiting,
        "report": str(outcome.report) if outcome.report else None,
    }


COMMANDS = (run, segment, build, simulate, collect, track)
