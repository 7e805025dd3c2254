"""The blocks that the report is made of; those that move have modules of their own and are on offer here as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from stem2sim.report import figures
from stem2sim.report.frameview import FrameView
from stem2sim.report.layers import Points, Ramp, Raster, Regions
from stem2sim.report.markup import Block, Figures, plain, slug, still, text
from stem2sim.report.plot import Plot, Series
from stem2sim.report.structureview import Film, StructureView
from stem2sim.report.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "Beside",
    "Block",
    "Code",
    "Facts",
    "Figures",
    "Film",
    "FrameView",
    "Listed",
    "Picture",
    "Plot",
    "Points",
    "Ramp",
    "Raster",
    "Regions",
    "Section",
    "Series",
    "StructureView",
    "Table",
    "Text",
    "Warnings",
]


@dataclass(frozen=True)
class Text:
    """Paragraphs, with an empty line between them."""

    words: str
    scripts: ClassVar[tuple[str, ...]] = ()

    def html(self, level: int) -> str:
        """Return paragraphs."""
        return "".join(f"<p>{text(one)}</p>" for one in self.words.split("\n\n") if one.strip())

    def markdown(self, figures: Figures, level: int) -> str:
        """Return paragraphs."""
        return "\n\n".join(plain(one) for one in self.words.split("\n\n"))


@dataclass(frozen=True)
class Listed:
    """Lines of equal weight."""

    lines: Sequence[str]
    scripts: ClassVar[tuple[str, ...]] = ()

    def html(self, level: int) -> str:
        """Return a list."""
        return f"<ul>{''.join(f'<li>{text(line)}</li>' for line in self.lines)}</ul>" if self.lines else ""

    def markdown(self, figures: Figures, level: int) -> str:
        """Return a list."""
        return "\n".join(f"- {plain(line)}" for line in self.lines)


@dataclass(frozen=True)
class Warnings:
    """What a reader must mind, in a box of its own; nothing where there is no line."""

    lines: Sequence[str]
    title: str = ""
    grave: bool = False
    """Whether a result is missing or wrong: a red box, not a yellow one."""
    scripts: ClassVar[tuple[str, ...]] = ()

    def html(self, level: int) -> str:
        """Return the box."""
        if not self.lines:
            return ""
        title = f"<p><strong>{text(self.title)}</strong></p>" if self.title else ""
        lines = "".join(f"<li>{text(line)}</li>" for line in self.lines)
        body = f"<p>{text(self.lines[0])}</p>" if len(self.lines) == 1 else f"<ul>{lines}</ul>"
        return f'<div class="warnings{" grave" * self.grave}">{title}{body}</div>'

    def markdown(self, figures: Figures, level: int) -> str:
        """Return a quotation."""
        title = [f"**{plain(self.title)}**"] if self.title and self.lines else []
        return "\n>\n".join(f"> {line}" for line in [*title, *map(plain, self.lines)])


@dataclass(frozen=True)
class Facts:
    """Names and what is known under each; several lines where there are several."""

    rows: Mapping[str, str | Sequence[str]]
    scripts: ClassVar[tuple[str, ...]] = ()

    def _lines(self) -> Iterator[tuple[str, list[str]]]:
        for name, value in self.rows.items():
            yield name, [value] if isinstance(value, str) else list(value)

    def html(self, level: int) -> str:
        """Return a description list."""
        rows = "".join(
            f"<div><dt>{text(name)}</dt>{''.join(f'<dd>{text(line)}</dd>' for line in lines)}</div>"
            for name, lines in self._lines()
        )
        return f'<dl class="facts">{rows}</dl>' if rows else ""

    def markdown(self, figures: Figures, level: int) -> str:
        """Return a list with the names in bold."""
        return "\n".join(f"- **{plain(name)}**: {plain('; '.join(lines))}" for name, lines in self._lines())


@dataclass(frozen=True)
class Picture:
    """One picture, drawn by `stem2sim.report.figures`."""

    png: bytes
    alt: str
    caption: str = ""
    scripts: ClassVar[tuple[str, ...]] = ()

    def html(self, level: int) -> str:
        """Return a figure."""
        caption = f"<figcaption>{text(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure class="picture">{still(self.png, self.alt, figures.DOTS)}{caption}</figure>'

    def markdown(self, figures: Figures, level: int) -> str:
        """Return the picture, kept beside the report."""
        return f"![{plain(self.alt)}]({figures.add(self.png, self.alt)})\n\n{plain(self.caption)}".strip()


@dataclass(frozen=True)
class Code:
    """Text as a program reads it, folded away."""

    title: str
    words: str
    language: str = ""
    scripts: ClassVar[tuple[str, ...]] = ()

    def html(self, level: int) -> str:
        """Return it behind its title."""
        return f"<details><summary>{text(self.title)}</summary><pre><code>{text(self.words)}</code></pre></details>"

    def markdown(self, figures: Figures, level: int) -> str:
        """Return a fenced block."""
        fence = "```"
        while fence in self.words:
            fence += "`"
        return f"{plain(self.title)}:\n\n{fence}{self.language}\n{self.words.rstrip()}\n{fence}"


@dataclass(frozen=True)
class Beside:
    """Blocks side by side, where the page is wide enough."""

    blocks: Sequence[Block]

    @property
    def scripts(self) -> tuple[str, ...]:
        """What its blocks need."""
        return tuple(name for block in self.blocks for name in block.scripts)

    def html(self, level: int) -> str:
        """Return them in a row that wraps."""
        return f'<div class="beside">{"".join(one.html(level) for one in self.blocks)}</div>' if self.blocks else ""

    def markdown(self, figures: Figures, level: int) -> str:
        """Return them one after the other."""
        return "\n\n".join(one.markdown(figures, level) for one in self.blocks)


@dataclass(frozen=True)
class Section:
    """Blocks under a heading, with an anchor; a section within a section has a smaller heading."""

    title: str
    blocks: Sequence[Block]
    anchor: str = ""
    """Made of the title where it is ''."""

    @property
    def scripts(self) -> tuple[str, ...]:
        """What its blocks need."""
        return tuple(name for block in self.blocks for name in block.scripts)

    @property
    def id(self) -> str:
        """The anchor."""
        return self.anchor or slug(self.title)

    def html(self, level: int = 2) -> str:
        """Return heading and blocks."""
        body = "".join(one.html(level + 1) for one in self.blocks)
        # landmarks are few: the sections of the page, not what they consist of
        landmark = f' aria-label="{text(self.title)}"' if level == 2 else ""
        return f'<section id="{text(self.id)}"{landmark}><h{level}>{text(self.title)}</h{level}>{body}</section>'

    def markdown(self, figures: Figures, level: int = 2) -> str:
        """Return heading and blocks."""
        parts = (one.markdown(figures, level + 1) for one in self.blocks)
        return "\n\n".join([f"{'#' * level} {plain(self.title)}", *filter(None, parts)])
