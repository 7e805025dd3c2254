"""OUTCAR and XDATCAR: for what vasprun.xml lacks, and in its place where it is gone."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from stem2sim_vasp.ionic import Ionic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

OUTCAR, XDATCAR = "OUTCAR", "XDATCAR"

NUMBER = re.compile(r"[-+]?\d+\.\d+(?:[Ee][-+]?\d+)?|\*+")
"""Of Fortran, which may glue two of them: -10.123-12.345."""

PARAMETERS = {
    "NSW": int, "IBRION": int, "ISIF": int, "NELM": int, "EDIFF": float, "EDIFFG": float, "POTIM": float,
    "TEBEG": float, "TEEND": float, "SMASS": float, "ISPIN": int, "ENCUT": float,
}  # fmt: skip
"""Tags that the header states, with what they are."""

COARSE = 1e-4
"""[Å]; OUTCAR has five digits."""

CHANGE = re.compile(r"total energy-change \(2\. order\)\s*:\s*(\S+?)\s*\(\s*(\S+?)\s*\)")


@dataclass
class Outcar:
    """What an OUTCAR holds, up to wherever it ends."""

    version: str = ""
    elements: list[str] = field(default_factory=list)
    """Of each atom."""
    potentials: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    steps: list[Ionic] = field(default_factory=list)
    """Complete ones; where NWRITE kept positions and forces out, `positions` are empty and forces None."""
    begun: int = 0
    reached: bool = False
    """Whether it says that the required accuracy was reached."""
    closed: bool = False
    """Whether VASP came to its end."""


def read(path: Path) -> Outcar:
    """Read an OUTCAR, complete or not."""
    found = Outcar()
    counts: list[int] = []
    titles: list[str] = []
    cell = np.full((3, 3), np.nan)
    step: dict[str, Any] = {}
    loops: dict[str, Any] = {"loops": 0}

    def closed_step() -> None:
        if "free" in step:
            positions = step.pop("cartesian", None)
            scaled = np.empty((0, 3)) if positions is None else positions @ np.linalg.inv(cell)
            found.steps.append(Ionic(cell=cell.copy(), positions=scaled, **step))
        step.clear()

    with _opened(path) as lines:
        for line in lines:
            if "Iteration" in line and (number := re.search(r"Iteration\s+(\d+)\(\s*(\d+)\)", line)):
                if int(number[1]) > found.begun:
                    closed_step()
                    found.begun = int(number[1])
                loops = {**loops, "loops": int(number[2])}
                if int(number[2]) == 1:
                    loops = {"loops": 1}
            elif "total energy-change" in line and (numbers := CHANGE.search(line)):
                loops["change"], loops["band_change"] = (_number(n) for n in numbers.groups())
            elif "aborting loop" in line:
                loops["told_unconverged"] = "not reached" in line
            elif "direct lattice vectors" in line:
                rows = [_numbers(next(lines, "")) for _ in range(3)]
                if all(len(row) == 6 for row in rows):
                    cell = np.array([row[:3] for row in rows])
            elif "in kB" in line:
                six = _numbers(line)
                if len(six) == 6:
                    xx, yy, zz, xy, yz, zx = six
                    step["stress"] = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
            elif "TOTAL-FORCE" in line:
                next(lines, "")
                block = [_numbers(next(lines, "")) for _ in range(sum(counts))]
                if block and all(len(row) == 6 for row in block):
                    step["cartesian"], step["forces"] = np.hsplit(np.array(block), 2)
            elif "free  energy   TOTEN" in line:
                step |= {**loops, "free": _last(line)}
            elif "energy  without entropy" in line and "free" in step:
                values = _numbers(line)
                step["without_entropy"] = values[0] if values else None
                step["extrapolated"] = values[-1] if len(values) > 1 else None
            elif "kinetic energy EKIN " in line:
                step["kinetic"] = _last(line)
            elif "total energy   ETOTAL" in line:
                step["conserved"] = _last(line)
            elif "LOOP+:" in line and "real time" in line:
                step["seconds"] = float(np.nan_to_num(_last(line)))
            elif "reached required accuracy" in line:
                found.reached = True
            elif "General timing and accounting" in line:
                found.closed = True
            elif found.begun == 0:
                _head(line, found, counts, titles)
        closed_step()
    # each is named again with its details, so that the first half of the list is the list
    found.potentials = titles[: len(counts)]
    species = [re.split(r"[_.]", title.split()[1])[0] for title in found.potentials]
    found.elements = [s for s, count in zip(species, counts, strict=False) for _ in range(count)]
    return found


def _head(line: str, found: Outcar, counts: list[int], titles: list[str]) -> None:
    if not found.version and line.lstrip().startswith("vasp."):
        found.version = line.split()[0].removeprefix("vasp.")
    elif line.lstrip().startswith("POTCAR:"):  # NWRITE = 0 leaves the lines with TITEL out
        titles.append(line.partition(":")[2].strip())
    elif "ions per type" in line:
        counts[:] = [int(n) for n in line.partition("=")[2].split()]
    else:
        for name, kind in PARAMETERS.items():
            value = re.search(rf"\b{name}\s*=\s*([-+.\dEe]+)", line)
            if value and name not in found.parameters:
                try:
                    found.parameters[name] = kind(value[1])
                except ValueError:
                    continue


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _numbers(line: str) -> list[float]:
    return [_number(text) for text in NUMBER.findall(line)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _last(line: str) -> float:
    values = _numbers(line)
    return values[-1] if values else float("nan")


def positions_of(path: Path, atoms: int) -> Iterator[NDArray[np.float64]]:
    """Yield the positions (atoms, 3), along the cell's vectors, of each configuration of an XDATCAR."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.lstrip().startswith("Direct"):
                block = [_numbers(next(lines, "")) for _ in range(atoms)]
                if not all(len(row) == 3 for row in block):
                    return
                yield np.array(block)


def placed(steps: list[Ionic], xdatcar: Path, atoms: int) -> list[Ionic]:
    """Return steps of an OUTCAR with the positions of the XDATCAR beside it, which has more digits.

    Those without any positions are left out.
    """
    found = list(positions_of(xdatcar, atoms))
    if len(found) >= len(steps) and all(map(_alike, steps, found)):
        return [replace(step, positions=xy) for step, xy in zip(steps, found, strict=False)]
    return [step for step in steps if len(step.positions)]


def _alike(step: Ionic, positions: NDArray[np.float64]) -> bool:
    """Whether an OUTCAR's positions, where it has them, are those of an XDATCAR."""
    if not len(step.positions):
        return True
    apart = step.positions - positions
    return bool(np.abs((apart - np.round(apart)) @ step.cell).max() < COARSE)
