"""The output of VASP in a folder: read, and put end to end with that of other parts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stem2sim_vasp import outcar
from stem2sim_vasp.vasprun import VASPRUN, Vasprun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stem2sim_vasp.ionic import Ionic

OSZICAR, CONTCAR, STDOUT = "OSZICAR", "CONTCAR", "vasp.out"

DOUBLED = 3e-8
"""Along a cell's vector: positions in two files with 8 decimals that mean the same."""

ELECTRONIC = re.compile(r"^\s*(?:DAV|RMM|CG|CGA|SDA|DMP|EDDAV|EDDRMM)\s*:\s*(\d+)(.*)$")
SCIENTIFIC = re.compile(r"[-+]?\d*\.\d+E[-+]\d+")
TAIL = 1 << 16
"""Bytes of an OUTCAR that hold how it ended."""


@dataclass
class Part:
    """One launch of VASP."""

    folder: Path
    steps: list[Ionic] = field(default_factory=list)
    """Complete ones."""
    begun: int = 0
    """Ionic steps that were begun."""
    counted: int = 0
    """Ionic steps that have an energy, whether their positions are there or not."""
    program: str = ""
    """Version and build, as VASP states them."""
    incar: dict[str, Any] = field(default_factory=dict)
    """As VASP read it."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Tags with the values that VASP uses."""
    elements: list[str] = field(default_factory=list)
    potentials: list[str] = field(default_factory=list)
    selective: NDArray[np.bool_] | None = None
    closed: bool = False
    """Whether VASP ended normally."""
    reached: bool = False
    """Whether VASP states that the required accuracy was reached."""
    missing: list[str] = field(default_factory=list)
    """What the files lack, in words."""

    def unconverged(self) -> list[int]:
        """Return the steps, counted from 1, whose electrons are not converged."""
        most, tolerance = self.parameters.get("NELM"), self.parameters.get("EDIFF")
        return [k for k, step in enumerate(self.steps, start=1) if not step.converged(most, tolerance)]


def read(folder: Path) -> Part:
    """Read what a launch of VASP left in a folder, complete or not: vasprun.xml, and OUTCAR for what that lacks."""
    part = Part(folder)
    file = _there(folder, VASPRUN)
    if file is not None:
        _from_vasprun(part, file)
    else:
        part.missing.append(f"there is no {VASPRUN}")
    loops = _loops(folder / OSZICAR)
    other = _there(folder, outcar.OUTCAR)
    if other is not None and (len(part.steps) < max(len(loops), 1) or not part.program):
        _from_outcar(part, other)
    for k, (change, bands) in enumerate(loops[: len(part.steps)]):
        step = part.steps[k]
        # of vasprun.xml only the difference of two energies with 8 decimals is known
        part.steps[k] = replace(step, change=step.change if change is None else change, band_change=bands)
    closed, reached = ending(folder)
    part.closed |= closed
    part.reached |= reached
    _list_what_is_missing(part)
    return part


def _there(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _from_vasprun(part: Part, file: Path) -> None:
    vasprun = Vasprun(file)
    part.steps = list(vasprun.more())
    part.begun, part.closed, part.selective = vasprun.begun, vasprun.closed, vasprun.selective
    part.program = program(vasprun)
    part.incar, part.parameters = vasprun.incar, vasprun.parameters
    part.elements, part.potentials = vasprun.elements, vasprun.potentials
    if vasprun.broken:
        part.missing.append(vasprun.broken)


def program(vasprun: Vasprun) -> str:
    """Return version and build as the file has them; '' where it ends before them."""
    words = [vasprun.program.get(name, "") for name in ("version", "subversion")]
    return " ".join(" ".join(words).split())


def _from_outcar(part: Part, file: Path) -> None:
    content = outcar.read(file)
    if len(content.steps) > len(part.steps):
        missing = [k for k, step in enumerate(content.steps, start=1) if step.forces is None]
        if missing:
            part.missing.append(f"{file.name} has no forces of steps {ranges(missing)} (NWRITE = 0 omits them)")
        placed = outcar.placed(content.steps, file.with_name(outcar.XDATCAR), len(content.elements))
        if len(placed) < len(content.steps):
            part.missing.append(f"{file.name} has positions of {len(placed)} of its {len(content.steps)} steps only")
        if len(placed) == len(content.steps) or not part.steps:
            part.steps += placed[len(part.steps) :]
    part.begun = max(part.begun, content.begun)
    part.counted = len(content.steps)
    part.program = part.program or content.version
    part.parameters = {**content.parameters, **part.parameters}
    part.elements, part.potentials = part.elements or content.elements, part.potentials or content.potentials
    part.closed |= content.closed
    part.reached |= content.reached


def _list_what_is_missing(part: Part) -> None:
    part.counted = max(part.counted, len(part.steps))
    if part.begun > part.counted:
        part.missing.append(f"step {part.counted + 1} was begun and is not complete")
    without_forces = [
        k for k, step in enumerate(part.steps, start=1) if step.forces is None or np.isnan(step.forces).any()
    ]
    if without_forces:
        part.missing.append(f"no valid forces in steps {ranges(without_forces)}")
    overflown = [k for k, step in enumerate(part.steps, start=1) if not np.isfinite(step.free)]
    if overflown:
        part.missing.append(f"the energies of steps {ranges(overflown)} have too many digits for VASP's format")
    if not part.closed:
        part.missing.append("VASP did not come to its end")


def _loops(path: Path) -> list[tuple[float | None, float | None]]:
    """Change of the energy and of the bands in the last electronic step of each complete ionic one [eV]."""
    if not path.is_file():
        return []
    loops: list[tuple[float | None, float | None]] = []
    last: tuple[float | None, float | None] = (None, None)
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if electronic := ELECTRONIC.match(line):
                numbers = [float(n) for n in SCIENTIFIC.findall(electronic[2])]
                last = (numbers[1], numbers[2]) if len(numbers) > 2 else (None, None)
            elif re.match(r"^\s*\d+\s+[FT]=", line):
                loops.append(last)
                last = (None, None)
    return loops


def ending(folder: Path) -> tuple[bool, bool]:
    """Return whether VASP ended normally, and whether it states that it reached the required accuracy."""
    tails = [_tail(folder / name) for name in (outcar.OUTCAR, STDOUT)]
    marks = ("General timing and accounting", "reached required accuracy")
    closed, reached = (any(words in tail for tail in tails) for words in marks)
    return closed, reached


def count_steps(folder: Path) -> int:
    """Return how many ionic steps are complete, from the OSZICAR alone, which is fast."""
    return len(_loops(folder / OSZICAR))


def _tail(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode("utf-8", errors="replace")


def ranges(numbers: Sequence[int]) -> str:
    """Return numbers in words: 1, 3-5."""
    out: list[list[int]] = []
    for n in numbers:
        if out and n == out[-1][1] + 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in out)


def end_to_end(steps: list[Ionic], more: Sequence[Ionic]) -> list[Ionic]:
    """Return steps followed by those of a later part, which may start from one of them: none is doubled."""
    if not more:
        return steps
    return [*steps[: beginning(steps, more[0].cell, more[0].positions)], *more]


def beginning(steps: Sequence[Ionic], cell: NDArray[np.float64], positions: NDArray[np.float64]) -> int:
    """Return at which step a part begins that starts from these positions: a new one, or one that is recomputed.

    Args:
        steps: of the parts before.
        cell: (3, 3), of the start of the part [Å].
        positions: (atoms, 3) along its vectors.
    """
    for k in reversed(range(len(steps))):
        if steps[k].positions.shape == positions.shape:
            apart = steps[k].positions - positions
            near = np.abs(apart - np.round(apart)).max() < DOUBLED
            if near and np.allclose(steps[k].cell, cell, atol=1e-6):
                return k
    return len(steps)


def unwrapped(steps: Sequence[Ionic], start: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return positions (atoms, 3) [Å] of each step, every atom followed across the borders of the cell.

    Args:
        steps: in order.
        start: (atoms, 3) positions that the first step is near to, along the cell's vectors.
    """
    out = []
    for step in steps:
        apart = step.positions - start
        start = start + apart - np.round(apart)
        out.append(start @ step.cell)
    return out
