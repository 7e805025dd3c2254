"""OUTCAR and XDATCAR: for what vasprun.xml lacks, and instead of it where it is missing."""

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
"""Tags that the header states, and their types."""

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
    """Complete ones; where NWRITE omits positions and forces, `positions` are empty and forces None."""
    begun: int = 0
    reached: bool = False
    """Whether it states that the required accuracy was reached."""
    closed: bool = False
    """Whether VASP ended normally."""


def read(path: Path) -> Outcar:
    """Read an OUTCAR, complete or not."""
    reader = _Reader()
    with _opened(path) as lines:
        for line in lines:
            reader.take(line, lines)
    return reader.end()


class _Reader:
    """Reads an OUTCAR line by line."""

    def __init__(self) -> None:
        self._outcar = Outcar()
        self._counts: list[int] = []
        self._titles: list[str] = []
        self._cell = np.full((3, 3), np.nan)
        self._step: dict[str, Any] = {}
        self._loops: dict[str, Any] = {"loops": 0}

    def take(self, line: str, following: Iterator[str]) -> None:
        """Take a line, and of `following` those that belong to it."""
        if self._electrons(line) or self._blocks(line, following) or self._energies(line):
            return
        if "reached required accuracy" in line:
            self._outcar.reached = True
        elif "General timing and accounting" in line:
            self._outcar.closed = True
        elif self._outcar.begun == 0:
            self._head(line)

    def end(self) -> Outcar:
        """Return what was read."""
        self._close_step()
        # each potential is listed again with its details: the first half of the list is the list
        self._outcar.potentials = self._titles[: len(self._counts)]
        species = [re.split(r"[_.]", title.split()[1])[0] for title in self._outcar.potentials]
        self._outcar.elements = [s for s, count in zip(species, self._counts, strict=False) for _ in range(count)]
        return self._outcar

    def _close_step(self) -> None:
        if "free" in self._step:
            positions = self._step.pop("cartesian", None)
            scaled = np.empty((0, 3)) if positions is None else positions @ np.linalg.inv(self._cell)
            self._outcar.steps.append(Ionic(cell=self._cell.copy(), positions=scaled, **self._step))
        self._step.clear()

    def _electrons(self, line: str) -> bool:
        """Take a line of the electronic steps."""
        if "Iteration" in line and (number := re.search(r"Iteration\s+(\d+)\(\s*(\d+)\)", line)):
            if int(number[1]) > self._outcar.begun:
                self._close_step()
                self._outcar.begun = int(number[1])
            self._loops = {**self._loops, "loops": int(number[2])}
            if int(number[2]) == 1:
                self._loops = {"loops": 1}
        elif "total energy-change" in line and (numbers := CHANGE.search(line)):
            self._loops["change"], self._loops["band_change"] = (_number(n) for n in numbers.groups())
        elif "aborting loop" in line:
            self._loops["stated_unconverged"] = "not reached" in line
        else:
            return False
        return True

    def _blocks(self, line: str, following: Iterator[str]) -> bool:
        """Take cell, stress, or positions and forces."""
        if "direct lattice vectors" in line:
            rows = [_numbers(next(following, "")) for _ in range(3)]
            if all(len(row) == 6 for row in rows):
                self._cell = np.array([row[:3] for row in rows])
        elif "in kB" in line:
            six = _numbers(line)
            if len(six) == 6:
                xx, yy, zz, xy, yz, zx = six
                self._step["stress"] = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
        elif "TOTAL-FORCE" in line:
            next(following, "")
            block = [_numbers(next(following, "")) for _ in range(sum(self._counts))]
            if block and all(len(row) == 6 for row in block):
                self._step["cartesian"], self._step["forces"] = np.hsplit(np.array(block), 2)
        else:
            return False
        return True

    def _energies(self, line: str) -> bool:
        """Take energies and times of the ionic step."""
        step = self._step
        if "free  energy   TOTEN" in line:
            step |= {**self._loops, "free": _last(line)}
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
        else:
            return False
        return True

    def _head(self, line: str) -> None:
        """Take version, potentials, numbers of atoms, or parameters."""
        if not self._outcar.version and line.lstrip().startswith("vasp."):
            self._outcar.version = line.split()[0].removeprefix("vasp.")
        elif line.lstrip().startswith("POTCAR:"):  # NWRITE = 0 omits the lines with TITEL
            self._titles.append(line.partition(":")[2].strip())
        elif "ions per type" in line:
            self._counts[:] = [int(n) for n in line.partition("=")[2].split()]
        else:
            for name, kind in PARAMETERS.items():
                value = re.search(rf"\b{name}\s*=\s*([-+.\dEe]+)", line)
                if value and name not in self._outcar.parameters:
                    try:
                        self._outcar.parameters[name] = kind(value[1])
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

    Steps without any positions are omitted.
    """
    precise = list(positions_of(xdatcar, atoms))
    if len(precise) >= len(steps) and all(map(_alike, steps, precise)):
        return [replace(step, positions=xyz) for step, xyz in zip(steps, precise, strict=False)]
    return [step for step in steps if len(step.positions)]


def _alike(step: Ionic, positions: NDArray[np.float64]) -> bool:
    """Whether an OUTCAR's positions, where it has them, are those of an XDATCAR."""
    if not len(step.positions):
        return True
    apart = step.positions - positions
    return bool(np.abs((apart - np.round(apart)) @ step.cell).max() < COARSE)
