"""Names in the data as a reader sees them: bonds with en dashes, and the terms that the field prefers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

TERMS = {
    "mean square displacement": "mean-square displacement",
    "Mean square displacement": "Mean-square displacement",
    "largest force": "maximum force",
    "atoms round holes": "atoms around holes",
    "moved [Å]": "RMS displacement [Å]",
}
"""Names of series and quantities in files, which stay as they are -> in print."""

_BOND = re.compile(r"\b([A-Z][a-z]?)-(?=[A-Z][a-z]?\b)")


def label(name: str) -> str:
    """Return a name of the data in print: 'C–C [Å]' for 'C-C [Å]'."""
    for term, printed in TERMS.items():
        name = name.replace(term, printed)
    return _BOND.sub("\\1–", name)


def marked(name: str, stale: Container[str]) -> str:
    """Return the name of a result, or of its step, with a mark if it is among the stale ones."""
    return f"{name} (stale)" if name in stale else name
