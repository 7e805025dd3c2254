"""Flags of the command line, and the pipeline and run folder that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stem2sim.cli import completion
from stem2sim.errors import BadInput

if TYPE_CHECKING:
    from stem2sim.config.config import Config

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


Verb = Literal["segment", "build", "simulate", "run"]


@dataclass(frozen=True)
class Flags:
    """What was typed: an input, and what is to be changed in its config."""

    input: Path
    out: Path | None = None
    segmenter: str | None = None
    builders: list[str] | None = None
    simulators: list[str] | None = None
    engine: str | None = None
    assignments: list[str] | None = None
    allow: list[str] | None = None
    force: bool = False
    pixel_size: float | None = None

    @property
    def sections(self) -> dict[str, Any]:
        """The sections of a config that the flags replace."""
        sections: dict[str, Any] = {}
        if self.segmenter:
            sections["segment"] = {"use": self.segmenter}
        if self.builders:
            sections["build"] = [{"use": name} for name in self.builders]
        if self.simulators:
            sections["simulate"] = [{"use": name} for name in self.simulators]
        return sections

    def config_in(self, verb: Verb) -> tuple[Config, Path]:
        """Return the pipeline, and the folder to run it in.

        Args:
            verb: the command.

        Raises:
            BadInput: no such input, one that nothing can start from, or a config that cannot be used.
        """
        config = self.config(verb)
        folder = self.input if self.input.is_dir() else None
        target = self.out or folder or Path("runs") / f"{self.input.stem or self.input.name}-{config.fingerprint()[:8]}"
        if target.exists() and not target.is_dir():
            raise BadInput(f"--out {target} is a file; choose a folder")
        return config, target

    def config(self, verb: Verb) -> Config:
        """Return the pipeline that the input and the flags mean.

        Raises:
            BadInput: as `config_in`.
        """
        from stem2sim.config.config import Changes, parse

        if not self.input.exists():
            raise BadInput(f"no file or folder at {self.input}")
        tree = self._tree()
        sections = {**self._start(tree, verb), **self.sections}
        assignments = [*self._pixel_size(tree, verb), *(self.assignments or ())]
        return parse(tree, Changes(sections, self.engine, assignments, self.allow, self.force))

    def _pixel_size(self, tree: dict[str, Any] | None, verb: Verb) -> list[str]:
        """The assignment that --pixel-size stands for.

        Raises:
            BadInput: there is no image.
        """
        if self.pixel_size is None:
            return []
        if "image" not in (self._start(tree, verb) if tree is None else tree):
            raise BadInput(f"--pixel-size is for images, and {self.input.name} starts from atoms with positions in Å")
        return [f"image.pixel_size={self.pixel_size!r}"]

    @property
    def start_verb(self) -> Verb:
        """The command that takes this input through the whole pipeline: `run` for an image, else `simulate`."""
        from stem2sim.imaging.formats import READABLE

        return "run" if self.input.is_file() and self.input.suffix.lower() in READABLE else "simulate"

    def _tree(self) -> dict[str, Any] | None:
        """The config that the input is; None for another input."""
        from stem2sim.config.tree import read_toml
        from stem2sim.runs.run import Run

        if self.input.is_dir():
            return Run(self.input).tree
        return read_toml(self.input) if self.input.suffix == ".toml" else None

    def _start(self, tree: dict[str, Any] | None, verb: Verb) -> dict[str, Any]:
        """The sections that the input itself means: where to start, and what its config lacks."""
        from stem2sim.config.defaults import DEFAULTS
        from stem2sim.imaging.formats import READABLE

        if tree is not None:
            # `segment` leaves no builders in its folder, and `build` no simulators
            needed = {"build": ("build",), "simulate": ("build", "simulate")}.get(verb, ())
            needed = needed if self.input.is_dir() else ()
            return {name: DEFAULTS[name] for name in needed if not tree.get(name) and "structure" not in tree}
        path = str(self.input.resolve())
        if self.input.suffix.lower() == ".csv":
            start: dict[str, Any] = {"segment": {"use": "atoms-table", "path": path}}
        elif verb == "simulate":
            start = {"structure": path, "segment": None, "build": []}
        elif self.input.suffix.lower() in READABLE:
            start = {"image": {"path": path}}
        else:
            known = " ".join(READABLE)
            raise BadInput(
                f"cannot start from {self.input.name}: not a config (.toml), atom table (.csv) or image ({known})"
            )
        # nothing may be asked of plugins that this command does not need
        unneeded = {"segment": ("build", "simulate"), "build": ("simulate",)}.get(verb, ())
        return {**start, **{name: [] for name in unneeded}}
