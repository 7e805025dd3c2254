"""Atoms that were found elsewhere, as the start of the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from stem2sim.atoms_table import AtomsTable
from stem2sim.segmentation import Segmentation
from stem2sim.stages import Segmenter
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from stem2sim.image import Image

TABLES = (".csv", ".txt", ".tsv", ".dat")
"""Suffixes of tables; any other file is a structure."""


class AtomsTableSegmenter(Segmenter):
    """Read atoms from a table or a structure file (x, y in Å, species) instead of locating them in an image."""

    name: ClassVar[str] = "atoms-table"
    needs_image: ClassVar[bool] = False

    path: Path = Field(
        description="CSV file with the header x,y,species and, if known, probability,position_std; or a structure file "
        "readable by ASE (POSCAR, .xyz, .cif, ...), of which z is ignored; or a segmentation.npz of another run"
    )

    def methods(self) -> str:
        """Return it for a methods section."""
        return f"Positions and species of the atoms were read from the table {self.path.name}."

    def segment(self, image: Image | None = None) -> Segmentation:
        """Return the atoms of the table; the image, if any, is not looked at."""
        if self.path.suffix.lower() == ".npz":
            return Segmentation.load(self.path)
        if self.path.suffix.lower() in TABLES or not self.path.is_file():
            return Segmentation(atoms=AtomsTable.from_csv(self.path))
        return Segmentation(atoms=AtomsTable.of(Structure.read(self.path).atoms))
