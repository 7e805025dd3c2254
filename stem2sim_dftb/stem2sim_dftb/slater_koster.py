"""Slater-Koster sets: whether a folder covers the elements of a structure, and which shells they have."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from stem2sim.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE = "STEM2SIM_SLAKO"
"""Environment variable with the folder of the set; the option slater_koster comes first."""

SETS = {
    "mio-1-1": "C H N O P S",
    "pbc-0-3": "C F Fe H N O Si",
    "3ob-3-1": "Br C Ca Cl F H I K Mg N Na O P S Zn",
}
"""Common sets and their elements, as published on dftb.org; not every pair of pbc-0-3 with Fe is there."""

SHELLS = (("d", (0, 1, 2)), ("p", (5, 6)), ("s", (9,)))
"""Highest shell of an element, and the columns of its own table (Hdd0 ... Hss0) that are not all zero if it has it."""


def folder_of(given: Path | None) -> Path:
    """Return the folder of the set.

    Raises:
        BadInput: no folder is given, or it has no .skf files.
    """
    folder = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if folder is None:
        raise BadInput(
            f"dftb requires a Slater–Koster set: set slater_koster = '/path/to/pbc-0-3', or {VARIABLE} to its folder"
        )
    folder = folder.expanduser()
    if not folder.is_dir():
        raise BadInput(f"slater_koster: no folder at {folder}")
    if not any(folder.glob("*.skf")):
        raise BadInput(f"slater_koster: no .skf files in {folder}; give the folder of one set, such as .../pbc-0-3")
    return folder


def missing(folder: Path, elements: Iterable[str]) -> list[str]:
    """Return the names of the files that these elements need and the folder lacks, both orders of each pair."""
    names = sorted(set(elements))
    return [f"{a}-{b}.skf" for a, b in product(names, names) if not (folder / f"{a}-{b}.skf").is_file()]


def check(folder: Path, elements: Iterable[str]) -> None:
    """Raise BadInput if the folder lacks files for these elements; it lists them, and the sets that have them."""
    names = sorted(set(elements))
    lacking = missing(folder, names)
    if not lacking:
        return
    covering = [name for name, covered in SETS.items() if set(names) <= set(covered.split())]
    if covering:
        advice = f"{' and '.join(covering)} {'covers' if len(covering) == 1 else 'cover'} {', '.join(names)}"
    else:
        advice = f"no common set covers {', '.join(names)}: use the engine xtb or vasp"
    listed = ", ".join(lacking[:4]) + (f" and {len(lacking) - 4} more" if len(lacking) > 4 else "")
    raise BadInput(f"the Slater–Koster set in {folder} lacks {listed}; {advice}")


@cache
def highest_shell(folder: Path, element: str) -> str:
    """Return 's', 'p' or 'd': the highest shell that the element's own table has integrals for.

    Raises:
        BadInput: the table cannot be read.
    """
    file = folder / f"{element}-{element}.skf"
    try:
        lines = file.read_text(encoding="latin-1").splitlines()
        start = 1 if not lines[0].startswith("@") else 2
        points = int(lines[start - 1].replace(",", " ").split()[1])
        end = next((k for k, line in enumerate(lines) if line.strip() == "Spline"), len(lines))
        table = [_numbers(line)[:10] for line in lines[start + 2 : min(start + 2 + points, end)]]
        for shell, columns in SHELLS:
            if any(abs(row[c]) > 0 and row[c] != 1.0 for row in table for c in columns if c < len(row)):
                return shell
    except (OSError, ValueError, IndexError) as problem:
        raise BadInput(f"{file} is not a Slater–Koster table ({problem})") from problem
    raise BadInput(f"{file} has no integrals")


def _numbers(line: str) -> list[float]:
    """Numbers of a Fortran list-directed line: `3*0.0` stands for three."""
    out: list[float] = []
    for word in line.replace(",", " ").replace("D", "E").replace("d", "e").split():
        count, star, value = word.rpartition("*")
        out += [float(value)] * (int(count) if star else 1)
    return out


@cache
def digest(folder: Path) -> str:
    """Return a hash of the tables in a folder."""
    whole = hashlib.sha256()
    for file in sorted(folder.glob("*.skf")):
        whole.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:16]
