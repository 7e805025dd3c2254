"""Structures to turn and trajectories to play; in print, and where WebGL is missing, a picture of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from stem2sim import drawing
from stem2sim.geometry.bonds import BETWEEN, REACH
from stem2sim.report import figures
from stem2sim.report.markup import Figures, data, plain, still, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ase import Atoms

MOST = 2_000_000
"""Bytes of trajectory in one view, about."""

NUMBER = 7
"""Bytes that one coordinate takes, about."""


@dataclass(frozen=True)
class Film:
    """A trajectory as a page can hold it: where it is long, only every so many-th frame."""

    symbols: Sequence[str]
    cell: list[list[float]] | None
    frames: Sequence[list[float]]
    """x, y, z of one atom after the other [Å]."""
    times: Sequence[float]
    label: str
    """Of the times, with their unit: time [fs]."""
    every: int
    total: int

    @classmethod
    def of(
        cls, frames: Iterable[Atoms], times: Sequence[float] = (), label: str = "frame", most: int = MOST
    ) -> Film | None:
        """Return what a page can hold of frames, which are gone through once; None without any.

        Args:
            frames: of the same atoms.
            times: of each frame; their numbers count where there are not as many.
            label: of the times, with their unit.
            most: bytes that they may take, about.
        """
        kept: list[list[float]] = []
        first, every, total = None, 1, 0
        for atoms in frames:
            first = first or atoms
            if total % every == 0:
                kept.append(_flat(atoms))
            total += 1
            if len(kept) * len(first) * 3 * NUMBER > most and len(kept) > 2:
                kept, every = kept[::2], 2 * every
        if first is None:
            return None
        if len(times) != total:
            times, label = range(total), "frame"
        return cls(list(first.symbols), _cell(first), kept, list(times[::every]), label, every, total)


@dataclass(frozen=True)
class StructureView:
    """Named structures, and the frames between them, as seen in the microscope: x right, y down, z into the page."""

    title: str
    structures: Sequence[tuple[str, Atoms]]
    film: Film | None = None
    caption: str = ""
    scripts: ClassVar[tuple[str, ...]] = ("3Dmol-min.js", "structure.js")

    @cached_property
    def png(self) -> bytes:
        """The picture for print."""
        return figures.structures(self.structures)

    @property
    def _caption(self) -> str:
        sentences = [self.caption] if self.caption else []
        if self.film and self.film.every > 1:
            sentences.append(f"Frames shown: 1 in {self.film.every} of {self.film.total}.")
        return " ".join(sentences)

    @property
    def _alt(self) -> str:
        formulas = ", ".join(f"{name} {atoms.get_chemical_formula('hill')}" for name, atoms in self.structures)
        return f"{self.title}, along the beam and from the side: {formulas}"

    def _data(self) -> dict[str, Any]:
        known = {symbol for _, atoms in self.structures for symbol in atoms.symbols}
        known |= set(self.film.symbols) if self.film else set()
        elements = {
            symbol: {
                "colour": drawing.solid_colour(symbol),
                "radius": round(float(covalent_radii[atomic_numbers[symbol]]), 3),
            }
            for symbol in sorted(known, key=lambda one: atomic_numbers[one])
        }
        film = self.film or Film((), None, (), (), "", 1, 0)
        return {
            "elements": elements,
            "reach": REACH,
            "between": BETWEEN,
            "structures": [
                {"name": name, "symbols": list(atoms.symbols), "cell": _cell(atoms), "positions": _flat(atoms)}
                for name, atoms in self.structures
            ],
            "trajectory": {
                "symbols": film.symbols,
                "cell": film.cell,
                "frames": film.frames,
                "times": [round(float(one), 4) for one in film.times],
                "label": film.label,
            },
        }

    def html(self, level: int) -> str:
        """Return the picture, and the room of the viewer that takes its place."""
        caption = f"<figcaption>{text(self._caption)}</figcaption>" if self._caption else ""
        picture = still(self.png, self._alt, figures.DOTS)
        return (
            f'<figure class="structure" data-title="{text(self.title)}">{picture}{caption}{data(self._data())}</figure>'
        )

    def markdown(self, figures: Figures, level: int) -> str:
        """Return the picture, kept beside the report."""
        return f"![{plain(self._alt)}]({figures.add(self.png, self.title)})\n\n{plain(self.caption)}".strip()


def _flat(atoms: Atoms) -> list[float]:
    """x, y, z of one atom after the other, to a thousandth of an Å."""
    return [round(value, 3) for value in np.asarray(atoms.positions).ravel().tolist()]


def _cell(atoms: Atoms) -> list[list[float]] | None:
    """The cell of a periodic structure; a box round a flake means nothing."""
    return np.asarray(atoms.cell).round(3).tolist() if atoms.pbc.any() else None
