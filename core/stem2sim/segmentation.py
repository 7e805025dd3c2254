"""What was found in an image: atoms with their uncertainties, and the maps behind them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Self
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr

from stem2sim.atoms_table import AtomsTable
from stem2sim.errors import BadInput, damaged
from stem2sim.files import write_atomically
from stem2sim.image import Image
from stem2sim.lattice import Lattice
from stem2sim.noun import Noun

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from pandas import DataFrame


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


class Segmentation(Noun):
    """Atoms found in one image, with class maps where the segmenter makes them."""

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

    _image: Image | None = PrivateAttr(None)

    @property
    def image(self) -> Image | None:
        """The frame that the atoms were found in; None where it is not known."""
        return self._image

    def found_in(self, image: Image | None) -> Self:
        """Note the frame that the atoms were found in, and return the segmentation."""
        self._image = image
        return self

    def describe(self) -> str:
        """Return the atoms and their confidence."""
        return "; ".join([self.atoms.describe(), *self.confidence()[:1]])

    def facts(self) -> dict[str, str]:
        """Return counts, confidence, the lattice and caveats."""
        facts = {
            "atoms": self.atoms.describe(),
            "confidence": "; ".join(self.confidence()),
            "lattice": f"{self.lattice.pixel_size:.4f} Å per pixel" if self.lattice else "",
            "found by": str(self.made_by.get("use", "")),
            "ambiguous places": str(len(self.ambiguities)) if self.mean is not None else "",
            "caveats": "; ".join(self.warnings),
        }
        return {name: text for name, text in facts.items() if text}

    def confidence(self) -> list[str]:
        """Return in words how certain the atoms are, and whether the frame is like the training data."""
        score = self.out_of_distribution
        if score is None:
            return self.atoms.confidence()
        return [
            *self.atoms.confidence(),
            f"out-of-distribution score {score:.2f} (images scoring above 1 are rejected)",
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the atoms over their frame, where that is known (`image`)."""
        from stem2sim.drawing import frame, new_axes

        ax = ax or new_axes()
        if self.image is not None:
            frame(ax, self.image.pixels, self.image.pixel_size)
        return self.atoms.plot(ax)

    def to_pandas(self) -> DataFrame:
        """Return the table of atoms as a DataFrame; see `AtomsTable.to_pandas`."""
        return self.atoms.to_pandas()

    def save(self, path: Path) -> None:
        """Write everything to one .npz file (maps as float16), atomically."""
        arrays: dict[str, NDArray[Any]] = {f"atoms_{n}": column for n, column in self.atoms.columns().items()}
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
                atoms = AtomsTable.of_columns({n: file[f"atoms_{n}"] for n in names})
                maps = {n: file[n].astype(np.float32) for n in MAPS if n in file.files}
                rest = _Rest.model_validate_json(file["rest"].tobytes())
            return cls(atoms=atoms, **maps, **dict(rest)).read_from(path)
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
