"""How VASP is launched: here, by a script elsewhere, or in a batch job."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stem2sim.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = ("ASE_VASP_COMMAND", "VASP_COMMAND")
"""Environment variables of ASE with the command that runs VASP."""


@dataclass(frozen=True)
class Launch:
    """How VASP is launched."""

    command: tuple[str, ...] | None
    """That runs it; None for that of the environment."""
    elsewhere: bool
    """Whether somebody else starts it."""
    patience: float
    """Time without output after which it counts as hung [min]."""
    recovery: bool | None
    """Whether custodian corrects failures; None: where it is installed."""
    job: Path | None
    """Template of a batch job; None for the one for Slurm."""
    job_hours: float
    """Time that the batch job requests [h]."""
    job_margin: float
    """Time before the end of the job at which VASP is stopped [min]."""

    def command_line(self) -> list[str]:
        """Return the command that runs VASP, word by word: no shell reads it.

        Raises:
            BadInput: none is configured.
        """
        words = self.command or next((tuple(shlex.split(os.environ[v])) for v in COMMANDS if os.environ.get(v)), ())
        if not words:
            raise BadInput(
                "no command that runs VASP is configured: set command = 'mpirun -n 16 vasp_std' (or $VASP_COMMAND), or "
                "run it on another machine: use --prepare-only, and stem2sim collect once its files are back"
            )
        return list(words)
