"""Atoms found in an image, one row each."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from stem2sim.errors import BadInput
from stem2sim.noun import Noun, data_frame

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ase import Atoms
    from matplotlib.axes import Axes
    from pandas import DataFrame

Floats = NDArray[np.float64]

SHARE = "p_"
"""Before the species in the name of a column that holds its probability."""

FURTHEST = 1e6
"""[Å]; an image of atoms is never a tenth of a millimetre wide."""


class AtomsTable(Noun):
    """Atoms found in an image, one row each; the columns are arrays of equal length."""

    x: Floats = Field(description="(atoms,) along columns from the centre of the top-left pixel [Å]")
    y: Floats = Field(description="(atoms,) down rows [Å]")
    species: NDArray[np.str_] = Field(description="(atoms,) chemical symbols")
    probability: Floats = Field(description="(atoms,) that there is an atom here")
    position_std: Floats = Field(description="(atoms,) standard deviation of x, and of y; nan where unknown [Å]")
    entropy: Floats = Field(description="(atoms,) of the species probabilities, 0 where certain [nat]")
    flags: NDArray[np.str_] = Field(
        default_factory=lambda: np.zeros(0, dtype=np.str_),
        description="(atoms,) flag words joined by ';' such as edge; '' for none",
    )
    shares: dict[str, Floats] = Field(
        default_factory=dict, description="species -> (atoms,) probability of this species, given that there is an atom"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_flags(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        columns = {name: np.asarray(one) if isinstance(one, list | tuple) else one for name, one in values.items()}
        if "flags" not in columns and "x" in columns:
            columns["flags"] = np.full(len(columns["x"]), "", dtype=np.str_)
        return columns

    @model_validator(mode="after")
    def _equal_lengths(self) -> Self:
        lengths = {name: len(column) for name, column in self.columns().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns differ in length: {lengths}")
        return self

    @classmethod
    def empty(cls) -> Self:
        """Return a table without atoms."""
        none = np.zeros(0)
        return cls(x=none, y=none, species=none.astype(np.str_), probability=none, position_std=none, entropy=none)

    @classmethod
    def of(cls, atoms: Atoms) -> Self:
        """Return the atoms of a structure as if they had been found with certainty: x, y [Å] and species."""
        n = len(atoms)
        return cls(
            x=atoms.positions[:, 0].copy(), y=atoms.positions[:, 1].copy(),
            species=np.array(atoms.get_chemical_symbols()), probability=np.ones(n), position_std=np.full(n, np.nan),
            entropy=np.zeros(n),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.x)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return every column by its name in a file."""
        plain = {name: getattr(self, name) for name in type(self).model_fields if name != "shares"}
        return {**plain, **{f"{SHARE}{species}": share for species, share in self.shares.items()}}

    @classmethod
    def of_columns(cls, columns: Mapping[str, NDArray[Any]]) -> Self:
        """Return the table with these columns, named as in a file."""
        shares = {name.removeprefix(SHARE): column for name, column in columns.items() if name.startswith(SHARE)}
        return cls(**{n: c for n, c in columns.items() if not n.startswith(SHARE)}, shares=shares)

    def chosen(self, kept: NDArray[Any]) -> Self:
        """Return the rows that a mask or index array picks."""
        return self.of_columns({name: column[kept] for name, column in self.columns().items()})

    @property
    def positions(self) -> Floats:
        """(atoms, 2) x, y [Å]."""
        return np.column_stack([self.x, self.y])

    def counts(self) -> dict[str, int]:
        """Return atoms per species, most frequent first."""
        names, numbers = np.unique(self.species, return_counts=True)
        return {str(names[k]): int(numbers[k]) for k in np.argsort(-numbers, kind="stable")}

    def describe(self) -> str:
        """Return the number of atoms of each species."""
        return ", ".join(f"{count} {species}" for species, count in self.counts().items()) or "no atoms"

    def facts(self) -> dict[str, str]:
        """Return counts, and how certain the atoms are."""
        return {"atoms": self.describe(), "confidence": "; ".join(self.confidence())}

    def confidence(self) -> list[str]:
        """Return in words how certain the atoms and their positions are."""
        lines = []
        if len(self):
            less = int((self.probability < 0.5).sum())
            rest = f", {less} below 0.5" if less else ""
            lines.append(f"median probability {np.median(self.probability):.3f}{rest}")
        std = self.position_std[np.isfinite(self.position_std)]
        known = f"{np.median(std):.3f} Å (median)" if len(std) else "unknown"
        return [*lines, f"position uncertainty per axis {known}" if len(std) else "position uncertainty unknown"]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a circle for each atom in the colour of its species, the fainter the less probable the atom is."""
        from matplotlib.colors import to_hex, to_rgb

        from stem2sim.drawing import circles, colour, labelled, new_axes

        ax = ax or new_axes()
        frame = ax.axis() if ax.images else None
        strength = np.clip(self.probability, 0.2, 1)
        colours = [
            to_hex((*to_rgb(colour(str(s))), a), keep_alpha=True) for s, a in zip(self.species, strength, strict=True)
        ]
        if len(self):
            circles(ax, self.positions, 0.5, colours)
        if frame is None:
            ax.set_facecolor("black")
            ax.autoscale_view()
        for species, count in self.counts().items():
            ax.scatter([], [], facecolors="none", edgecolors=colour(species), label=f"{count} {species}")
        if len(self):
            ax.legend(loc="upper right", fontsize="small", facecolor="#444444", labelcolor="white")
        if frame is not None:
            ax.axis(frame)
        return labelled(ax)

    def to_pandas(self) -> DataFrame:
        """Return the table as a DataFrame with the columns of `to_csv`.

        Raises:
            BadInput: pandas is not installed.
        """
        return data_frame(self.columns())

    def to_csv(self) -> str:
        """Return comma-separated text: x,y,species,probability,position_std,entropy,flags and p_<species> for each."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = self.columns()
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([value if isinstance(value, str) else f"{value:.5f}" for value in row])
        return text.getvalue()

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Read a table with a header; x, y [Å] and species are required, other columns are optional.

        Raises:
            BadInput: missing file or columns, a value that is not a number, an unknown species, no atoms.
        """
        from ase.data import atomic_numbers

        if not path.is_file():
            raise BadInput(f"no atom table at {path}")
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
                header = list(reader.fieldnames or ())
        except (UnicodeDecodeError, csv.Error) as problem:
            raise BadInput(f"{path.name} is not a table of comma-separated text: {problem}") from problem
        if not rows:
            raise BadInput(f"no atoms in {path}; its first line must be a header such as x,y,species,probability")
        missing = [name for name in ("x", "y", "species") if name not in header]
        if missing:
            raise BadInput(f"{path.name} has no column {', '.join(missing)}; its header is {','.join(header)}")

        def numbers(name: str, otherwise: float) -> Floats:
            if name not in header:
                return np.full(len(rows), otherwise)
            try:
                column = np.array([float(row[name]) for row in rows])
            except (TypeError, ValueError):
                raise BadInput(f"column {name} of {path.name} holds a value that is not a number") from None
            if name in ("x", "y") and not (np.abs(column) < FURTHEST).all():
                raise BadInput(
                    f"column {name} of {path.name} holds values that are not finite, or beyond {FURTHEST:g} Å"
                )
            if name.startswith(("probability", SHARE)) and not ((column >= 0) & (column <= 1)).all():
                raise BadInput(f"column {name} of {path.name} holds values outside 0 to 1")
            if name in ("position_std", "entropy") and (column < 0).any():
                raise BadInput(f"column {name} of {path.name} holds negative values")
            return column

        species = [(row["species"] or "").strip() for row in rows]
        # S2 is a column of two sulphur atoms
        unknown = sorted({s for s in species if s.rstrip("23456789") not in atomic_numbers or s == "X"})
        if unknown:
            raise BadInput(
                f"{path.name} has unknown species {', '.join(map(repr, unknown))}; use symbols such as C, Si"
            )
        return cls(
            x=numbers("x", 0),
            y=numbers("y", 0),
            species=np.array(species),
            probability=numbers("probability", 1.0),
            position_std=numbers("position_std", np.nan),
            entropy=numbers("entropy", 0.0),
            flags=np.array([row.get("flags") or "" for row in rows], dtype=np.str_),
            shares={n.removeprefix(SHARE): numbers(n, 0.0) for n in header if n and n.startswith(SHARE)},
        )
