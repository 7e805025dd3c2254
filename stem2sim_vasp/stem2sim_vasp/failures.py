"""What VASP prints when it fails -> what it means and what would help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stem2sim_vasp.outputs import SAID

if TYPE_CHECKING:
    from pathlib import Path

FULL = "the disk is full; free some room, and the same command goes on from the last step"

FAILURES = {
    "No space left": FULL,
    "File too large": FULL,
    "severe (38): error during write": FULL,
    "ZHEGV failed": "the electrons did not settle (ZHEGV); incar = { ALGO = 'All' } often helps",
    "ZBRENT: fatal": "the line search of the relaxation lost its way (ZBRENT); a smaller EDIFF (1E-7), or "
    "optimiser = 'quasi-newton' near the minimum, often helps",
    "ZPOTRF failed": "the overlap matrix is not positive (ZPOTRF): atoms are too close to each other",
    "TOO FEW BANDS": "there are too few bands; incar = { NBANDS = ... } gives more",
    "number of bands is not sufficient": "there are too few bands; incar = { NBANDS = ... } gives more",
    "REAL_OPT": "projection in real space failed; incar = { LREAL = false } helps",
    "SIGSEGV": "it crashed (SIGSEGV), as when memory or stack runs out: ulimit -s unlimited often helps",
    "Error reading item": "it cannot read a tag of the INCAR",
    "BRMIX: very serious problems": "the charge density does not mix (BRMIX): a wrong charge, or a smaller AMIX or "
    "incar = { ALGO = 'All' }, is what to look at",
}
"""Words -> meaning, the surest first."""

WARNINGS = ("BRMIX: very serious problems", "WARNING: type information on POSCAR and POTCAR are incompatible")
"""What VASP prints and goes on; a reader of the result should know."""


def said(folder: Path) -> str:
    """Return what VASP printed in a folder."""
    file = folder / SAID
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def noticed(folder: Path) -> list[str]:
    """Return the warnings among what VASP printed."""
    text = said(folder)
    return [f"VASP printed: {words}" for words in WARNINGS if words in text]


def known(folder: Path) -> bool:
    """Return whether VASP printed one of the failures that are known."""
    text = said(folder)
    return "I REFUSE TO CONTINUE" in text or any(words in text for words in FAILURES if words not in WARNINGS)


def failure(folder: Path, code: int | None) -> str:
    """Return in one line why VASP ended, from what it printed in `folder` and from its exit status."""
    text = said(folder)
    where = f"its output: {folder.name}/{SAID}"
    if "I REFUSE TO CONTINUE" in text:
        box = [line.strip(" |-") for line in text.splitlines() if line.strip().startswith("|")]
        words = " ".join(
            word for word in box if word and not re.search(r"EEEE|E {6}|RRRR|BYE!!!|#|[ER] {4,}[ER]", word)
        )
        return f"VASP refuses: {words}; {where}"
    for words, meaning in FAILURES.items():
        if words in text:
            line = next(line.strip() for line in text.splitlines() if words in line)
            return f"VASP: {meaning} ({line[:100]}); {where}"
    if code is not None and code < 0:
        more = ", as happens when memory runs out" if code == -9 else ""
        return f"VASP was ended by signal {-code}{more}; the same command goes on from its last step; {where}"
    tail = " ".join(text.split()[-20:])
    return f"VASP ended with status {code}: {tail or 'it printed nothing'}; {where}"
