"""What every block is made of: escaped text, data for the page's scripts, and the pictures of the Markdown report."""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stem2sim.runs.names import FIGURES

if TYPE_CHECKING:
    from collections.abc import Mapping


class Block(Protocol):
    """A piece of the report: it renders itself for the page and for the Markdown report."""

    @property
    def scripts(self) -> tuple[str, ...]:
        """Assets that make it live, in the order they load; without them the block still reads."""

    def html(self, level: int) -> str:
        """Return HTML; a heading in it is of this level."""

    def markdown(self, figures: Figures, level: int) -> str:
        """Return Markdown; a heading in it is of this level, pictures go to `figures`."""


class Figures:
    """The pictures of one Markdown report, in the order they come up."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, png: bytes, name: str) -> str:
        """Keep a picture; return its path relative to the report."""
        path = f"{FIGURES}/{len(self.files) + 1:02d}-{slug(name)}.png"
        self.files[path] = png
        return path


def slug(name: str) -> str:
    """Return a name as it goes in an anchor or a file name: lower case, words joined by '-'."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48].strip("-") or "x"


def text(value: object) -> str:
    """Return a value as HTML text or attribute."""
    return html.escape(str(value))


def plain(value: object) -> str:
    """Return a value as Markdown text: what would be markup is escaped."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(str(value).split()))


def data(value: Mapping[str, Any]) -> str:
    """Return a script element that holds data, and can hold nothing else."""
    # numbers that are not finite have no place in JSON: null
    written = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f'<script type="application/json">{written.replace("<", chr(92) + "u003c")}</script>'


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _finite(value.tolist())
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def uri(png: bytes) -> str:
    """Return a picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def size(png: bytes) -> tuple[int, int]:
    """Return width and height [pixels], from the PNG's header."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def still(png: bytes, alt: str, dots: int) -> str:
    """Return the image element of a figure drawn with so many dots per inch, so that its text has the page's size."""
    width, height = (round(pixels * 105 / dots) for pixels in size(png))
    return f'<img class="still" alt="{text(alt)}" width="{width}" height="{height}" src="{uri(png)}">'
