"""What a run holds to be imaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim.errors import BadInput
from stem2sim_abtem.phonons import moving

if TYPE_CHECKING:
    from stem2sim.runs.run import Run


def chosen(run: Run, file: str | None) -> str:
    """Return the name of a result of a run: by its file or folder, else the last in thermal motion, else the last.

    Raises:
        BadInput: no such result, or none at all.
    """
    if not run.results:
        raise BadInput(f"{run.folder} has no result of a simulation yet")
    if file is not None:
        files = {str(place.file.relative_to(run.folder)): name for name, place in run.places.items()}
        name = files.get(file) or files.get(f"{file}/result.json")
        if name is None:
            raise BadInput(f"no result '{file}' in {run.folder}; results: {', '.join(files)}")
        return name
    names = list(reversed(run.results))
    return next((name for name in names if moving(run.results[name])), names[0])
