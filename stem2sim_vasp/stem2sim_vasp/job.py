"""Scripts for another machine: one that runs VASP and resumes it, and a batch job around it."""

from __future__ import annotations

import shlex
from importlib.resources import files
from typing import TYPE_CHECKING

from stem2sim.errors import BadInput
from stem2sim.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim_vasp.launch import Launch
    from stem2sim_vasp.request import Request

SCRIPT, JOB, STATUS = "run-vasp.sh", "job.sh", "vasp.status"

MORE = 75
"""Exit status of the script where VASP was stopped before its end: the same script resumes."""


def write(launch: Launch, request: Request, folder: Path) -> None:
    """Write both scripts.

    Raises:
        BadInput: a template that cannot be read, or that does not run the script; a job shorter than its margin.
    """
    if launch.job_margin >= 60 * launch.job_hours:
        raise BadInput(
            f"the batch job is {60 * launch.job_hours:g} min long and would stop VASP {launch.job_margin:g} min before "
            "its end; use a larger job_hours, or a smaller job_margin"
        )
    command = f"set -- {shlex.join(launch.command)}" if launch.command else _FROM_ENVIRONMENT
    moving = "1" if request.kind == "dynamics" else "0"
    values = {"COMMAND": command, "STEPS": str(request.total), "MOVING": moving, "MORE": str(MORE)}
    write_text(folder / SCRIPT, _filled(files("stem2sim_vasp").joinpath(SCRIPT).read_text(encoding="utf-8"), values))
    if launch.job is None:
        template = files("stem2sim_vasp").joinpath(JOB).read_text(encoding="utf-8")
    else:
        try:
            template = launch.job.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise BadInput(f"cannot read the template of the batch job {launch.job}: {problem}") from problem
        if SCRIPT not in template:
            raise BadInput(f"{launch.job} does not run {SCRIPT}, which runs VASP and resumes it after an interruption")
    minutes = max(1, round(60 * launch.job_hours))
    values |= {
        "NAME": f"stem2sim-{folder.name}",
        "TIME": f"{minutes // 60:d}:{minutes % 60:02d}:00",
        "SETTLE": str(round(60 * launch.job_margin)),
    }
    write_text(folder / JOB, _filled(template, values))


_FROM_ENVIRONMENT = (
    '# no command was configured: set it here, or in the environment\nset -- ${VASP_COMMAND:?such as "srun vasp_std"}'
)


def _filled(template: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template


def status(folder: Path) -> int | None:
    """Return the exit status that the script left; None while it has not ended, or left none."""
    file = folder / STATUS
    text = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    return int(text) if text.lstrip("-").isdigit() else None
