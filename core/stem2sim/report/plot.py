"""Curves and histograms that can be zoomed; in print, and where no script runs, a picture of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stem2sim.report import figures
from stem2sim.report.markup import Figures, data, plain, slug, still, text

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One curve; for bars and steps, x is where each begins, and the last x where the last one ends (y: nan)."""

    name: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    """Lower edge of the error band, with `high`."""
    high: ArrayLike | None = None

    @property
    def columns(self) -> list[Floats]:
        """y, and the band where there is one."""
        return [np.asarray(c, dtype=float) for c in (self.y, self.low, self.high) if c is not None]

    @classmethod
    def histogram(cls, name: str, values: ArrayLike, edges: ArrayLike) -> Series:
        """Return counts between edges."""
        counts, at = np.histogram(values, edges)
        return cls(name, at, [*counts.tolist(), 0.0])


@dataclass(frozen=True)
class Plot:
    """Series over one axis: drag to zoom, double-click or the button to go back."""

    title: str
    x_label: str
    series: Sequence[Series]
    kind: Literal["line", "steps", "bars"] = "line"
    y_label: str = ""
    log_y: bool = False
    alt: str = ""
    """For those who cannot see it; made of the title where it is ''."""
    caption: str = ""
    scripts: ClassVar[tuple[str, ...]] = ("uPlot.iife.min.js", "plot.js")

    @property
    def _alt(self) -> str:
        names = ", ".join(one.name for one in self.series)
        return self.alt or f"{self.title} vs. {self.x_label}: {names}"

    @cached_property
    def png(self) -> bytes:
        """The picture for print."""
        curves = [(s.name, np.asarray(s.x, dtype=float), *s.columns) for s in self.series]
        return figures.plot(self.x_label, self.y_label, curves, self.kind, self.log_y)

    def _data(self) -> dict[str, Any]:
        """Series over the x that any of them has; what one lacks is null."""
        x = np.unique(np.concatenate([np.asarray(one.x, dtype=float) for one in self.series]))
        columns, shown = [x], []
        for one in self.series:
            at = np.searchsorted(x, np.asarray(one.x, dtype=float))
            for column in one.columns:
                columns.append(np.full(len(x), np.nan))
                columns[-1][at] = column
            shown.append({"name": one.name, "band": one.low is not None and one.high is not None})
        return {
            "title": self.title, "x": self.x_label, "y": self.y_label, "kind": self.kind, "log": self.log_y,
            "series": shown, "columns": [[float(f"{v:.8g}") for v in column] for column in columns],
        }  # fmt: skip

    def html(self, level: int) -> str:
        """Return a figure with its data and its buttons."""
        name = text(self.title)
        caption = f" <span>{text(self.caption)}</span>" if self.caption else ""
        return (
            f'<figure class="plot" data-name="{slug(self.title)}"><figcaption><strong>{name}</strong>{caption}'
            f'</figcaption><div class="chart" role="img" aria-label="{text(self._alt)}"></div>'
            f"{still(self.png, self._alt, figures.DOTS)}"
            f'<div class="bar" hidden><button type="button" class="reset" aria-label="reset zoom of {name}">reset'
            f'</button><button type="button" class="csv" aria-label="numbers of {name} as CSV">CSV</button>'
            f'<span class="hint">drag to zoom</span></div>{data(self._data())}</figure>'
        )

    def markdown(self, figures: Figures, level: int) -> str:
        """Return the picture, kept beside the report."""
        caption = f"{self.title}. {self.caption}".strip()
        return f"![{plain(self._alt)}]({figures.add(self.png, self.title)})\n\n{plain(caption)}"
