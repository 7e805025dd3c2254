"""KPOINTS: the mesh is listed as VASP lists it, though no engine here makes use of it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from standin_identity import Refused

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Mesh:
    """K-points in units of the reciprocal lattice vectors, with weights that add up to one.

    Attributes:
        scheme: Gamma, Monkhorst-Pack or Listgenerated.
        divisions: Zeros where the points were listed.
    """

    title: str
    scheme: str
    divisions: tuple[int, ...]
    shift: tuple[float, ...]
    points: np.ndarray
    weights: np.ndarray


def read_kpoints(path: Path, cell: np.ndarray, spacing: float | None, gamma: bool) -> Mesh:
    """Return the mesh of a KPOINTS file, or of KSPACING [1/Å] where there is none."""
    if not path.exists():
        if spacing is None:
            raise Refused("No KPOINTS found and KSPACING is not set in the INCAR file, STOPPING")
        lengths = 2 * math.pi * np.linalg.norm(np.linalg.inv(cell).T, axis=1)
        divisions = [max(1, math.ceil(length / spacing)) for length in lengths]
        return _regular("Automatic mesh from KSPACING", "Gamma" if gamma else "Monkhorst-Pack", divisions, [0.0] * 3)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        return _parse(lines)
    except (IndexError, ValueError) as error:
        raise Refused(f"ERROR: the KPOINTS file is malformed: {error}") from None


def _parse(lines: list[str]) -> Mesh:
    title, number = lines[0].strip(), int(lines[1].split()[0])
    if number:
        rows = np.array([[float(word) for word in line.split()[:4]] for line in lines[3 : 3 + number]])
        if rows.shape != (number, 4):
            raise ValueError(f"{number} k-points and weights expected")
        return Mesh(title, "Listgenerated", (0, 0, 0), (0.0, 0.0, 0.0), rows[:, :3], rows[:, 3] / rows[:, 3].sum())
    schemes = {"G": "Gamma", "M": "Monkhorst-Pack"}
    letter = lines[2].strip()[:1].upper()
    if letter not in schemes:
        raise ValueError(f"the stand-in knows Gamma and Monkhorst-Pack meshes only, not {lines[2].strip()!r}")
    divisions = [int(word) for word in lines[3].split()[:3]]
    if len(divisions) != 3 or min(divisions) < 1:
        raise ValueError("three positive divisions expected")
    words = lines[4].split()[:3] if len(lines) > 4 else []
    return _regular(title, schemes[letter], divisions, [float(word) for word in words] or [0.0] * 3)


def _regular(title: str, scheme: str, divisions: list[int], shift: list[float]) -> Mesh:
    """A regular mesh, of which k and -k are one point with the weight of two."""
    centred = scheme == "Gamma"
    weights: dict[tuple[int, ...], int] = {}
    # in halves of a division all coordinates are integers, unless the user shifts them
    halves = [0 if centred or n % 2 else 1 for n in divisions]
    for index in itertools.product(*(range(n) for n in reversed(divisions))):
        doubled = [2 * i + h for i, h in zip(reversed(index), halves, strict=True)]
        point = tuple(_folded(d, n) for d, n in zip(doubled, divisions, strict=True))
        mirror = tuple(_folded(-d, n) for d, n in zip(doubled, divisions, strict=True))
        known = mirror if mirror in weights and not any(shift) else point
        weights[known] = weights.get(known, 0) + 1
    points = (np.array(list(weights)) / 2 + np.array(shift)) / np.array(divisions)
    counts = np.array(list(weights.values()), float)
    return Mesh(title, scheme, tuple(divisions), tuple(shift), points, counts / counts.sum())


def _folded(doubled: int, divisions: int) -> int:
    """Return a coordinate in halves of a division, brought into (-1/2, 1/2] of the reciprocal lattice vector."""
    folded = doubled % (2 * divisions)
    return folded - 2 * divisions if folded > divisions else folded
