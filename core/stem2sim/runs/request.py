"""What is to be run, and where: the pipeline and the run folder that an input and changes of its config mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stem2sim.config.config import Changes, parse
from stem2sim.config.defaults import DEFAULTS
from stem2sim.config.tree import read_toml
from stem2sim.errors import BadInput
from stem2sim.imaging.formats import READABLE
from stem2sim.runs.run import Run
from stem2sim.runs.selection import select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stem2sim.config.config import Config

Verb = Literal["segment", "build", "simulate", "run"]


@dataclass(frozen=True)
class RunRequest:
    """What a command or `stem2sim.run` is given: an input, and what is to be changed in its config."""

    input: Path
    out: Path | None = None
    segmenter: str | None = None
    builders: Sequence[str] | None = None
    simulators: Sequence[str] | None = None
    engine: str | None = None
    assignments: Sequence[str] | None = None
    allow: Sequence[str] | None = None
    force: bool = False
    result: str = ""
    """Name of the result of a run folder to start from."""
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
        if self.result and (self.out is None or target.resolve() == self.input.resolve()):
            raise BadInput(f"--result {self.result} starts a new run; add --out NEW, another folder than {self.input}")
        if target.exists() and not target.is_dir():
            raise BadInput(f"--out {target} is a file; choose a folder")
        return config, target

    def config(self, verb: Verb) -> Config:
        """Return the pipeline that the input and the flags mean.

        Raises:
            BadInput: as `config_in`.
        """
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
        return "run" if self.input.is_file() and self.input.suffix.lower() in READABLE else "simulate"

    def _tree(self) -> dict[str, Any] | None:
        """The config that the input is; None for another input."""
        if self.input.is_dir():
            return Run(self.input).tree
        return read_toml(self.input) if self.input.suffix == ".toml" else None

    def _start(self, tree: dict[str, Any] | None, verb: Verb) -> dict[str, Any]:
        """The sections that the input itself means: where to start, and what its config lacks."""
        if self.result:
            return self._result()
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

    def _result(self) -> dict[str, Any]:
        """The sections that start a run from a result of another one."""
        if not self.input.is_dir():
            raise BadInput(f"--result {self.result} names a result of a run folder; {self.input} is a file")
        file = select(Run(self.input), self.result).file.resolve()
        return {"structure": str(file), "image": None, "segment": None, "build": []}
