"""A run in one file, to send or to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile

from stem2sim.files import write_atomically
from stem2sim.runs.names import CRATE

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.runs.run import Run


def archive(run: Run, path: Path) -> int:
    """Write a zip of a run as it stands, and return the number of files in it.

    Files whose licence forbids passing them on (VASP's potentials) stay out, and so do checkpoints and what earlier
    configs left.
    """
    files = run.files() | {file for file in (run.folder / CRATE,) if file.is_file()}
    with write_atomically(path) as part, ZipFile(part, "w", ZIP_DEFLATED) as zipped:
        for file in sorted(files):
            zipped.write(file, f"{run.folder.resolve().name}/{file.relative_to(run.folder)}")
    return len(files)
