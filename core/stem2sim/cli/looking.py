"""Commands that look at runs and at what is installed, and change no result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stem2sim.cli.console import console, print_json
from stem2sim.cli.flags import (
    Allow,
    BuilderFlag,
    EngineFlag,
    Json,
    Out,
    SegmenterFlag,
    Set,
    SimulatorFlag,
    Verbose,
    configured,
    configured_in,
    flags_of,
    forced,
)
from stem2sim.errors import FAILED, BadInput

if TYPE_CHECKING:
    from stem2sim.analysis.comparison import Row
    from stem2sim.simulation import SimulationResult
    from stem2sim.stages import Check


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Run folders.")], json: Json = False, verbose: Verbose = False
) -> None:
    """Put the results of several runs side by side: bonds, rings, energies, time, versions."""
    from stem2sim.analysis.comparison import compared, table
    from stem2sim.report import Report
    from stem2sim.run.folder import RunFolder

    with console(verbose):
        found: list[tuple[Row, SimulationResult]] = []
        names: list[str] = []
        for folder in folders:
            found += Report.of(RunFolder.existing(folder).path).rows()
            names += [folder.name] * (len(found) - len(names))
        rows = list(zip(names, compared(found), strict=True))
    if json:
        print_json(
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
    from stem2sim.run import pipeline
    from stem2sim.run.costs import costs
    from stem2sim.run.folder import RunFolder
    from stem2sim.structure import Structure

    with console(verbose):
        options = forced(assignments, False, allow)
        config, target = configured_in(input, out, flags_of(None, None, simulator), engine, options, "simulate")
        if input.is_dir():  # a run is asked about, not changed
            structures = [(file, Structure.read(file)) for file in RunFolder(input).structures()]
        else:
            structures = pipeline.run(config, target, "build").structures
        found = costs(config, structures)
    if json:
        print_json([one.summary() for one in found])
    else:
        for one in found:
            typer.echo(one.describe())


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
    from stem2sim.config.config import parse
    from stem2sim.run.doctor import elements_of, examine, machine
    from stem2sim.stages import Check
    from stem2sim.structure import ELEMENTS

    with console(verbose):
        if input is not None and not input.exists():
            raise BadInput(f"no file or folder at {input}")
        flags = flags_of(None, None, simulator)
        folder = input if input is not None and input.is_dir() else None
        try:
            if input is None:
                config = parse(None, {"image": {"path": "image.npy"}, **flags}, assignments or [], engine)
            else:
                config, _ = configured(input, flags, engine, assignments or [], "simulate")
        except BadInput as problem:
            found = [*machine(Path("runs")), Check("config", "missing", str(problem))]
        else:
            names = [e.strip() for e in elements.split(",")] if elements else elements_of(config, folder)
            unknown = [name for name in names if name not in ELEMENTS]
            if unknown:
                raise BadInput(f"no element '{unknown[0]}'; write symbols, such as C,H,Si")
            found = list(examine(config, names, folder or Path("runs")))
    if json:
        print_json([vars(one) for one in found])
    else:
        _print_checks(found)
    if any(one.state == "missing" for one in found):
        raise typer.Exit(FAILED)


def agreement(
    folder: Annotated[Path, typer.Argument(help="A run folder.")], json: Json = False, verbose: Verbose = False
) -> None:
    """Hold the structures of a run against its frame: correlation, and what the frame does not show as they have it."""
    from stem2sim.report import Report
    from stem2sim.report.compare_back import describe
    from stem2sim.run.folder import RunFolder

    with console(verbose):
        report = Report.of(RunFolder.existing(folder).path)
        if report.image is None:
            raise BadInput(report.image_missing or f"{folder} has no frame: it began with a table or a structure")
        found = report.agreements
    if json:
        print_json({k: {"problem": one} if isinstance(one, str) else one.summary() for k, one in found.items()})
        return
    for name, one in found.items():
        if isinstance(one, str):
            typer.echo(f"{name}: {one}")
            continue
        typer.echo(f"{name}: {describe(one)}")
        for doubt in one.unexplained():
            typer.echo(f"  {doubt.describe()}")


def export(
    input: Annotated[Path, typer.Argument(help="A run folder, or a structure file that ASE reads.")],
    file: Annotated[
        Path, typer.Argument(help="File to write: POSCAR, a name in .vasp, .gen, .cif, .extxyz; .zip for a whole run.")
    ],
    verbose: Verbose = False,
) -> None:
    """Write a structure for another program, or a run as an archive."""
    from stem2sim.records.export import export as export_structure
    from stem2sim.records.export import format_of
    from stem2sim.run.folder import RunFolder
    from stem2sim.structure import Structure

    with console(verbose):
        whole = file.suffix.lower() == ".zip"
        if not whole:
            format_of(file)
        if file.exists():
            raise BadInput(f"{file} is there already; choose another name")
        if whole:
            from stem2sim.records.archive import archive

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


def cite(folder: Annotated[Path, typer.Argument(help="A run folder.")], verbose: Verbose = False) -> None:
    """Print BibTeX of everything that ran."""
    from stem2sim.records.citations import cited

    with console(verbose):
        found = cited(folder)
    typer.echo("\n\n".join(found.values()))


def diff(
    first: Annotated[Path, typer.Argument(help="A run folder.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what differs between two runs: options, versions, results."""
    from stem2sim.records.diff import differences

    with console(verbose):
        found = differences(first, second)
    if json:
        print_json([vars(one) for one in found])
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


def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")], json: Json = False, verbose: Verbose = False
) -> None:
    """Write the report of a run folder again."""
    from stem2sim.report import Report
    from stem2sim.run.folder import REPORT, RunFolder

    with console(verbose):
        of = RunFolder.existing(folder)
        with of.locked():
            of.forget(REPORT)
            written = Report.of(folder).write(folder)
    print_json({"report": str(written)}) if json else typer.echo(written)


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
        print_json({"stages": stages, "broken": broken})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "distribution", "what it does", box=None, padding=(0, 2, 0, 0))
    order = ("segmenter", "builder", "simulator")
    for offer in sorted(registry.offers, key=lambda o: (order.index(o.kind), o.stage.name)):
        table.add_row(offer.stage.name, offer.kind, f"{offer.distribution} {offer.version}", offer.summary)
    screen = Console()
    screen.print(table)
    for one in registry.broken:
        screen.print(f"broken: {one}", style="red", markup=False, highlight=False, soft_wrap=True)


def explain(name: Annotated[str, typer.Argument(help="Name of a stage.")], json: Json = False) -> None:
    """Explain one stage: every option with type, default and unit."""
    from stem2sim.config.explain import options
    from stem2sim.registry import installed

    found = [offer for offer in installed().offers if offer.stage.name == name]
    if not found:
        from stem2sim.errors import nearest

        names = sorted({offer.stage.name for offer in installed().offers})
        broken = "".join(f"; {one}" for one in installed().broken)
        raise BadInput(f"no stage named '{name}'; installed: {', '.join(names)}{nearest(name, names)}{broken}")
    if json:
        print_json(
            [{"name": name, "kind": o.kind, "summary": o.summary, "options": [vars(p) for p in options(o.stage)]}
             for o in found]
        )  # fmt: skip
        return
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    screen = Console()
    for offer in found:
        screen.print(f"{name}: {offer.kind} of {offer.distribution} {offer.version}", style="bold", highlight=False)
        screen.print(offer.summary, highlight=False)
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
        screen.print(table if table.row_count else "no options")


def init(
    segmenter: SegmenterFlag = None,
    builder: BuilderFlag = None,
    simulator: SimulatorFlag = None,
    engine: EngineFlag = None,
    image: Annotated[str, typer.Option(help="Path of the image to put into the config.")] = "image.npy",
    out: Annotated[Path | None, typer.Option("--out", help="File to write; left out, standard output.")] = None,
) -> None:
    """Write a commented config for the chosen plugins."""
    from stem2sim.config.explain import commented_toml

    text = commented_toml(image, segmenter, builder, simulator, engine)
    if out is None:
        typer.echo(text, nl=False)
        return
    if out.exists():
        raise BadInput(f"{out} is there already; choose another --out")
    from stem2sim.files import write_text

    write_text(out, text)
    typer.echo(out)


def schema() -> None:
    """Print the JSON schema of configs for the plugins installed here."""
    from stem2sim.config.schema import schema as config_schema

    print_json(config_schema())


def _print_checks(found: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "found", "what mends it", box=None, padding=(0, 2, 0, 0))
    marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "missing": ("missing", "red")}
    for one in found:
        table.add_row(Text(*marks[one.state]), Text(one.what), Text(one.found), Text(one.fix))
    Console().print(table)


COMMANDS = (compare, agreement, estimate, doctor, export, cite, diff, report, plugins, explain, init, schema)
