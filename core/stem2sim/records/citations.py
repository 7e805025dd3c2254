"""What a run has to cite: BibTeX references that lie beside the stages that need them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stem2sim.analysis.evolution import TIME
from stem2sim.packages import references
from stem2sim.records.made_with import prepared, simulated

if TYPE_CHECKING:
    from stem2sim.runs.run import Run


ALWAYS = ("ghosh2022", "larsen2017")
"""The paper whose pipeline this is, and ASE, which holds every structure."""


def cited(run: Run) -> dict[str, str]:
    """Return the BibTeX entries, by key, for everything that ran in a run folder, stale results among it.

    Raises:
        BadInput: a stage of it is not installed here.
    """
    found = references("stem2sim", ALWAYS)
    for stage in (*prepared(run), *simulated(run).values()):
        found |= stage.citations()
    if any(TIME in result.observables for result in run.results.values()):
        found |= references("stem2sim", ("flyvbjerg1989",))  # error bars of means along a trajectory
    return found


def reference(entry: str) -> str:
    """Return a BibTeX entry as a line of a list of references."""
    plain = {name.lower(): _plain(value) for name, value in _FIELD.findall(entry)}
    authors = plain.get("author", "").split(" and ")
    several = len(authors) > 3 or "others" in authors
    names = f"{authors[0]} et al." if several else "; ".join(authors)
    where = plain.get("journal") or plain.get("booktitle") or plain.get("school") or plain.get("howpublished", "")
    numbers = ", ".join(filter(None, (plain.get("volume"), plain.get("pages"))))
    year = f" ({plain['year']})" if "year" in plain else ""
    parts = ", ".join(filter(None, (names, plain.get("title"), f"{where} {numbers}".strip())))
    doi = f", doi:{plain['doi']}" if "doi" in plain else f", {plain['url']}" if "url" in plain else ""
    return f"{parts}{year}{doi}"


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
