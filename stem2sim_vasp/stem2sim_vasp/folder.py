"""The folder contract: what a calculation is, here and on another machine, and how it continues after a part.

    INCAR KPOINTS POSCAR POTCAR   the present input of VASP; the rest of the folder is its output
    vasp.begin                    the steps that were done before
    parts/001, parts/002, ...     input and output of earlier launches
    parts/001/next, next.steps    the POSCAR that the next part began with, and the steps that were done by then
    replaced-001, ...             calculations with other inputs, which this one replaced

run-vasp.sh follows the same contract, so that either resumes what the other left.

An interrupted part is put away whole. CONTCAR becomes the next POSCAR byte for byte, because dynamics continues from
the velocities and the predictor-corrector block behind its positions, and NSW is the number of steps that are left.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.engines.trajectory import disk_full_reported
from stem2sim.files import write_atomically, write_text
from stem2sim_vasp.incar import read as read_tags
from stem2sim_vasp.incar import with_value
from stem2sim_vasp.outcar import OUTCAR, XDATCAR
from stem2sim_vasp.outputs import CONTCAR, OSZICAR, STDOUT, Part, end_to_end, read
from stem2sim_vasp.vasprun import VASPRUN

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stem2sim_vasp.ionic import Ionic

INCAR, KPOINTS, POSCAR, STOPCAR = "INCAR", "KPOINTS", "POSCAR", "STOPCAR"
PARTS, REPLACED, KEPT = "parts", "replaced", "CONTCAR.kept"
"""KEPT: the last complete CONTCAR; VASP rewrites it in every step, and may be killed while it does."""

BEGIN, NEXT, NEXT_STEPS, RAN = "vasp.begin", "next", "next.steps", "INCAR.ran"
"""RAN: the INCAR of the present part, where that was corrected for the next one."""

STARTED = "vasp.checkpoint"
"""There once VASP has written anything: from then on, other inputs are refused."""

INPUTS = (INCAR, KPOINTS, POSCAR, BEGIN)
OUTPUTS = (VASPRUN, OSZICAR, XDATCAR, STDOUT, CONTCAR, KEPT, OUTCAR)
"""OUTCAR last: as long as it is there, there is something to put away."""

OTHER_OUTPUTS = (
    "CHG",
    "CHGCAR",
    "WAVECAR",
    "DOSCAR",
    "EIGENVAL",
    "IBZKPT",
    "PCDAT",
    "PROCAR",
    "REPORT",
    STOPCAR,
    RAN,
    "vasp.status",
    "CONTCAR.new",
)
"""Other files of VASP, which a fresh start must not find."""


def has_output(folder: Path) -> bool:
    """Return whether VASP has left anything here."""
    return any((folder / name).is_file() for name in (OUTCAR, VASPRUN, OSZICAR)) or bool(earlier_parts(folder))


def earlier_parts(folder: Path) -> list[Path]:
    """Return the folders of the parts that were put away, in order."""
    folders = (folder / PARTS).glob("[0-9]*")
    return sorted((path for path in folders if path.name.isdigit()), key=lambda path: int(path.name))


def has_present_part(folder: Path) -> bool:
    """Return whether the present part has output, and not that of a part put away just before an interruption."""
    if not any((folder / name).is_file() for name in (OUTCAR, VASPRUN, OSZICAR)):
        return False
    last = earlier_parts(folder)
    return not (last and _put_away_already(folder, last[-1]))


def _put_away_already(folder: Path, part: Path) -> bool:
    """Whether a part has the output that is still here: the script or this program was interrupted in between."""
    return any((folder / name).is_file() for name in (OSZICAR, OUTCAR)) and all(
        (part / name).is_file() and filecmp.cmp(folder / name, part / name, shallow=False)
        for name in (OSZICAR, OUTCAR)
        if (folder / name).is_file()
    )


def parts(folder: Path) -> list[Part]:
    """Read every part, in order."""
    folders = earlier_parts(folder) + ([folder] if has_present_part(folder) else [])
    return [read(path) for path in folders]


def steps_of(parts: list[Part]) -> list[Ionic]:
    """Return the steps of parts end to end."""
    steps: list[Ionic] = []
    for part in parts:
        steps = end_to_end(steps, part.steps)
    return steps


def set_aside(folder: Path) -> Path | None:
    """Move an earlier calculation with other inputs out of the way; None where there is none."""
    if not has_output(folder):
        for name in (*INPUTS, *OUTPUTS, *OTHER_OUTPUTS):
            (folder / name).unlink(missing_ok=True)
        return None
    number = 1 + max((int(path.name.rpartition("-")[2]) for path in folder.glob(f"{REPLACED}-[0-9]*")), default=0)
    aside = folder / f"{REPLACED}-{number:03d}"
    aside.mkdir()
    for name in (*OUTPUTS, *OTHER_OUTPUTS, *INPUTS, PARTS):  # output first: without it nothing here counts as work
        if (folder / name).exists():
            os.replace(folder / name, aside / name)
    return aside


def put_away(folder: Path) -> Path:
    """Move the present part among the earlier ones; an interruption leaves it here or there, never between."""
    number = len(earlier_parts(folder)) + 1
    part, new = folder / PARTS / f"{number:03d}", folder / PARTS / ".new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name in (*INPUTS, *OUTPUTS):
        if (folder / name).is_file():
            # inputs will be rewritten; of the output the same file has two names for a moment
            (shutil.copy2 if name in INPUTS else _link)(folder / name, new / name)
    if (folder / RAN).is_file():
        os.replace(folder / RAN, new / INCAR)
    os.replace(new, part)
    return part


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def continue_from(folder: Path, source: Path, done: int, total: int) -> None:
    """Make the next part from a CONTCAR, `done` steps of `total` being made; doing it twice does no harm."""
    last = earlier_parts(folder)[-1]
    with disk_full_reported(folder / POSCAR):
        write_text(last / NEXT_STEPS, f"{done}\n")  # first: `next` is there only with it
        for target in (last / NEXT, folder / POSCAR):
            if target != source:
                with write_atomically(target) as written:
                    shutil.copyfile(source, written)
        write_text(folder / BEGIN, f"{done}\n")
        left = max(1, total - done)
        write_text(folder / INCAR, with_value((folder / INCAR).read_text(encoding="utf-8"), "NSW", left))
    for name in (*OUTPUTS, STOPCAR):
        (folder / name).unlink(missing_ok=True)


def begun_at(folder: Path) -> int:
    """Return how many steps were done before the present part."""
    text = _text(folder / BEGIN).strip()
    return int(text) if text.isdigit() else 0


def complete_contcar(folder: Path) -> Path | None:
    """Return the newest CONTCAR of a part that is complete; None where there is none.

    Where the part itself, or the copy that was kept, has a predictor-corrector block, one without it is truncated.
    """
    poscar = _text(folder / POSCAR)
    atoms, moving = poscar_atoms(poscar), _moving(folder)
    files = [folder / name for name in (CONTCAR, KEPT)]
    texts = [_text(file) for file in files]
    block = any(has_block(text) for text in (poscar, *texts))
    for file, text in zip(files, texts, strict=True):
        if is_complete(text, atoms, moving) and has_block(text) >= (block and moving):
            return file
    return None


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def has_block(text: str) -> bool:
    """Return whether a CONTCAR has a predictor-corrector block, or the beginning of one."""
    return any(line.split() == ["1"] for line in text.splitlines()[9:])


def keep_contcar(folder: Path, atoms: int) -> None:
    """Keep a copy of the present CONTCAR, if it is complete."""
    file = folder / CONTCAR
    if file.is_file() and is_complete(file.read_text(encoding="utf-8", errors="replace"), atoms, _moving(folder)):
        with write_atomically(folder / KEPT) as written:
            shutil.copyfile(file, written)


def poscar_atoms(text: str) -> int:
    """Return the number of atoms that the head of a POSCAR states; 0 where it is truncated."""
    lines = text.splitlines()
    return sum(int(n) for n in lines[6].split()) if len(lines) > 6 and re.fullmatch(r"[\s\d]+", lines[6]) else 0


def geometry(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cell (3, 3) [Å] and positions (atoms, 3) along its vectors of a POSCAR that stem2sim or VASP wrote."""
    lines = text.splitlines()
    atoms = poscar_atoms(text)
    first = 9 if lines[7].strip()[:1] in "Ss" else 8
    cell = np.array([[float(x) for x in line.split()[:3]] for line in lines[2:5]]) * float(lines[1].split()[0])
    return cell, np.array([[float(x) for x in line.split()[:3]] for line in lines[first : first + atoms]])


def is_complete(text: str, atoms: int, moving: bool) -> bool:
    """Return whether a CONTCAR was written to its end.

    Behind the positions come velocities, and in dynamics, behind a flag, three more blocks of the predictor-corrector.

    Args:
        text: of the file.
        atoms: how many there should be.
        moving: whether it is of dynamics, which continues from velocities.
    """
    lines = text.splitlines()
    if not text.endswith("\n") or len(lines) < 8 or atoms == 0 or poscar_atoms(text) != atoms:
        return False
    first = 9 if lines[7].strip()[:1] in "Ss" else 8
    rows = [line.split()[:3] for line in lines[first : first + atoms]]
    try:
        positions = np.array([[float(x) for x in row] for row in rows])
    except ValueError:
        return False
    if positions.shape != (atoms, 3) or not np.isfinite(positions).all():
        return False
    behind = [line.split() for line in lines[first + atoms :]]
    blocks, rest = divmod(sum(len(words) == 3 for words in behind), atoms)
    if ["1"] in behind:
        return (blocks, rest) == (4, 0)
    return rest == 0 and blocks in ((1,) if moving else (0, 1))


def _moving(folder: Path) -> bool:
    file = folder / INCAR
    return file.is_file() and read_tags(file.read_text(encoding="utf-8")).get("IBRION") == "0"
