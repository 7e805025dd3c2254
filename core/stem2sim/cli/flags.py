"""What a command line asks for: its options, and the pipeline and folder that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stem2sim.errors import BadInput

if TYPE_CHECKING:
    from stem2sim.config.config import Config

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


def forced(assignments: list[str] | None, force: bool, allow: list[str] | None = None) -> list[str]:
    """Return assignments, with what the flags for them mean."""
    more = ["segment.force=true"] if force else []
    return [*(assignments or []), *more, *([f"allow={allow}"] if allow else [])]


def flags_of(segmenter: str | None, builder: list[str] | None, simulator: list[str] | None) -> dict[str, Any]:
    """Return the part of a config that plugin flags mean."""
    flags: dict[str, Any] = {}
    if segmenter:
        flags["segment"] = {"use": segmenter}
    if builder:
        flags["build"] = [{"use": name} for name in builder]
    if simulator:
        flags["simulate"] = [{"use": name} for name in simulator]
    return flags


def configured_in(
    input: Path, out: Path | None, flags: dict[str, Any], engine: str | None, assignments: list[str], until: str
) -> tuple[Config, Path]:
    """Return the pipeline that an input and flags ask for, and the folder to run it in."""
    config, folder = configured(input, flags, engine, assignments, until)
    target = out or folder or Path("runs") / f"{input.stem or input.name}-{config.fingerprint()[:8]}"
    if target.exists() and not target.is_dir():
        raise BadInput(f"--out {target} is a file; choose a folder")
    return config, target


def configured(
    input: Path, flags: dict[str, Any], engine: str | None, assignments: list[str], until: str
) -> tuple[Config, Path | None]:
    """Return the pipeline that an input and flags ask for, and the run folder if the input is one."""
    from stem2sim.config.config import parse
    from stem2sim.imaging.formats import READABLE
    from stem2sim.run.folder import CONFIG, RunFolder

    if not input.exists():
        raise BadInput(f"no file or folder at {input}")
    folder, file = None, None
    path = str(input.resolve())
    if input.is_dir():
        folder, file = RunFolder.existing(input).path, input / CONFIG
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
    from stem2sim.config.config import DEFAULTS, read_toml

    tree = read_toml(file)
    needed = ("build", "simulate") if until == "simulate" else ("build",)
    return {name: DEFAULTS[name] for name in needed if not tree.get(name) and "structure" not in tree}
