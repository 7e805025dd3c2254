"""What the nouns have in common: equality, one line, a table with a picture for notebooks, a plot."""

from __future__ import annotations

import base64
import io
from abc import ABC, abstractmethod
from html import escape
from pathlib import Path  # pydantic reads the annotation
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from stem2sim.errors import BadInput
from stem2sim.mistakes import mistakes_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from pandas import DataFrame

DOTS = 96
"""Per inch, of pictures in notebooks."""


class Shown(ABC):
    """Something that shows itself: in one line, as a drawing, and as a table with a picture in notebooks."""

    @abstractmethod
    def describe(self) -> str:
        """Return what it is in one short line."""

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """Return what a notebook lists beside the picture: a name and a text for each."""

    @abstractmethod
    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw it, and return the Axes of matplotlib that hold the drawing.

        Args:
            ax: axes to draw into; default: new ones.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left;vertical-align:top">{escape(name)}</th>'
            f'<td style="text-align:left">{escape(text)}</td></tr>'
            for name, text in self.facts().items()
        )
        try:
            source = f"data:image/png;base64,{self._picture()}"
            picture = f'<img src="{source}" alt="{escape(self.describe(), quote=True)}" style="max-width:22em"/>'
        except BadInput:  # there is nothing to draw
            picture = ""
        return (
            f'<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start">{picture}'
            f'<div style="flex:1 1 18em"><strong>{type(self).__name__}</strong><table>{rows}</table></div></div>'
        )

    def _picture(self) -> str:
        """The plot as PNG in base64; without pyplot, so that nothing is shown twice."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4, 4), layout="compressed")
        FigureCanvasAgg(figure)
        self.plot(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DOTS)
        return base64.b64encode(buffer.getvalue()).decode()


class Noun(Shown, BaseModel):
    """Data of one kind, immutable, compared by content."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    not_compared: ClassVar[frozenset[str]] = frozenset()
    """Fields that make no difference between two of them."""

    _file: Path | None = PrivateAttr(None)

    def __init__(self, /, **data: Any) -> None:
        """Take the fields.

        Raises:
            BadInput: they are no such noun; in one line, what is wrong.
        """
        try:
            super().__init__(**data)
        except ValidationError as problem:
            own = [str(one.get("ctx", {}).get("error", "")) for one in problem.errors()]
            if all(own):  # of validators of the noun: they say all there is to say
                raise BadInput("; ".join(own)) from problem
            raise mistakes_in(problem, type(self).__name__, type(self)) from problem

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # data that pydantic validates bypass it

    @property
    def file(self) -> Path | None:
        """The file it was read from; None for what was made in memory. What it holds may have changed since."""
        return self._file

    def read_from(self, file: Path) -> Self:
        """Note the file it was read from, and return it."""
        self._file = file.absolute()
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).model_fields:
            change = f"model_copy(update={{'{name}': ...}})"
            raise BadInput(f"{type(self).__name__}.{name} is fixed; .{change} returns a changed copy")
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return False  # NotImplemented would hand an array its turn, which compares element by element
        compared = type(self).model_fields.keys() - self.not_compared
        return all(same(getattr(self, name), getattr(other, name)) for name in compared)

    __hash__ = None  # type: ignore[assignment]  # it holds arrays


def same(first: Any, second: Any) -> bool:
    """Return whether two values hold the same, arrays and atoms among them; nan is the same as nan."""
    if first is second:
        return True
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        first, second = np.asarray(first), np.asarray(second)
        number = first.dtype.kind in "fc" and second.dtype.kind in "fc"
        return first.shape == second.shape and bool(np.array_equal(first, second, equal_nan=number))
    if isinstance(first, Atoms) and isinstance(second, Atoms):
        return same(_contents(first), _contents(second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(one, second[key]) for key, one in first.items())
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float) and isinstance(second, float) and np.isnan(first):
        return bool(np.isnan(second))
    return bool(first == second)


def _contents(atoms: Atoms) -> dict[str, Any]:
    constraints = [one.todict() for one in atoms.constraints]
    return {**atoms.arrays, "cell": atoms.cell.array, "pbc": atoms.pbc, "constraints": constraints}


def data_frame(columns: Mapping[str, Any]) -> DataFrame:
    """Return columns as a DataFrame.

    Raises:
        BadInput: pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError as problem:
        raise BadInput("to_pandas needs pandas: pip install pandas") from problem
    return DataFrame(dict(columns))
