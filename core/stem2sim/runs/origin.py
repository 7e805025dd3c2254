"""What is recorded of a structure that a run starts from, where it is the result of another run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stem2sim.runs.names import CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.structure import Structure

START = "start"
"""`use` of the record, among those of builders in `Structure.history`."""


def origin(file: Path, sha256: str) -> dict[str, Any] | None:
    """Return the record of a file that a run starts from; None where it does not lie in a run folder.

    Args:
        file: of a structure.
        sha256: hash of its content.
    """
    if (file.parent / CONFIG).is_file():
        folder, name = file.parent, file.stem
    elif (file.parent.parent / CONFIG).is_file() and file.name.startswith("result"):
        folder = file.parent.parent
        name = f"{file.parent.name} {file.stem.removeprefix('result').removeprefix('-')}".strip()
    else:
        return None
    return {"use": START, "run": str(folder.resolve()), "result": name, "sha256": sha256}


def started_from(structure: Structure) -> dict[str, Any] | None:
    """Return the record of the result that a structure was, the latest one; None where it was none."""
    return next((one for one in reversed(structure.history) if one.get("use") == START), None)
