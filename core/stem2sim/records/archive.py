"""A run in one file, to be sent or kept."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile

from stem2sim.files import write_atomically
from stem2sim.records.crate import CRATE
from stem2sim.run.folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path


def archive(folder: Path, path: Path) -> int:
    """Write a zip of a run as it stands, and return the number of files in it.

    What is licensed and may not be passed on (VASP's potentials) is left out, and so are checkpoints and what earlier
    configs left.

    Raises:
        BadInput: not a run folder.
    """
    found = RunFolder.existing(folder).all_files() | {file for file in (folder / CRATE,) if file.is_file()}
    with write_atomically(path) as part, ZipFile(part, "w", ZIP_DEFLATED) as zipped:
        for file in sorted(found):
            zipped.write(file, f"{folder.resolve().name}/{file.relative_to(folder)}")
    return len(found)
