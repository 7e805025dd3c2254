"""Flags of the command line."""

from __future__ import annotations

from pathlib import Path  # typer reads the annotations
from typing import Annotated

import typer

from stem2sim.cli import completion

Input = Annotated[Path, typer.Argument(help="A config (.toml), an image, an atom table (.csv) or a run folder.")]
Folder = Annotated[Path, typer.Argument(help="A run folder.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder; default: runs/<input name>-<short hash>.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set an option, e.g. simulate.aimd.steps=800; repeat for several."),
]
SegmenterFlag = Annotated[
    str | None, typer.Option("--segmenter", help="Segmenter to use.", autocompletion=completion.segmenters)
]
BuilderFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--builder", help="Builder to use; repeat for a chain of builders.", autocompletion=completion.builders
    ),
]
SimulatorFlag = Annotated[
    list[str] | None,
    typer.Option("--simulator", help="Simulator to use; repeat for a sequence.", autocompletion=completion.simulators),
]
EngineFlag = Annotated[
    str | None,
    typer.Option("--engine", help="Engine for simulators that require one.", autocompletion=completion.engines),
]
PixelSize = Annotated[
    float | None, typer.Option("--pixel-size", help="Pixel size of the image (in Å); default: the value in the file.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON to standard output.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        help="Structure check to skip, e.g. close; repeat for several.",
        autocompletion=completion.checks,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Segment an image even if it is out of distribution.")]
WallLimit = Annotated[
    float | None,
    typer.Option("--wall-limit", help="Stop at a checkpoint before this wall-clock time (in hours) has elapsed."),
]
PrepareOnly = Annotated[
    bool, typer.Option("--prepare-only", help="Write the input files of external programs without running them.")
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the log, with tracebacks of errors.")]
