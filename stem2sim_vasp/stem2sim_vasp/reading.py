"""What there is of a calculation: all its parts, read and put end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stem2sim_vasp import folder as contract
from stem2sim_vasp.checks import check_atoms, relaxed

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim_vasp.ionic import Ionic
    from stem2sim_vasp.outputs import Part
    from stem2sim_vasp.request import Request


@dataclass(frozen=True)
class Reading:
    """What there is of a calculation."""

    parts: list[Part]
    steps: list[Ionic]
    complete: bool
    """Whether everything that was requested is done; so is a relaxation that used up its steps."""

    @property
    def reached(self) -> bool:
        """Whether VASP states that the required accuracy was reached."""
        return bool(self.parts) and self.parts[-1].reached


def read_all(folder: Path, request: Request) -> Reading:
    """Read all parts of a calculation, and judge how far they came.

    Raises:
        StageFailed: VASP computed other atoms.
    """
    parts = contract.parts(folder)
    check_atoms(request, parts)
    steps = contract.steps_of(parts)
    return Reading(parts, steps, _is_complete(request, parts, steps))


def _is_complete(request: Request, parts: list[Part], steps: list[Ionic]) -> bool:
    if not parts or not steps:
        return False
    if request.kind == "single-point":
        return parts[-1].closed
    if len(steps) >= request.total:
        return True
    if request.kind == "dynamics" or not parts[-1].closed:
        return False
    return parts[-1].reached or relaxed(request, steps, parts[-1].reached)
