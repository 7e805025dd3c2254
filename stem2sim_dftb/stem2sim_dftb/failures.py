"""What DFTB+ prints when it fails, what that means, and what often helps."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from stem2sim.engines.diagnosis import diagnose, known_failure

if TYPE_CHECKING:
    from pathlib import Path

FAILURES = {
    "SCC is NOT converged": "the self-consistent charges did not converge; a higher electronic_temperature [K], more "
    "max_iterations, another mixer or a smaller mixing often helps",
    "SK file with generated name": "a Slater–Koster file is missing",
    "unable to complete Cholesky": "the overlap matrix is not positive definite: atoms are too close to each other",
    "without support for s-dftd3": "this dftb+ was built without s-dftd3; use dispersion = 'd4', or another build",
    "tblite library": "this dftb+ was built without tblite and has no xTB; use the engine xtb, or another build",
    "Not compiled with ELSI": "this dftb+ was built without ELSI; use solver = 'divide-and-conquer'",
    "node(s) have been ignored": "this dftb+ does not understand part of the input; stem2sim needs release 24.1 or "
    "newer",
    "charge data": "the saved charges of an earlier run cannot be read",
    "MAGMA": "this dftb+ was built without a GPU solver; use solver = 'divide-and-conquer'",
}
"""Printed words -> meaning, the most specific first."""

UNUSABLE_CHARGES = (FAILURES["SCC is NOT converged"], FAILURES["charge data"])
"""After these failures the saved charges cannot be used again."""

DETAIL = re.compile(r"generated name '([^']+)'|ignored by the parser[^\n]*\n\s*(.+)")
"""The missing file, or the first ignored keyword."""


def failure(log: Path, status: int | None) -> str:
    """Return in one line why dftb+ ended, from its log and its exit status."""
    memory = "stem2sim estimate shows how much it needs" if status == -signal.SIGKILL else ""
    return diagnose("DFTB+", log, status, (_known, _error_block), after_signal=memory)


def _known(output: str) -> str | None:
    known = known_failure(output, FAILURES)
    if known is None:
        return None
    detail = DETAIL.search(output)
    return known.meaning + (f" ({(detail[1] or detail[2]).strip()})" if detail else "")


def _error_block(output: str) -> str | None:
    """First three lines after the last ERROR! of the log."""
    if "ERROR!" not in output:
        return None
    block = output.rpartition("ERROR!")[2].splitlines()
    lines = [line.strip().removeprefix("->").strip() for line in block if line.strip()][:3]
    return f"it reported: {' '.join(lines)}" if lines else None
