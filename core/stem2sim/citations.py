"""What a run has to cite: BibTeX entries that lie beside the stages that need them."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from stem2sim.config import parse
from stem2sim.evolution import TIME
from stem2sim.runfolder import CONFIG, SEGMENTATION, RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stem2sim.stages import Stage

BIBLIOGRAPHY = "references.bib"
"""Of each package that cites."""

ALWAYS = ("ghosh2022", "larsen2017")
"""The paper whose pipeline this is, and ASE, which holds every structure."""


def entries(package: str, keys: Sequence[str]) -> dict[str, str]:
    """Return entries of a package's `references.bib` by key.

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


def cited(folder: Path) -> dict[str, str]:
    """Return the entries, by key, for everything that ran in a run folder.

    Raises:
        BadInput: not a run folder, or a stage of it is not installed here.
    """
    found = entries("stem2sim", ALWAYS)
    for stage in ran(folder):
        found |= stage.citations()
    if any(TIME in json.loads(file.read_bytes())["observables"] for file in RunFolder(folder).simulations()):
        found |= entries("stem2sim", ("flyvbjerg1989",))  # error bars of means along a trajectory
    return found


def ran(folder: Path) -> list[Stage]:
    """Return the stages that ran in a run folder, in turn.

    Raises:
        BadInput: not a run folder, or a stage of it is not installed here.
    """
    steps = RunFolder.existing(folder).current()
    config = parse(folder / CONFIG, {})
    found: list[Stage] = [config.segment] if config.segment is not None and (folder / SEGMENTATION).is_file() else []
    built = [(f"build/{k:02d}-{one.name}", one) for k, one in enumerate(config.build, start=1)]
    simulated = [(f"{k:02d}-{one.name}", one) for k, one in enumerate(config.simulate, start=1)]
    return found + [one for name, one in (*built, *simulated) if any(s.startswith(name) for s in steps)]


def reference(entry: str) -> str:
    """Return a BibTeX entry as a line of a list of references."""
    plain = {name.lower(): _plain(value) for name, value in _FIELD.findall(entry)}
    authors = plain.get("author", "").split(" and ")
    several = len(authors) > 3 or "others" in authors
    names = f"{authors[0]} et al." if several else "; ".join(authors)
    where = plain.get("journal") or plain.get("booktitle") or plain.get("school") or plain.get("howpublished", "")
    numbers = ", ".join(filter(None, (plain.get("volume"), plain.get("pages"))))
    year = f" ({plain['year']})" if "year" in plain else ""
    told = ", ".join(filter(None, (names, plain.get("title"), f"{where} {numbers}".strip())))
    doi = f", doi {plain['doi']}" if "doi" in plain else f", {plain['url']}" if "url" in plain else ""
    return f"{told}{year}{doi}"


_FIELD = re.compile(r"(\w+)\s*=\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")

_ACCENTS = {
    r"{\o}": "ø",
    r"{\"o}": "ö",
    r"{\"u}": "ü",
    r"{\"a}": "ä",
    r"{\'e}": "é",
    r"{\'a}": "á",
    r"\&": "&",
    "--": "–",
    r"\url": "",
}


def _plain(value: str) -> str:
    for coded, letter in _ACCENTS.items():
        value = value.replace(coded, letter)
    return " ".join(value.replace("{", "").replace("}", "").split())
