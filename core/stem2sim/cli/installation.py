"""Commands about what is installed, and about configs for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stem2sim.cli import completion
from stem2sim.cli.console import console, print_json, print_options, print_table
from stem2sim.cli.flags import (
    BuilderFlag,
    EngineFlag,
    Json,
    PixelSize,
    SegmenterFlag,
    Set,
    SimulatorFlag,
    Verbose,
)
from stem2sim.cli.next_steps import suggest
from stem2sim.errors import FAILED, BadInput

if TYPE_CHECKING:
    from stem2sim.runs.request import RunRequest
    from stem2sim.stages import Check


def doctor(
    input: Annotated[
        Path | None,
        typer.Argument(
            help="An image, a config, a run folder or a structure; without input, the default config is checked."
        ),
    ] = None,
    pixel_size: PixelSize = None,
    simulator: SimulatorFlag = None,
    engine: EngineFlag = None,
    assignments: Set = None,
    elements: Annotated[str | None, typer.Option(help="Elements to check, e.g. C,H,Si.")] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Check what a config requires: what is installed, what is missing, and the command that fixes it.

    Example: stem2sim doctor run.toml
    """
    from stem2sim.runs.request import RunRequest

    with console(verbose):
        request = RunRequest(
            input or Path("image.npy"),
            simulators=simulator,
            engine=engine,
            assignments=assignments,
            pixel_size=pixel_size,
        )
        checks = _checks(request, input, elements)
    if json:
        print_json([vars(one) for one in checks])
    else:
        marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "missing": ("missing", "red")}
        rows = [(marks[one.state], one.what, one.found, one.fix) for one in checks]
        print_table(("", "check", "found", "fix"), rows)
    if any(one.state == "missing" for one in checks):
        raise typer.Exit(FAILED)


def _checks(request: RunRequest, input: Path | None, elements: str | None) -> list[Check]:
    from stem2sim.config.config import Changes, parse
    from stem2sim.runs.doctor import checks_of, elements_of, image_check, machine
    from stem2sim.runs.run import Run
    from stem2sim.stages import Check
    from stem2sim.structure import ELEMENTS

    if input is not None and not input.exists():
        raise BadInput(f"no file or folder at {input}")
    folder = input if input is not None and input.is_dir() else None
    try:
        if input is None:
            sections = {"image": {"path": "image.npy"}, **request.sections}
            config = parse(None, Changes(sections, request.engine, request.assignments or ()))
        else:
            config = request.config(request.start_verb)
    except BadInput as problem:
        return [*machine(Path("runs")), Check("config", "missing", str(problem))]
    run = Run(folder) if folder is not None else None
    names = [e.strip() for e in elements.split(",")] if elements else elements_of(config, run)
    unknown = [name for name in names if name not in ELEMENTS]
    if unknown:
        raise BadInput(f"no element '{unknown[0]}'; write symbols, such as C,H,Si")
    checks = list(checks_of(config, names, folder or Path("runs")))
    if input is not None and config.image is not None:
        checks.append(image_check(config.image, needed=run is None))
    return checks


def plugins(json: Json = False) -> None:
    """List the installed stages and their distributions, and plugins that failed to load, with the reason.

    Example: stem2sim plugins
    """
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

    order = ("segmenter", "builder", "simulator")
    rows = [
        (offer.stage.name, offer.kind, f"{offer.distribution} {offer.version}", offer.summary)
        for offer in sorted(registry.offers, key=lambda o: (order.index(o.kind), o.stage.name))
    ]
    print_table(("name", "kind", "distribution", "what it does"), rows)
    for one in registry.broken:
        Console().print(f"broken: {one}", style="red", markup=False, highlight=False, soft_wrap=True)


def explain(
    name: Annotated[
        str, typer.Argument(help="Name of a stage, or of a command with a config.", autocompletion=completion.stages)
    ],
    json: Json = False,
) -> None:
    """Describe the options of a stage, or of the config of a command: type, default and unit.

    Example: stem2sim explain patch
    """
    from stem2sim.config.explain import option_tables

    tables = option_tables(name)
    if json:
        print_json(
            [{"name": one.name, "kind": one.kind, "summary": one.summary, "options": [vars(o) for o in one.options]}
             for one in tables]
        )  # fmt: skip
        return
    for number, one in enumerate(tables):
        if number:
            typer.echo()
        print_options(f"{one.name}: {one.kind} of {one.source}", one.summary, one.options)


def init(
    segmenter: SegmenterFlag = None,
    builder: BuilderFlag = None,
    simulator: SimulatorFlag = None,
    engine: EngineFlag = None,
    image: Annotated[str, typer.Option(help="Image path to write into the config.")] = "image.npy",
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.")] = None,
) -> None:
    """Write a commented config for the chosen plugins.

    Example: stem2sim init --simulator xtb --out run.toml
    """
    from stem2sim.config.explain import commented_toml

    text = commented_toml(image, segmenter, builder, simulator, engine)
    if out is None:
        typer.echo(text, nl=False)
        return
    if out.exists():
        raise BadInput(f"{out} is there already; choose another --out")
    from stem2sim.files import write_text

    write_text(out, text)
    suggest("stem2sim run {folder}", out)
    typer.echo(out)


def schema() -> None:
    """Print the JSON Schema of configs for the installed plugins.

    Example: stem2sim schema > stem2sim.schema.json
    """
    from stem2sim.config.schema import schema as config_schema

    print_json(config_schema())


COMMANDS = (doctor, plugins, explain, init, schema)
