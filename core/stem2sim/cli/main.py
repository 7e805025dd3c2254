"""The command line. Commands import what they need when they run: `stem2sim --help` must be instant."""

from __future__ import annotations

import signal
import sys
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stem2sim import __version__
from stem2sim.cli import looking
from stem2sim.cli.console import console, print_json
from stem2sim.cli.flags import (
    Allow,
    BuilderFlag,
    EngineFlag,
    Force,
    Input,
    Json,
    Out,
    PrepareOnly,
    SegmenterFlag,
    Set,
    SimulatorFlag,
    Verbose,
    WallLimit,
    configured_in,
    flags_of,
    forced,
)
from stem2sim.engines.checkpoints import interrupt
from stem2sim.errors import BAD_INPUT, FAILED, INTERRUPTED, BadInput, StageFailed

if TYPE_CHECKING:
    from stem2sim.run.pipeline import Outcome

app = typer.Typer(
    help="From a STEM image to an atomistic simulation of what was really seen.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PLUGIN_COMMANDS = "stem2sim.commands"
"""Entry-point group of commands that plugins add: each a function for typer, or a typer app of several."""


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def run(
    input: Input,
    out: Out = None,
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
    """Run the whole pipeline: image to report. What is already done is skipped, what was cut off goes on."""
    flags = flags_of(segmenter, builder, simulator)
    _work(
        input, out, flags, engine, forced(assignments, force, allow), "report", json, verbose, wall_limit, prepare_only
    )


@app.command()
def segment(
    input: Input,
    out: Out = None,
    segmenter: SegmenterFlag = None,
    assignments: Set = None,
    force: Force = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find the atoms of an image."""
    _work(input, out, flags_of(segmenter, None, None), None, forced(assignments, force), "segment", json, verbose)


@app.command()
def build(
    input: Input,
    out: Out = None,
    segmenter: SegmenterFlag = None,
    builder: BuilderFlag = None,
    assignments: Set = None,
    force: Force = False,
    allow: Allow = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Build structures from an image or an atoms table."""
    _work(
        input, out, flags_of(segmenter, builder, None), None, forced(assignments, force, allow), "build", json, verbose
    )


@app.command()
def simulate(
    input: Annotated[Path, typer.Argument(help="A run folder, a config (.toml) or a structure file that ASE reads.")],
    out: Out = None,
    simulator: SimulatorFlag = None,
    engine: EngineFlag = None,
    assignments: Set = None,
    allow: Allow = None,
    wall_limit: WallLimit = None,
    prepare_only: PrepareOnly = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Simulate the structures of a run folder, a config or a structure file. What was cut off goes on."""
    options = forced(assignments, False, allow)
    _work(
        input,
        out,
        flags_of(None, None, simulator),
        engine,
        options,
        "simulate",
        json,
        verbose,
        wall_limit,
        prepare_only,
    )


@app.command()
def collect(
    folder: Annotated[Path, typer.Argument(help="A run folder.")], json: Json = False, verbose: Verbose = False
) -> None:
    """Read what simulations that run elsewhere have left so far, finished or not, and write the report."""
    from stem2sim.run import pipeline

    with console(verbose):
        outcome = pipeline.collect(folder)
    print_json(_summary(outcome)) if json else typer.echo(outcome.report)


@app.command()
def track(
    input: Annotated[Path, typer.Argument(help="A stack of frames, or a config (.toml) or run folder with one.")],
    out: Out = None,
    segmenter: SegmenterFlag = None,
    assignments: Set = None,
    reach: Annotated[float, typer.Option(help="Furthest that an atom moves between frames, drift apart [Å].")] = 0.7,
    gap: Annotated[int, typer.Option(help="Frames in a row in which an atom may be missed.")] = 2,
    force: Force = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find the atoms of every frame of a movie, and follow them. Frames that are done are skipped."""
    from stem2sim.run import movie

    with console(verbose):
        flags, options = flags_of(segmenter, None, None), forced(assignments, force)
        config, target = configured_in(input, out, flags, None, options, "segment")
        outcome = movie.follow(config, target, reach, gap)
    print_json(outcome.summary()) if json else typer.echo(outcome.folder)


def _work(
    input: Path,
    out: Path | None,
    flags: dict[str, Any],
    engine: str | None,
    assignments: list[str] | None,
    until: str,
    json: bool,
    verbose: bool,
    wall_limit: float | None = None,
    prepare_only: bool = False,
) -> None:
    from stem2sim.engines.checkpoints import within
    from stem2sim.engines.external import only
    from stem2sim.run import pipeline

    with console(verbose), within(wall_limit), only("prepare" if prepare_only else "run"):
        config, target = configured_in(input, out, flags, engine, assignments or [], until)
        outcome = pipeline.run(config, target, until)
    if json:
        print_json(_summary(outcome))
    else:
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


for _command in looking.COMMANDS:
    app.command()(_command)


def _with_plugins(asked: str) -> typer.Typer:
    """The commands, with the one that is asked for where a plugin brings it; listing the others imports nothing."""
    from importlib.metadata import entry_points

    offered = {point.name: point for point in entry_points(group=PLUGIN_COMMANDS)}
    if offered:
        app.info.epilog = f"Commands of plugins: {', '.join(sorted(offered))}"
    point = offered.get(asked)
    if point is None or asked in {
        command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands
    }:
        return app
    try:
        command = point.load()
    except Exception as problem:  # a broken plugin must not break the others' commands
        raise BadInput(f"command '{asked}' failed to load ({type(problem).__name__}: {problem})") from problem
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=asked)
    else:
        app.command(asked)(command)
    return app


def main() -> None:
    """Entry point: one line per error, and exit codes that scripts can rely on."""
    # what a batch system sends before it kills: the engines' processes must end, and the message be told
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a job in the background does not listen
        signal.signal(signal.SIGINT, interrupt)
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = _with_plugins(arguments[0])(arguments, standalone_mode=False)
    except BadInput as problem:
        code = _complain(f"error: {problem}", BAD_INPUT)
    except StageFailed as problem:
        code = _complain(f"failed: {problem}", FAILED)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as problem:  # of stages it is a failure of theirs; here, a folder or file that cannot be used
        code = _complain(f"error: {problem.strerror or problem}: {problem.filename}", BAD_INPUT)
    except Exception as problem:
        complaint = getattr(problem, "format_message", None)
        if complaint is None:  # not typer's complaint about usage, but a bug
            raise
        code = _complain(f"error: {complaint()}", BAD_INPUT)
    if code == INTERRUPTED:
        _complain("interrupted; the same command goes on without repeating what was finished", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(text: str, code: int) -> int:
    typer.echo(" ".join(text.split()), err=True)
    return code


if __name__ == "__main__":
    main()
