"""What a run has to cite: BibTeX references that lie beside the stages that need them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from stem2sim.analysis.evolution import TIME
from stem2sim.config.config import parse
from stem2sim.packages import references
from stem2sim.run.folder import CONFIG, SEGMENTATION, RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.stages import Stage


ALWAYS = ("ghosh2022", "larsen2017")
"""The paper whose pipeline this is, and ASE, which holds every structure."""


def cited(folder: Path) -> dict[str, str]:
    """Return the references, by key, for everything that ran in a run folder.

    Raises:
        BadInput: not a run folder, or a stage of it is not installed here.
    """
    found = references("stem2sim", ALWAYS)
    for stage in ran(folder):
        found |= stage.citations()
    if any(TIME in json.loads(file.read_bytes())["observables"] for file in RunFolder(folder).simulations()):
        found |= references("stem2sim", ("flyvbjerg1989",))  # error bars of means along a trajectory
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
