"""The command line. Commands import what they need when they run: `stem2sim --help` must be instant."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stem2sim import __version__
from stem2sim.errors import BadInput, StageFailed
from stem2sim.resume import interrupt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.comparison import Row
    from stem2sim.config import Config
    from stem2sim.doctor import Check
    from stem2sim.pipeline import Outcome
    from stem2sim.simulation import SimulationResult

app = typer.Typer(
    help="From a STEM image to an atomistic simulation of what was really seen.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130

PLUGIN_COMMANDS = "stem2sim.commands"
"""Entry-point group of commands that plugins add: each a function for typer, or a typer app of several."""

Input = Annotated[Path, typer.Argument(help="A config (.toml), an image, an atoms table (.csv) or a run folder.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder; left out, runs/<input name>-<short hash>.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one option by its dotted key.")]
SegmenterFlag = Annotated[str | None, typer.Option("--segmenter", help="Segmenter to use.")]
BuilderFlag = Annotated[list[str] | None, typer.Option("--builder", help="Builder to use; repeat for a chain.")]
SimulatorFlag = Annotated[list[str] | None, typer.Option("--simulator", help="Simulator to use; repeat in sequence.")]
EngineFlag = Annotated[str | None, typer.Option("--engine", help="Engine for the simulators that take one.")]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON on standard output.")]
Allow = Annotated[list[str] | None, typer.Option("--allow", help="Check of the structure that may fail: close.")]
Force = Annotated[bool, typer.Option("--force", help="Accept a frame that is foreign to the segmenter.")]
WallLimit = Annotated[
    float | None, typer.Option("--wall-limit", help="Stop at a checkpoint before this wall-clock time is over [h].")
]
PrepareOnly = Annotated[
    bool, typer.Option("--prepare-only", help="Write what an engine that runs elsewhere needs, and stop before it.")
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the log, and tracebacks of failures.")]


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
    flags = _flags(segmenter, builder, simulator)
    _work(
        input, out, flags, engine, _forced(assignments, force, allow), "report", json, verbose, wall_limit, prepare_only
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
    _work(input, out, _flags(segmenter, None, None), None, _forced(assignments, force), "segment", json, verbose)


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
        input, out, _flags(segmenter, builder, None), None, _forced(assignments, force, allow), "build", json, verbose
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
    options = _forced(assignments, False, allow)
    _work(
        input, out, _flags(None, None, simulator), engine, options, "simulate", json, verbose, wall_limit, prepare_only
    )


@app.command()
def collect(
    folder: Annotated[Path, typer.Argument(help="A run folder.")], json: Json = False, verbose: Verbose = False
) -> None:
    """Read what simulations that run elsewhere have left so far, finished or not, and write the report."""
    from stem2sim import pipeline

    with _console(verbose):
        outcome = pipeline.collect(folder)
    _print_json(_summary(outcome)) if json else typer.echo(outcome.report)


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
    from stem2sim import movie

    with _console(verbose):
        flags, options = _flags(segmenter, None, None), _forced(assignments, force)
        config, target = _configured_in(input, out, flags, None, options, "segment")
        outcome = movie.follow(config, target, reach, gap)
    _print_json(outcome.summary()) if json else typer.echo(outcome.folder)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Run folders.")], json: Json = False, verbose: Verbose = False
) -> None:
    """Put the results of several runs side by side: bonds, rings, energies, time, versions."""
    from stem2sim.comparison import compared, table
    from stem2sim.report import Report
    from stem2sim.runfolder import CONFIG

    with _console(verbose):
        found: list[tuple[Row, SimulationResult]] = []
        names: list[str] = []
        for folder in folders:
            if not (folder / CONFIG).is_file():
                raise BadInput(f"{folder} is not a run folder: it has no {CONFIG}")
            found += Report.of(folder).rows()
            names += [folder.name] * (len(found) - len(names))
        rows = list(zip(names, compared(found), strict=True))
    if json:
        _print_json(
            [{"run": name, "step": r.step, "label": r.label, "energy_eV": r.energy, **r.summary()} for name, r in rows]
        )
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    columns, cells = table([row for _, row in rows])
    # units in brackets are not markup
    shown = Table("run", *map(escape, columns), box=None, padding=(0, 2, 0, 0))
    for (name, _), line in zip(rows, cells, strict=True):
        shown.add_row(*map(escape, (name, *line)))
    Console(width=max(200, Console().width)).print(shown)


@app.command()
def estimate(
    input: Annotated[Path, typer.Argument(help="A run folder, a config (.toml) or a structure file that ASE reads.")],
    out: Out = None,
    simulator: SimulatorFlag = None,
    engine: EngineFlag = None,
    assignments: Set = None,
    allow: Allow = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what each simulation will cost: time per step and memory, measured on parts of the structure."""
    from stem2sim import pipeline
    from stem2sim.costs import costs
    from stem2sim.runfolder import RunFolder
    from stem2sim.structure import Structure

    with _console(verbose):
        options = _forced(assignments, False, allow)
        config, target = _configured_in(input, out, _flags(None, None, simulator), engine, options, "simulate")
        if input.is_dir():  # a run is asked about, not changed
            structures = [(file, Structure.read(file)) for file in RunFolder(input).structures()]
        else:
            structures = pipeline.run(config, target, "build").structures
        found = costs(config, structures)
    if json:
        _print_json([one.summary() for one in found])
    else:
        for one in found:
            typer.echo(one.told())


@app.command()
def doctor(
    input: Annotated[
        Path | None, typer.Argument(help="A config, a run folder or a structure; left out, the defaults.")
    ] = None,
    simulator: SimulatorFlag = None,
    engine: EngineFlag = None,
    assignments: Set = None,
    elements: Annotated[str | None, typer.Option(help="Elements to look for, such as C,H,Si.")] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Look at what a config needs: what is installed, what is missing, and the line that mends it."""
    from stem2sim.config import parse
    from stem2sim.doctor import Check, elements_of, examine, machine
    from stem2sim.structure import ELEMENTS

    with _console(verbose):
        if input is not None and not input.exists():
            raise BadInput(f"no file or folder at {input}")
        flags = _flags(None, None, simulator)
        folder = input if input is not None and input.is_dir() else None
        try:
            if input is None:
                config = parse(None, {"image": {"path": "image.npy"}, **flags}, assignments or [], engine)
            else:
                config, _ = _configured(input, flags, engine, assignments or [], "simulate")
        except BadInput as problem:
            found = [*machine(Path("runs")), Check("config", "missing", str(problem))]
        else:
            names = [e.strip() for e in elements.split(",")] if elements else elements_of(config, folder)
            unknown = [name for name in names if name not in ELEMENTS]
            if unknown:
                raise BadInput(f"no element '{unknown[0]}'; write symbols, such as C,H,Si")
            found = list(examine(config, names, folder or Path("runs")))
    if json:
        _print_json([vars(one) for one in found])
    else:
        _print_checks(found)
    if any(one.state == "missing" for one in found):
        raise typer.Exit(FAILED)


@app.command()
def export(
    input: Annotated[Path, typer.Argument(help="A run folder, or a structure file that ASE reads.")],
    file: Annotated[
        Path, typer.Argument(help="File to write: POSCAR, a name in .vasp, .gen, .cif, .extxyz; .zip for a whole run.")
    ],
    verbose: Verbose = False,
) -> None:
    """Write a structure for another program, or a run as an archive."""
    from stem2sim.export import export as export_structure
    from stem2sim.export import format_of
    from stem2sim.runfolder import RunFolder
    from stem2sim.structure import Structure

    with _console(verbose):
        whole = file.suffix.lower() == ".zip"
        if not whole:
            format_of(file)
        if file.exists():
            raise BadInput(f"{file} is there already; choose another name")
        if whole:
            from stem2sim.archive import archive

            typer.echo(f"{archive(input, file)} files", err=True)
            typer.echo(file)
            return
        source = input
        if input.is_dir():
            made = RunFolder(input).structures()
            if len(made) != 1:
                names = ", ".join(one.name for one in made) or "none"
                raise BadInput(f"{input} has {len(made)} structures ({names}); give the file of one of them")
            source = made[0]
        for lost in export_structure(Structure.read(source), file):
            typer.echo(f"warning: {lost}", err=True)
    typer.echo(file)


@app.command()
def cite(folder: Annotated[Path, typer.Argument(help="A run folder.")], verbose: Verbose = False) -> None:
    """Print BibTeX of everything that ran."""
    from stem2sim.citations import cited

    with _console(verbose):
        found = cited(folder)
    typer.echo("\n\n".join(found.values()))


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A run folder.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what differs between two runs: options, versions, results."""
    from stem2sim.difference import differences

    with _console(verbose):
        found = differences(first, second)
    if json:
        _print_json([vars(one) for one in found])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not found:
        typer.echo("no difference")
        return
    table = Table("", "what", str(first), str(second), box=None, padding=(0, 2, 0, 0))
    for one in found:
        cells = ("" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
                 for value in (one.first, one.second))  # fmt: skip
        table.add_row(*map(Text, (one.kind, one.what, *cells)))
    Console().print(table)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")], json: Json = False, verbose: Verbose = False
) -> None:
    """Write the report of a run folder again."""
    from stem2sim.report import Report
    from stem2sim.runfolder import CONFIG, REPORT, RunFolder

    with _console(verbose):
        if not (folder / CONFIG).is_file():
            raise BadInput(f"{folder} is not a run folder: it has no {CONFIG}")
        RunFolder(folder).forget(REPORT)
        written = Report.of(folder).write(folder)
    _print_json({"report": str(written)}) if json else typer.echo(written)


@app.command()
def plugins(json: Json = False) -> None:
    """List what is installed: stages, their distributions, and what is broken and why."""
    from stem2sim.registry import installed

    registry = installed()
    if json:
        stages = [
            {"name": o.stage.name, "kind": o.kind, "distribution": o.distribution, "version": o.version,
             "summary": o.summary}
            for o in registry.offers
        ]  # fmt: skip
        broken = [vars(b) for b in registry.broken]
        _print_json({"stages": stages, "broken": broken})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "distribution", "what it does", box=None, padding=(0, 2, 0, 0))
    order = ("segmenter", "builder", "simulator")
    for offer in sorted(registry.offers, key=lambda o: (order.index(o.kind), o.stage.name)):
        table.add_row(offer.stage.name, offer.kind, f"{offer.distribution} {offer.version}", offer.summary)
    console = Console()
    console.print(table)
    for one in registry.broken:
        console.print(f"broken: {one}", style="red", markup=False, highlight=False, soft_wrap=True)


@app.command()
def explain(name: Annotated[str, typer.Argument(help="Name of a stage.")], json: Json = False) -> None:
    """Explain one stage: every option with type, default and unit."""
    from stem2sim.explain import options
    from stem2sim.registry import installed

    found = [offer for offer in installed().offers if offer.stage.name == name]
    if not found:
        from stem2sim.errors import nearest

        names = sorted({offer.stage.name for offer in installed().offers})
        broken = "".join(f"; {one}" for one in installed().broken)
        raise BadInput(f"no stage named '{name}'; installed: {', '.join(names)}{nearest(name, names)}{broken}")
    if json:
        _print_json(
            [{"name": name, "kind": o.kind, "summary": o.summary, "options": [vars(p) for p in options(o.stage)]}
             for o in found]
        )  # fmt: skip
        return
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console()
    for offer in found:
        console.print(f"{name}: {offer.kind} of {offer.distribution} {offer.version}", style="bold", highlight=False)
        console.print(offer.summary, highlight=False)
        table = Table(
            Column("option", no_wrap=True, overflow="fold"),
            "type",
            "default",
            "unit",
            "what it is",
            box=None,
            padding=(0, 2, 0, 0),
        )
        for option in options(offer.stage):
            cells = (option.name, option.type, option.default, option.unit, option.description)
            table.add_row(*map(Text, cells))  # as plain text: [number, number] is a type here, not markup
        console.print(table if table.row_count else "no options")


@app.command()
def init(
    segmenter: SegmenterFlag = None,
    builder: BuilderFlag = None,
    simulator: SimulatorFlag = None,
    engine: EngineFlag = None,
    image: Annotated[str, typer.Option(help="Path of the image to put into the config.")] = "image.npy",
    out: Annotated[Path | None, typer.Option("--out", help="File to write; left out, standard output.")] = None,
) -> None:
    """Write a commented config for the chosen plugins."""
    from stem2sim.explain import commented_toml

    text = commented_toml(image, segmenter, builder, simulator, engine)
    if out is None:
        typer.echo(text, nl=False)
        return
    if out.exists():
        raise BadInput(f"{out} is there already; choose another --out")
    from stem2sim.files import write_text

    write_text(out, text)
    typer.echo(out)


@app.command()
def schema() -> None:
    """Print the JSON schema of configs for the plugins installed here."""
    from stem2sim.config import schema as config_schema

    _print_json(config_schema())


def _print_checks(found: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "found", "what mends it", box=None, padding=(0, 2, 0, 0))
    marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "missing": ("missing", "red")}
    for one in found:
        table.add_row(Text(*marks[one.state]), Text(one.what), Text(one.found), Text(one.fix))
    Console().print(table)


def _forced(assignments: list[str] | None, force: bool, allow: list[str] | None = None) -> list[str]:
    more = ["segment.force=true"] if force else []
    return [*(assignments or []), *more, *([f"allow={allow}"] if allow else [])]


def _flags(segmenter: str | None, builder: list[str] | None, simulator: list[str] | None) -> dict[str, Any]:
    flags: dict[str, Any] = {}
    if segmenter:
        flags["segment"] = {"use": segmenter}
    if builder:
        flags["build"] = [{"use": name} for name in builder]
    if simulator:
        flags["simulate"] = [{"use": name} for name in simulator]
    return flags


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
    from stem2sim import pipeline
    from stem2sim.resume import within
    from stem2sim.verbs import only

    with _console(verbose), within(wall_limit), only("prepare" if prepare_only else "run"):
        config, target = _configured_in(input, out, flags, engine, assignments or [], until)
        outcome = pipeline.run(config, target, until)
    if json:
        _print_json(_summary(outcome))
    else:
        typer.echo(outcome.report or outcome.folder)


def _configured_in(
    input: Path, out: Path | None, flags: dict[str, Any], engine: str | None, assignments: list[str], until: str
) -> tuple[Config, Path]:
    """The pipeline that an input and flags ask for, and the folder to run it in."""
    config, folder = _configured(input, flags, engine, assignments, until)
    target = out or folder or Path("runs") / f"{input.stem or input.name}-{config.fingerprint()[:8]}"
    if target.exists() and not target.is_dir():
        raise BadInput(f"--out {target} is a file; choose a folder")
    return config, target


def _configured(
    input: Path, flags: dict[str, Any], engine: str | None, assignments: list[str], until: str
) -> tuple[Config, Path | None]:
    """The pipeline that an input and flags ask for, and the run folder if the input is one."""
    from stem2sim.config import parse
    from stem2sim.readers import READABLE
    from stem2sim.runfolder import CONFIG

    if not input.exists():
        raise BadInput(f"no file or folder at {input}")
    folder, file = None, None
    path = str(input.resolve())
    if input.is_dir():
        folder, file = input, input / CONFIG
        if not file.is_file():
            raise BadInput(f"{input} is not a run folder: it has no {CONFIG}")
    elif input.suffix == ".toml":
        file = input
    elif input.suffix.lower() == ".csv":
        flags = {"segment": {"use": "atoms-table", "path": path}, **flags}
    elif until == "simulate":
        flags = {"structure": path, "segment": None, "build": [], **flags}
    elif input.suffix.lower() in READABLE:
        flags = {"image": {"path": path}, **flags}
    else:
        known = " ".join(READABLE)
        raise BadInput(f"cannot start from {input.name}: not a config (.toml), atoms table (.csv) or image ({known})")
    if file is None:  # nothing may be asked of plugins that this command does not need
        flags = {"build": [], **flags} if until == "segment" else flags
        flags = {"simulate": [], **flags} if until in ("segment", "build") else flags
    # `segment` leaves no builders in its folder, and `build` no simulators
    if file is not None and folder and until in ("build", "simulate"):
        flags = {**_unless_there(file, until), **flags}
    return parse(file, flags, assignments, engine), folder


def _unless_there(file: Path, until: str) -> dict[str, Any]:
    """Default steps for a run folder that was made by the verb before this one and so has none of its own."""
    from stem2sim.config import DEFAULTS, read_toml

    tree = read_toml(file)
    needed = ("build", "simulate") if until == "simulate" else ("build",)
    return {name: DEFAULTS[name] for name in needed if not tree.get(name) and "structure" not in tree}


def _summary(outcome: Outcome) -> dict[str, Any]:
    from stem2sim.defects import defects

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
                "defects": [vars(one) for one in defects(structure.atoms)],
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
                "defects": [vars(one) for one in defects(result.structure.atoms)],
                **row.summary(),
            }
            for (path, result), row in zip(outcome.results, outcome.rows, strict=True)
        ],
        "waiting": outcome.waiting,
        "report": str(outcome.report) if outcome.report else None,
    }


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=1, default=str, ensure_ascii=False))


@contextmanager
def _console(verbose: bool) -> Iterator[None]:
    """Progress bars and messages on standard error, for as long as the work lasts."""
    import logging

    from rich.console import Console

    from stem2sim.progress import shown

    console = Console(stderr=True, highlight=False, soft_wrap=True)

    class Messages(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned = record.levelno >= logging.WARNING
            text = f"warning: {record.getMessage()}" if warned else record.getMessage()
            console.print(text, style="yellow" if warned else None, markup=False)
            if verbose and record.exc_info:
                console.print_exception()

    handler = Messages(logging.DEBUG if verbose else logging.INFO)
    log = logging.getLogger("stem2sim")
    log.addHandler(handler)
    before = log.level
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        with shown(console):
            yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)


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
