"""Whether VASP computed what was requested, and whether it is converged: judged here, not by VASP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stem2sim.engines.poscar import fixed_components
from stem2sim.errors import StageFailed
from stem2sim_vasp.incar import PHYSICS, same
from stem2sim_vasp.outputs import ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stem2sim_vasp.ionic import Ionic
    from stem2sim_vasp.outputs import Part
    from stem2sim_vasp.request import Request

FIXED = 1e-6
"""[Å] that a fixed component may seem to move: the digits of vasprun.xml."""


def unconverged_steps(parts: Sequence[Part]) -> list[int]:
    """Return the steps, counted over all parts, whose electrons are not converged."""
    out, before = [], 0
    for part in parts:
        out += [before + k for k in part.unconverged()]
        before += len(part.steps)
    return out


def largest_force(request: Request, step: Ionic) -> float:
    """Return the largest force on an atom, without fixed components [eV/Å]."""
    if step.forces is None:
        return float("nan")
    free = ~fixed_components(request.atoms)
    along = step.forces @ np.linalg.inv(step.cell)
    return float(np.linalg.norm((along * free) @ step.cell, axis=1).max(initial=0.0))


def relaxed(request: Request, steps: Sequence[Ionic], reached: bool) -> bool:
    """Return whether a relaxation reached EDIFFG.

    Args:
        request: with EDIFFG: negative for the largest force [eV/Å], positive for the change of the energy [eV].
        steps: in order.
        reached: whether VASP states it; for a cell that relaxes only VASP knows the stress it accepts.
    """
    if not steps:
        return False
    limit = float(request.tags.get("EDIFFG", 10 * float(request.tags["EDIFF"])))  # type: ignore[arg-type]
    if limit >= 0:
        return len(steps) > 1 and abs(steps[-1].free - steps[-2].free) <= limit
    small = largest_force(request, steps[-1]) <= abs(limit)
    return small and (reached or request.tags["ISIF"] not in range(3, 8))


def echo_warnings(request: Request, part: Part) -> list[str]:
    """Return a warning of the tags that VASP read otherwise than they were requested."""
    requested = {tag: value for tag, value in request.tags.items() if tag not in ("SYSTEM", "NSW")}
    wrong = []
    for tag, value in requested.items():
        there = part.incar.get(tag)
        there = part.parameters.get({"ENCUT": "ENMAX"}.get(tag, tag)) if there is None else there
        if there is None:
            if tag in PHYSICS and part.incar:
                wrong.append(f"{tag} was requested, but is not among the tags that VASP lists")
        elif not same(value, there):
            wrong.append(f"{tag} = {value} was requested, VASP used {there}")
    return [f"INCAR: {'; '.join(wrong)}"] if wrong else []


def check_atoms(request: Request, parts: Sequence[Part]) -> None:
    """Raise StageFailed where VASP computed other atoms than those of the structure."""
    for part in parts:
        if part.elements and part.elements != request.atoms.get_chemical_symbols():
            raise StageFailed(
                f"{part.folder.name}: VASP took the atoms for {' '.join(dict.fromkeys(part.elements))}, but the POSCAR "
                f"has {' '.join(request.species)}: the POTCAR is in another order, and its numbers are of other atoms"
            )


def check_fixed(request: Request, positions: Sequence[NDArray[np.float64]]) -> None:
    """Raise StageFailed where a fixed component has moved by more than `FIXED`."""
    flags = fixed_components(request.atoms)
    if not flags.any() or not positions:
        return
    start, inverse = request.atoms.positions, np.linalg.inv(np.asarray(request.atoms.cell))
    along = ((positions[-1] - start) @ inverse) * request.atoms.cell.lengths()
    moved = np.abs(along) * flags
    if moved.max() > FIXED:
        atom = int(request.order[moved.max(axis=1).argmax()])
        raise StageFailed(f"atom {atom} is fixed, but VASP moved it by {moved.max():.2g} Å")


def describe_unconverged(unconverged: Sequence[int], total: int) -> str:
    """Return in words which steps are not converged."""
    return f"electrons not converged in {len(unconverged)} of {total} steps ({ranges(unconverged)}): NELM was reached"
