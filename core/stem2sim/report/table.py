"""Tables to sort, to copy and to take away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from stem2sim.report.markup import Figures, plain, slug, text

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG = 15
"""Rows; a table of more scrolls in a box."""


@dataclass(frozen=True)
class Table:
    """Cells in columns, to sort, copy and take away as CSV."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    scripts: ClassVar[tuple[str, ...]] = ("table.js",)

    def html(self, level: int) -> str:
        """Return the table in a box that scrolls by itself; the first cell of a row names the row."""
        head = "".join(
            f'<th scope="col"><button type="button" class="sort">{text(one)}</button></th>' for one in self.columns
        )
        body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in line) + "</tr>" for line in self.rows)
        more = f" <span>{text(self.caption)}</span>" if self.caption else ""
        caption = f"<figcaption><strong>{text(self.name)}</strong>{more}</figcaption>"
        long = " long" if len(self.rows) > LONG else ""
        return (
            f'<figure class="table" data-name="{text(slug(self.name))}">{caption}'
            f'<div class="scroll{long}" role="region" tabindex="0" aria-label="{text(self.name)}">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
            f'<div class="bar" hidden><button type="button" class="copy" aria-label="copy table {text(self.name)}">copy'
            f'</button><button type="button" class="csv" aria-label="table {text(self.name)} as CSV">CSV</button>'
            f'<span role="status"></span></div></figure>'
        )

    def markdown(self, figures: Figures, level: int) -> str:
        """Return a table of the same cells."""
        head = _lines([self.columns]) + f"\n|{' --- |' * len(self.columns)}\n"
        lines = f"**{plain(self.name)}**\n\n{head}{_lines(self.rows)}"
        return lines + (f"\n\n{plain(self.caption)}" if self.caption else "")


def _lines(cells: Sequence[Sequence[str]]) -> str:
    """Return lines of a Markdown table."""
    return "\n".join(f"| {' | '.join(plain(cell) for cell in line)} |" for line in cells)
