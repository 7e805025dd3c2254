"""What is recorded of a structure that a run starts from, where it is the result of another run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stem2sim.runs.names import result_name, run_folder_of

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.structure import Structure

START = "start"
"""`use` of the record, among those of builders in `Structure.history`."""


def origin(file: Path, sha256: str, own: Path) -> dict[str, Any] | None:
    """Return the record of a file that a run starts from; None where it does not lie in the folder of another run.

    Args:
        file: of a structure.
        sha256: hash of its content.
        own: folder of the run.
    """
    folder = run_folder_of(file)
    if folder is None or folder.resolve() == own.resolve():
        return None
    name = file.stem if folder == file.parent else result_name(file.parent.name, file)
    return {"use": START, "run": str(folder.resolve()), "result": name, "sha256": sha256}


def started_from(structure: Structure) -> dict[str, Any] | None:
    """Return the record of the result that a structure was, the latest one; None where it was none."""
    return next((one for one in reversed(structure.history) if one.get("use") == START), None)
