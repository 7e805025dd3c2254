"""POSCAR, with the velocities and the predictor-corrector block that a CONTCAR of dynamics has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from standin_identity import Refused

if TYPE_CHECKING:
    from pathlib import Path

Lines = list[str]


@dataclass(frozen=True)
class Halfway:
    """Where dynamics was cut: the positions are those of the next step, everything else is half a step behind.

    Attributes:
        velocities: Half a step before the positions [Å/fs].
        thermostat: Position of the Nosé thermostat [1].
        friction: Its velocity [1/fs].
        heat: What flowed into it [eV].
    """

    velocities: np.ndarray
    thermostat: float
    friction: float
    heat: float


@dataclass(frozen=True)
class Poscar:
    """A starting point.

    Attributes:
        cell: One lattice vector per row [Å].
        symbols: One element per species.
        fractional: Positions in units of the lattice vectors.
        free: Whether each component of `fractional` may change.
        velocities: As written [Å/fs].
    """

    comment: str
    cell: np.ndarray
    symbols: tuple[str, ...]
    counts: tuple[int, ...]
    fractional: np.ndarray
    free: np.ndarray
    selective: bool
    velocities: np.ndarray | None
    halfway: Halfway | None

    @property
    def elements(self) -> list[str]:
        """One element per atom."""
        return [symbol for symbol, count in zip(self.symbols, self.counts, strict=True) for _ in range(count)]

    def __len__(self) -> int:
        return sum(self.counts)


def read_poscar(path: Path) -> Poscar:
    """Return what a POSCAR says, or refuse it as VASP does."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        return _parse(lines)
    except (IndexError, ValueError, np.linalg.LinAlgError) as error:
        raise Refused(f"ERROR: the POSCAR file is malformed: {error}") from None


def _parse(lines: Lines) -> Poscar:
    scale = float(lines[1].split()[0])
    cell = _rows(lines[2:5], 3)
    cell *= scale if scale > 0 else (-scale / abs(np.linalg.det(cell))) ** (1 / 3)
    symbols = tuple(lines[5].split())
    if not symbols or symbols[0].lstrip("-").isdigit():
        raise ValueError("it has no line of species, which the stand-in needs")
    counts = tuple(int(word) for word in lines[6].split())
    if len(counts) != len(symbols):
        raise ValueError(f"{len(symbols)} species but {len(counts)} numbers of ions")
    atoms, at = sum(counts), 7
    selective = lines[at].strip()[:1] in ("S", "s")
    at += selective
    cartesian = _is_cartesian(lines[at])
    rows = lines[at + 1 : at + 1 + atoms]
    positions = _rows(rows, atoms)
    free = _flags(rows) if selective else np.ones((atoms, 3), bool)
    velocities = _velocities(lines, at + 1 + atoms, atoms, cell)
    return Poscar(
        comment=lines[0],
        cell=cell,
        symbols=symbols,
        counts=counts,
        fractional=positions * abs(scale) @ np.linalg.inv(cell) if cartesian else positions,
        free=free,
        selective=selective,
        velocities=velocities,
        halfway=None if velocities is None else _halfway(lines, at + 3 + 2 * atoms, atoms, cell),
    )


def _rows(lines: Lines, expected: int) -> np.ndarray:
    if len(lines) < expected:
        raise ValueError("No initial positions read in")
    rows = [[float(word) for word in line.split()[:3]] for line in lines]
    if any(len(row) < 3 for row in rows):
        raise ValueError("a line with fewer than three numbers")
    return np.array(rows).reshape(-1, 3)


def _flags(rows: Lines) -> np.ndarray:
    flags = [[word.lstrip(".")[:1].upper() for word in row.split()[3:6]] for row in rows]
    if any(len(row) != 3 or set(row) - {"T", "F"} for row in flags):
        raise ValueError("Selective dynamics without three flags T or F on a line")
    return np.array(flags) == "T"


def _is_cartesian(line: str) -> bool:
    return line.strip()[:1] in ("C", "c", "K", "k")


def _velocities(lines: Lines, at: int, atoms: int, cell: np.ndarray) -> np.ndarray | None:
    """Velocities are optional, and what looks like none is none; a block of zeros asks VASP to draw them."""
    if len(lines) < at + 1 + atoms or (lines[at].strip() and lines[at].strip()[:1] not in "CcKkDd"):
        return None
    try:
        velocities = _rows(lines[at + 1 : at + 1 + atoms], atoms)
    except ValueError:
        return None
    if lines[at].strip()[:1] in ("D", "d"):
        velocities = velocities @ cell
    return velocities if velocities.any() else None


def _halfway(lines: Lines, at: int, atoms: int, cell: np.ndarray) -> Halfway | None:
    if len(lines) < at + 3 + 3 * atoms or lines[at].strip() != "1":
        return None
    timestep = float(lines[at + 1])
    _, thermostat, friction, heat = (float(word) for word in lines[at + 2].split())
    moves = _rows(lines[at + 3 + atoms : at + 3 + 2 * atoms], atoms)
    return Halfway(moves @ cell / timestep, thermostat, friction, heat)


def contcar(
    poscar: Poscar,
    title: str,
    cell: np.ndarray,
    fractional: np.ndarray,
    halfway: Halfway | None = None,
    timestep: float = 1.0,
) -> str:
    """Return a CONTCAR; one of dynamics goes on to the last digit only if it is copied byte for byte.

    Args:
        poscar: What the run started from.
        title: The first line.
        cell: One lattice vector per row [Å].
        fractional: Positions in units of the lattice vectors.
        halfway: What dynamics needs to go on.
        timestep: Of that dynamics [fs].
    """
    wrapped = fractional % 1.0
    lines = [title, "   1.00000000000000     "]
    lines += ["  {:20.16f}  {:20.16f}  {:20.16f}".format(*row) for row in cell]
    lines += ["".join(f"{s:>5s}" for s in poscar.symbols), "".join(f"{c:6d}" for c in poscar.counts)]
    lines += ["Selective dynamics", "Direct"] if poscar.selective else ["Direct"]
    for position, free in zip(wrapped, poscar.free, strict=True):
        flags = "".join("   T" if f else "   F" for f in free) if poscar.selective else ""
        lines.append(" {:19.16f} {:19.16f} {:19.16f}".format(*position) + flags)
    velocities = np.zeros_like(wrapped) if halfway is None else halfway.velocities
    lines += [" ", *_block(velocities, 8)]
    if halfway is not None:
        nose = (1.0, halfway.thermostat, halfway.friction, halfway.heat)
        lines += [" ", "           1", f"   {timestep:.14f}     ", "".join(f" {x:23.16E}" for x in nose)]
        # VASP prints eight digits here, too few to go on within 1e-7 Å
        moves = velocities @ np.linalg.inv(cell) * timestep
        lines += [*_block(wrapped, 16), *_block(moves, 16), *_block(np.zeros_like(wrapped), 8)]
    return "\n".join(lines) + "\n"


def _block(rows: np.ndarray, digits: int) -> Lines:
    return ["".join(f" {x:{digits + 7}.{digits}E}" for x in row) for row in rows]
