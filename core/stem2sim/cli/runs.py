"""Commands that read run folders: comparisons, exports, citations, costs, the report."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from stem2sim.cli.console import console, print_json, print_table
from stem2sim.cli.flags import Allow, EngineFlag, Folder, Json, Out, PixelSize, Set, SimulatorFlag, Verbose
from stem2sim.cli.next_steps import after_movie, after_report, announce
from stem2sim.errors import BadInput

if TYPE_CHECKING:
    from stem2sim.analysis.comparison import Row
    from stem2sim.simulation import SimulationResult


def compare(
    folders: Annotated[list[Path], typer.Argument(help="Run folders.")], json: Json = False, verbose: Verbose = False
) -> None:
    """Compare the results of several runs: bonds, rings, energies, time, versions.

    Example: stem2sim compare runs/xtb runs/dftb
    """
    from stem2sim.analysis.comparison import compared, table
    from stem2sim.runs.run import Run
    from stem2sim.runs.staleness import rows

    with console(verbose):
        numbers: list[tuple[Row, SimulationResult]] = []
        names: list[str] = []
        for folder in folders:
            numbers += rows(Run(folder))
            names += [folder.name] * (len(numbers) - len(names))
        named = list(zip(names, compared(numbers), strict=True))
    if json:
        print_json(
            [{"run": name, "step": r.step, "label": r.label, "energy_eV": r.energy, **r.summary()} for name, r in named]
        )
        return
    columns, cells = table([row for _, row in named])
    print_table(("run", *columns), [(name, *line) for (name, _), line in zip(named, cells, strict=True)], wide=True)


def estimate(
    input: Annotated[
        Path,
        typer.Argument(help="An image, a run folder, a config (.toml) or a structure file readable by ASE."),
    ],
    out: Out = None,
    pixel_size: PixelSize = None,
    simulator: SimulatorFlag = None,
    engine: EngineFlag = None,
    assignments: Set = None,
    allow: Allow = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Estimate the cost of each simulation: time per step and memory, measured on parts of the structure.

    Example: stem2sim estimate runs/graphene --simulator xtb
    """
    from stem2sim.runs import pipeline
    from stem2sim.runs.costs import costs
    from stem2sim.runs.request import RunRequest
    from stem2sim.runs.run import Run

    with console(verbose):
        request = RunRequest(
            input, out, simulators=simulator, engine=engine, assignments=assignments, allow=allow, pixel_size=pixel_size
        )
        config, target = request.config_in(request.start_verb)
        if input.is_dir():  # a run is only looked at
            run = Run(input)
            structures = [(run.folder / name, structure) for name, structure in run.structures.items()]
        else:
            structures = pipeline.run(config, target, "build").structures
        found = costs(config, structures)
    if json:
        print_json([one.summary() for one in found])
    else:
        for one in found:
            typer.echo(one.describe())
        if not input.is_dir():
            announce(target, "stem2sim simulate {folder}")


def agreement(folder: Folder, json: Json = False, verbose: Verbose = False) -> None:
    """Compare the structures of a run with its image: correlation, and the atoms that disagree with the image.

    Example: stem2sim agreement runs/graphene
    """
    from stem2sim.report.compare_back import describe
    from stem2sim.runs.run import Run

    with console(verbose):
        run = Run(folder)
        if run.image is None:
            raise BadInput(run.image_problem or f"{folder} has no image: it started from an atom table or a structure")
        agreements = run.agreements
    if json:
        print_json({k: {"problem": one} if isinstance(one, str) else one.summary() for k, one in agreements.items()})
        return
    for name, one in agreements.items():
        if isinstance(one, str):
            typer.echo(f"{name}: {one}")
            continue
        typer.echo(f"{name}: {describe(one)}")
        for verdict in one.unexplained():
            typer.echo(f"  {verdict.describe()}")


def export(
    input: Annotated[Path, typer.Argument(help="A run folder, or a structure file readable by ASE.")],
    file: Annotated[
        Path, typer.Argument(help="Output file: POSCAR, *.vasp, *.gen, *.cif or *.extxyz; *.zip for a whole run.")
    ],
    result: Annotated[
        str,
        typer.Option(
            "--result",
            metavar="NAME",
            help="Result of the run to write, e.g. 01-xtb; structure: as built. Default: that of the last simulation.",
        ),
    ] = "",
    verbose: Verbose = False,
) -> None:
    """Write a structure for another program, or a run as an archive.

    Example: stem2sim export runs/graphene POSCAR
    """
    from stem2sim.records.export import export as export_structure
    from stem2sim.records.export import format_of
    from stem2sim.runs.run import Run
    from stem2sim.runs.selection import select
    from stem2sim.structure import Structure

    with console(verbose):
        whole = file.suffix.lower() == ".zip"
        if not whole:
            format_of(file)
        if result and (whole or not input.is_dir()):
            raise BadInput(f"--result {result} chooses a structure of a run folder to write; remove it")
        if file.exists():
            raise BadInput(f"{file} is there already; choose another name")
        if whole:
            from stem2sim.records.archive import archive

            typer.echo(f"{archive(Run(input), file)} files", err=True)
            typer.echo(file)
            return
        if input.is_dir():
            selected = select(Run(input), result)
            structure = selected.structure
            typer.echo(f"writing {selected.describe()}", err=True)
        else:
            structure = Structure.read(input)
        for lost in export_structure(structure, file):
            typer.echo(f"warning: {lost}", err=True)
    typer.echo(file)


def cite(folder: Folder, verbose: Verbose = False) -> None:
    """Print BibTeX entries for every method and program used.

    Example: stem2sim cite runs/graphene > references.bib
    """
    from stem2sim.records.citations import cited
    from stem2sim.runs.run import Run
    from stem2sim.runs.staleness import stale

    with console(verbose):
        run = Run(folder)
        entries = cited(run)
        for name, why in stale(run).items():
            typer.echo(f"warning: {name} is stale ({why}); its references are among these", err=True)
    typer.echo("\n\n".join(entries.values()))


def diff(
    first: Folder,
    second: Annotated[Path, typer.Argument(help="Another run folder.")],
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the differences between two runs: options, versions, results.

    Example: stem2sim diff runs/first runs/second
    """
    from stem2sim.records.diff import differences
    from stem2sim.runs.run import Run

    with console(verbose):
        found = differences(Run(first), Run(second))
    if json:
        print_json([vars(one) for one in found])
        return
    if not found:
        typer.echo("no difference")
        return
    cells = [(one.kind, one.what, *map(_cell, (one.first, one.second))) for one in found]
    print_table(("", "what", str(first), str(second)), cells)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def report(folder: Folder, json: Json = False, verbose: Verbose = False) -> None:
    """Regenerate the report of a run.

    Example: stem2sim report runs/graphene
    """
    from stem2sim.report.report import write_again
    from stem2sim.runs.movie_folder import movie_of
    from stem2sim.runs.run import Run

    with console(verbose):
        written = write_again(folder)
    if json:
        print_json({"report": str(written)})
        return
    announce(folder, after_report(written) if movie_of(Run(folder)) is None else after_movie(written))
    typer.echo(written)


COMMANDS = (compare, agreement, estimate, export, cite, diff, report)
