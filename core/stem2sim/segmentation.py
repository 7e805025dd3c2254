"""What was found in an image: atoms with their uncertainties, and the maps behind them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Self
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from stem2sim.errors import BadInput, damaged
from stem2sim.files import write_atomically
from stem2sim.lattice import Lattice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ase import Atoms

Floats = NDArray[np.float64]

SHARE = "p_"
"""Before the species in the name of a column that holds its probability."""

FURTHEST = 1e6
"""[Å]; an image of atoms is never a tenth of a millimetre wide."""


class AtomsTable(BaseModel):
    """Atoms found in an image, one row each; the columns are arrays of equal length."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

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
        if isinstance(values, dict) and "flags" not in values and "x" in values:
            return {**values, "flags": np.full(len(values["x"]), "", dtype=np.str_)}
        return values

    @model_validator(mode="after")
    def _equal_lengths(self) -> Self:
        lengths = {name: len(column) for name, column in self._columns().items()}
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

    def _columns(self) -> dict[str, NDArray[Any]]:
        """Every column by its name in a file."""
        plain = {name: getattr(self, name) for name in type(self).model_fields if name != "shares"}
        return {**plain, **{f"{SHARE}{species}": share for species, share in self.shares.items()}}

    @classmethod
    def _of_columns(cls, columns: Mapping[str, NDArray[Any]]) -> Self:
        shares = {name.removeprefix(SHARE): column for name, column in columns.items() if name.startswith(SHARE)}
        return cls(**{n: c for n, c in columns.items() if not n.startswith(SHARE)}, shares=shares)

    def chosen(self, kept: NDArray[Any]) -> Self:
        """Return the rows that a mask or index array picks."""
        return self._of_columns({name: column[kept] for name, column in self._columns().items()})

    @property
    def positions(self) -> Floats:
        """(atoms, 2) x, y [Å]."""
        return np.column_stack([self.x, self.y])

    def counts(self) -> dict[str, int]:
        """Return atoms per species, most frequent first."""
        names, numbers = np.unique(self.species, return_counts=True)
        return {str(names[k]): int(numbers[k]) for k in np.argsort(-numbers, kind="stable")}

    def to_csv(self) -> str:
        """Return comma-separated text: x,y,species,probability,position_std,entropy,flags and p_<species> for each."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = self._columns()
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


class Ambiguity(BaseModel):
    """A place in the image with two plausible readings."""

    model_config = ConfigDict(frozen=True)

    x: float = Field(description="[Å]")
    y: float = Field(description="[Å]")
    information: float = Field(description="mutual information there [nat]")
    readings: tuple[tuple[str, float], tuple[str, float]] = Field(
        description="the two most probable: a species or nothing, and its probability"
    )


MAPS = ("mean", "spread", "information")


class Segmentation(BaseModel):
    """Atoms found in one image, with class maps where the segmenter makes them."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    atoms: AtomsTable
    class_names: tuple[str, ...] = Field((), description="names of the map channels; background last")
    mean: NDArray[np.float32] | None = Field(None, description="(classes, rows, columns) class probability", repr=False)
    spread: NDArray[np.float32] | None = Field(
        None, description="(classes, rows, columns) standard deviation over the ensemble", repr=False
    )
    information: NDArray[np.float32] | None = Field(
        None, description="(rows, columns) mutual information: disagreement of the networks [nat]", repr=False
    )
    ambiguities: tuple[Ambiguity, ...] = Field(
        (), description="places with two plausible readings, the most uncertain first"
    )
    pixel_size: float | None = Field(None, description="pixel size of the maps [Å]")
    lattice: Lattice | None = Field(None, description="lattice of the image, where one was found")
    out_of_distribution: float | None = Field(
        None, description="out of distribution if above 1, the 99th percentile of test data"
    )
    warnings: tuple[str, ...] = ()
    made_by: dict[str, Any] = Field(default_factory=dict, description="segmenter, its options and version")

    def save(self, path: Path) -> None:
        """Write everything to one .npz file (maps as float16), atomically."""
        arrays: dict[str, NDArray[Any]] = {f"atoms_{n}": column for n, column in self.atoms._columns().items()}
        for name in MAPS:
            value = getattr(self, name)
            if value is not None:
                arrays[name] = value.astype(np.float16)
        rest = self.model_dump_json(include=set(_Rest.model_fields))
        arrays["rest"] = np.frombuffer(rest.encode(), dtype=np.uint8)
        with write_atomically(path) as part, part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BadInput: missing or damaged file.
        """
        try:
            return cls.parse(path.read_bytes(), path)
        except OSError as problem:
            raise BadInput(damaged(path)) from problem

    @classmethod
    def parse(cls, content: bytes, path: Path) -> Self:
        """Return the segmentation that a file holds, by its content; the path is for messages.

        Raises:
            BadInput: a damaged file.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                names = [n.removeprefix("atoms_") for n in file.files if n.startswith("atoms_")]
                atoms = AtomsTable._of_columns({n: file[f"atoms_{n}"] for n in names})
                maps = {n: file[n].astype(np.float32) for n in MAPS if n in file.files}
                rest = _Rest.model_validate_json(file["rest"].tobytes())
            return cls(atoms=atoms, **maps, **dict(rest))
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile, ZlibError) as problem:
            raise BadInput(damaged(path)) from problem


class _Rest(BaseModel):
    """The fields of a segmentation that are not arrays."""

    class_names: tuple[str, ...]
    ambiguities: tuple[Ambiguity, ...] = Field((), validation_alias=AliasChoices("ambiguities", "doubts"))  # before 0.2
    pixel_size: float | None
    lattice: Lattice | None
    out_of_distribution: float | None
    warnings: tuple[str, ...]
    made_by: dict[str, Any]
