"""What VASP prints when it fails, what that means, and what often helps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stem2sim.engines.diagnosis import diagnose, known_failure, read_output
from stem2sim_vasp.outputs import STDOUT

if TYPE_CHECKING:
    from pathlib import Path

FULL = "the disk is full; free some space, and the same command resumes from the last step"

FAILURES = {
    "No space left": FULL,
    "File too large": FULL,
    "severe (38): error during write": FULL,
    "ZHEGV failed": "the electronic minimisation failed (ZHEGV); incar = { ALGO = 'All' } often helps",
    "ZBRENT: fatal": "the line search of the relaxation failed (ZBRENT); a smaller EDIFF (1E-7), or "
    "optimiser = 'quasi-newton' near the minimum, often helps",
    "ZPOTRF failed": "the overlap matrix is not positive definite (ZPOTRF): atoms are too close to each other",
    "TOO FEW BANDS": "there are too few bands; set more with incar = { NBANDS = ... }",
    "number of bands is not sufficient": "there are too few bands; set more with incar = { NBANDS = ... }",
    "REAL_OPT": "the real-space projection failed; incar = { LREAL = false } helps",
    "SIGSEGV": "it crashed (SIGSEGV), often because memory or stack ran out: ulimit -s unlimited often helps",
    "Error reading item": "it cannot read a tag of the INCAR",
    "BRMIX: very serious problems": "charge-density mixing failed (BRMIX): check the total charge, or try a smaller "
    "AMIX or incar = { ALGO = 'All' }",
}
"""Printed words -> meaning, the most specific first."""

WARNINGS = ("BRMIX: very serious problems", "WARNING: type information on POSCAR and POTCAR are incompatible")
"""VASP prints these and continues; whoever reads the result should know."""

REFUSAL = "I REFUSE TO CONTINUE"


def printed_warnings(folder: Path) -> list[str]:
    """Return the warnings that VASP printed in a folder."""
    output = read_output(folder / STDOUT)
    return [f"VASP printed: {words}" for words in WARNINGS if words in output]


def is_known(folder: Path) -> bool:
    """Return whether VASP printed one of the known failures in a folder."""
    output = read_output(folder / STDOUT)
    return REFUSAL in output or any(words in output for words in FAILURES if words not in WARNINGS)


def failure(folder: Path, status: int | None) -> str:
    """Return in one line why VASP ended, from what it printed in `folder` and from its exit status."""
    resume = "the same command resumes from its last step"
    return diagnose("VASP", folder / STDOUT, status, (_refusal, _known), after_signal=resume)


def _refusal(output: str) -> str | None:
    """Text of the box that VASP prints around the reason for which it does not start."""
    if REFUSAL not in output:
        return None
    box = [line.strip(" |-") for line in output.splitlines() if line.strip().startswith("|")]
    words = " ".join(word for word in box if word and not re.search(r"EEEE|E {6}|RRRR|BYE!!!|#|[ER] {4,}[ER]", word))
    return f"it refused to continue: {words}"


def _known(output: str) -> str | None:
    known = known_failure(output, FAILURES)
    return f"{known.meaning} ({known.line[:100]})" if known else None
