"""The whole report: one HTML file that needs no network, and the same in Markdown with its pictures beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from stem2sim.report.blocks import Section
from stem2sim.report.markup import Figures, plain, text
from stem2sim.runs.names import FIGURES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STYLES = ("uPlot.min.css", "page.css")

LICENCES = {"3Dmol-min.js": "3Dmol-LICENSE.txt", "uPlot.iife.min.js": "uPlot-LICENSE.txt"}
"""Of others' work; it goes wherever that goes."""


@dataclass(frozen=True)
class Page:
    """Sections under one title."""

    title: str
    subtitle: str
    sections: Sequence[Section]

    def html(self) -> str:
        """Return the page, with all that it needs inside."""
        needed = dict.fromkeys(name for section in self.sections for name in section.scripts)
        parts = {
            "title": text(self.title),
            "subtitle": text(self.subtitle),
            "style": "\n".join(asset(name) for name in STYLES),
            "contents": _contents(self.sections),
            "body": "\n".join(section.html() for section in self.sections),
            "scripts": "\n".join(f"<script>{_inline(name)}</script>" for name in ("page.js", *needed)),
        }
        # one pass: what is put in is never searched for more
        return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], asset("page.html"))

    def markdown(self) -> tuple[str, Figures]:
        """Return the report in Markdown, and its pictures."""
        kept = Figures()
        body = "\n\n".join(section.markdown(kept) for section in self.sections)
        return f"# {plain(self.title)}\n\n{plain(self.subtitle)}\n\n{body}\n", kept


def asset(name: str) -> str:
    """Return the text of a file of the package."""
    return files("stem2sim.report").joinpath("assets", name).read_text(encoding="utf-8")


def _inline(name: str) -> str:
    """A script as it can stand in a page, its licence before it: nothing ends the element, or begins a comment."""
    terms = files("stem2sim.report").joinpath("assets", LICENCES.get(name, ""))
    licence = f"/*!\n{terms.read_text(encoding='utf-8')}\n*/\n" if name in LICENCES else ""
    return re.sub(r"<(?=/script|!--)", r"\\x3C", licence + asset(name), flags=re.IGNORECASE)


def _contents(sections: Sequence[Section]) -> str:
    lines = []
    for section in sections:
        inner = [one for one in section.blocks if isinstance(one, Section)]
        more = "".join(f'<li><a href="#{text(one.id)}">{text(one.title)}</a></li>' for one in inner)
        deeper = f"<ul>{more}</ul>" if more else ""
        lines.append(f'<li><a href="#{text(section.id)}">{text(section.title)}</a>{deeper}</li>')
    return "\n".join(lines)


def stale(folder: Path, kept: Figures) -> list[Path]:
    """Return the pictures that an earlier report left in a folder and this one has no more."""
    there = (folder / FIGURES).glob("[0-9]*-*.png")
    return sorted(file for file in there if f"{FIGURES}/{file.name}" not in kept.files)
