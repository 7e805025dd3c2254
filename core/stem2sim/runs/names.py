"""Names in a run folder: of its files, and of its steps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONFIG, STATE, SESSIONS, LOG, LOCK = "run.toml", "state.json", "sessions.json", "run.log", ".lock"
SEGMENTATION, ATOMS = "segmentation.npz", "atoms.csv"
REPORT, MARKDOWN, FIGURES = "report.html", "report.md", "figures"
DATABASE, CRATE = "results.db", "ro-crate-metadata.json"

FRAMES = "frames"
"""Folder of the atoms of each frame of a movie."""

TRACKS, EVENTS, DRIFT, TRACKING = "tracks.csv", "events.csv", "drift.csv", "tracks.json"
"""What tracking the atoms of a movie leaves; the last is the summary."""

INPUTS = ".inputs"
"""In the folder of a simulation: hash of the inputs that it was started with."""

CONTINUED = {".traj", ".npz", ".json", ".checkpoint"}
"""Suffixes of what simulations keep to resume from; of these, only what a result names is part of the run."""

LICENSED = {"POTCAR"}
"""Files whose licence forbids passing them on: never recorded with their content, nor archived."""

GROWING = {LOG, STATE, SESSIONS}
"""Written to until the very end of a run: hashes of them would not be those of the files that a reader finds."""

Kind = Literal["segment", "build", "structure", "simulate", "report"]

_NUMBERED = re.compile(r"(?P<build>build/)?(?P<number>\d\d)-(?P<rest>.+)")


def analysis_of(result: Path) -> Path:
    """Return the file, beside a result, of what happened along its trajectory."""
    return result.with_name(result.name.replace("result", "analysis", 1))


def multislice_of(result: Path) -> Path:
    """Return the file, beside a result, of an image simulated from it, which a plugin may write.

    It holds the arrays `image` (rows, columns; share of the beam), `pixel_size` [Å], `origin` (x, y of the top-left
    pixel [Å]) and `metadata` (JSON).
    """
    return result.with_name(result.name.replace("result", "multislice", 1)).with_suffix(".npz")


def result_name(step: object, result: Path) -> str:
    """Return the name of a result: that of its step, and its label where the step has several.

    Args:
        step: name of the step.
        result: its `result*.json`, or the structure beside it.
    """
    return f"{step} {result.stem.removeprefix('result').removeprefix('-')}".strip()


def run_folder_of(file: Path) -> Path | None:
    """Return the run folder that a structure, a segmentation or a result lies in; None where it lies in none."""
    return next((folder for folder in (file.parent, file.parent.parent) if (folder / CONFIG).is_file()), None)


def labelled(stem: str, label: str) -> str:
    """Return a name with the label of a variant behind it, if there is one."""
    return f"{stem}-{label}" if label else stem


@dataclass(frozen=True)
class StepName:
    """The name of one step: `segment`, `build/02-patch`, `structure-top`, `01-xtb-top`, `report.html`."""

    kind: Kind
    number: int = 0
    """Of a builder or simulator in the config, from 1."""
    stage: str = ""
    """What stands after `use =`; '' for a step that no stage of a plugin makes."""
    label: str = ""
    """Of the variant that it works on; '' where there is only one."""

    def __str__(self) -> str:
        if self.kind == "report":
            return REPORT
        stem = {"build": f"build/{self.number:02d}-{self.stage}", "simulate": f"{self.number:02d}-{self.stage}"}
        return labelled(stem.get(self.kind, self.kind), self.label)

    @property
    def short(self) -> str:
        """The name without the label: what all variants have in common."""
        return str(StepName(self.kind, self.number, self.stage))

    @classmethod
    def parse(cls, text: str, builders: Sequence[str], simulators: Sequence[str]) -> Self | None:
        """Return the step of that name, None for what is no name of a step.

        Args:
            text: as `str()` writes it.
            builders: names of the builders of the config, in order: where a stage's name ends, only they can tell.
            simulators: names of its simulators.

        What another config left keeps its whole name as that of its stage.
        """
        if text in ("segment", REPORT):
            return cls("segment" if text == "segment" else "report")
        if text == "structure" or text.startswith("structure-"):
            return cls("structure", label=text.removeprefix("structure").removeprefix("-"))
        match = _NUMBERED.fullmatch(text)
        if match is None:
            return None
        kind: Kind = "build" if match["build"] else "simulate"
        stages = builders if kind == "build" else simulators
        number, rest = int(match["number"]), match["rest"]
        stage = stages[number - 1] if 0 < number <= len(stages) else ""
        if not stage or not (rest == stage or rest.startswith(f"{stage}-")):  # of a config before this one
            return cls(kind, number, rest)
        return cls(kind, number, stage, rest.removeprefix(stage).removeprefix("-"))
