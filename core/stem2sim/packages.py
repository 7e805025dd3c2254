"""What is known of the packages that offer stages: their distributions, and the references that they bring."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUP = "stem2sim"
"""Entry-point group of plugins."""

CONFIGS = "stem2sim.configs"
"""Entry-point group of the configs of commands that plugins add: pydantic models, named like their commands."""

BIBLIOGRAPHY = "references.bib"
"""Of each package that cites."""


@cache
def distribution_of(package: str) -> str:
    """Return name and version of the distribution that offers the stages of a package; '' where none does."""
    points = (point for point in entry_points(group=GROUP) if point.module.partition(".")[0] == package)
    return next((f"{point.dist.name} {point.dist.version}" for point in points if point.dist), "")


def references(package: str, keys: Sequence[str]) -> dict[str, str]:
    """Return BibTeX entries of a package's `references.bib` by key.

    Raises:
        KeyError: it has none of that name.
    """
    known = _bibliography(package) if keys else {}
    return {key: known[key] for key in keys}


@cache
def _bibliography(package: str) -> dict[str, str]:
    text = files(package).joinpath(BIBLIOGRAPHY).read_text(encoding="utf-8")
    found = re.split(r"^(?=@)", text, flags=re.MULTILINE)
    return {match[1]: entry.strip() for entry in found if (match := re.match(r"@\w+\{([^,\s]+),", entry))}
