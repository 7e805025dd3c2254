"""Structures drawn from the uncertainties of the segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from stem2sim.analysis.placement import in_frame
from stem2sim.analysis.validation import CLASHING
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import apart
from stem2sim.geometry.pairs import SLACK
from stem2sim.stages import Builder
from stem2sim.structure import CLOSEST, SAMPLE
from stem2sim_hterm.columns import standing
from stem2sim_hterm.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

Floats = NDArray[np.float64]

WITHIN = 2.0
"""[Å]; an uncertain atom with two atoms of the structure this near lies within it, and may be drawn."""


class Sample(Builder):
    """Draw structures from the uncertainties: positions, species, and presence of uncertain atoms."""

    name: ClassVar[str] = "sample"

    count: int = Field(5, ge=1, le=1000, description="number of structures; 1 gives the mean structure")
    seed: int = Field(0, ge=0, description="random seed")
    least_probability: float = Field(
        0.3, ge=0, le=1, description="never draw atoms with a probability below this value"
    )

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        return (
            f"{self.count} structures were sampled from the probabilities, species and position uncertainties of the "
            f"detected atoms (random seed {self.seed}); atoms with a probability below "
            f"{self.least_probability:g} were omitted."
        )

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield `count` structures, labelled sample-1 and so on; their findings list the differences from the mean.

        x and y of each atom are drawn from a normal distribution of its `position_std`, its species from the species
        probabilities, and whether it is there from its probability; of two atoms that come closer than 0.9 Å, or than
        validation allows, the more probable one stays.

        Raises:
            BadInput: atoms that were not measured (hydrogen, adatoms), or whose uncertainty is not known.
        """
        atoms, table = structure.atoms, segmentation.atoms
        source = atoms.arrays.get("source")
        if source is None or len(atoms) == 0 or not len(table):
            raise BadInput("sample needs measured atoms; put it after place and before hterm")
        if (source < 0).any() or source.max() >= len(table):
            raise BadInput("sample takes measured atoms only; put it before builders that add others, such as hterm")
        if atoms.pbc.any() or atoms.constraints:
            raise BadInput(
                "sample needs a sheet without cell and constraints; put it before periodic, cell and constrain"
            )
        if self.count == 1:
            yield structure.after(self.provenance(), atoms.copy(), "the mean structure").model_copy(
                update={"label": "mean"}
            )
            return
        std = atoms.arrays.get("position_std", np.full(len(atoms), np.nan))
        if not np.isfinite(std).all():
            raise BadInput(f"position_std is not known for {int((~np.isfinite(std)).sum())} of {len(atoms)} atoms")
        placed: dict[str, Any] = next(
            (step for step in reversed(structure.history) if step.get("use") == Place.name), {}
        )
        rows, places, scale = self._candidates(atoms, segmentation, placed.get("least_probability", 0.0))
        kinds, middle = {str(s) for s in table.species} | set(table.shares), float(np.median(atoms.positions[:, 2]))
        separations: dict[str, float] = placed.get("columns", {})
        widths = np.nan_to_num(table.position_std[rows]) * scale
        likely = table.probability[rows]
        for number in range(1, self.count + 1):
            rng = np.random.default_rng([self.seed, number])
            there = rng.random(len(rows)) < likely
            xy = places + rng.normal(size=places.shape) * widths[:, None]
            species = _drawn(segmentation, rows, rng)
            kept = np.flatnonzero(there)
            if len(kept) == 0:
                raise BadInput(f"sample {number} has no atom: all probabilities are low")
            kept = kept[apart(xy[kept], likely[kept], CLOSEST)]
            kept = kept[_no_clash(xy[kept], species[kept], likely[kept])]
            column, symbols, z = standing(species[kept].tolist(), kinds, separations)
            which = kept[column]
            drawn = Atoms(symbols, positions=np.column_stack([xy[which], middle + z]))
            drawn.set_cell(atoms.cell)
            drawn.pbc = atoms.pbc
            drawn.set_array("source", rows[which].astype(int))
            drawn.set_array("probability", likely[which])
            drawn.set_array("position_std", widths[which])
            differences = _differences(atoms, drawn)
            made = structure.after(self.provenance(), drawn, f"sample {number}: {differences}")
            made.check_distances()
            yield made.model_copy(update={"label": f"{SAMPLE}{number}"})

    def _candidates(
        self, atoms: Atoms, segmentation: Segmentation, placed: float
    ) -> tuple[NDArray[np.int64], Floats, float]:
        """Rows of the table that may be in, where they stand in the structure, and its scale over the frame's.

        Besides those of the structure, only rows too improbable to be placed: others were omitted on purpose.
        """
        table = segmentation.atoms
        first = np.sort(np.unique(atoms.arrays["source"], return_index=True)[1])  # a column is one row
        source = atoms.arrays["source"][first]
        here, frame = atoms.positions[first, :2], in_frame(atoms, segmentation)
        places = frame.undo(table.positions)  # place took out the scan's stretch: uncertain atoms follow
        places[source] = here
        likely = (table.probability >= self.least_probability) & (table.probability < placed)
        other = np.setdiff1d(np.flatnonzero(likely), source)
        near = cKDTree(here).query_ball_point(places[other], WITHIN, return_length=True) if len(other) else np.zeros(0)
        rows = np.concatenate([source, other[np.asarray(near) >= 2]]).astype(np.int64)
        return rows, places[rows], float(1 / np.sqrt(abs(np.linalg.det(frame.matrix))))


def _no_clash(xy: Floats, species: NDArray[np.str_], likely: Floats) -> NDArray[np.int64]:
    """Which of the drawn atoms, or columns, stay: of two that validation would call clashing, the likelier."""
    radii = covalent_radii[[atomic_numbers[str(name).rstrip("0123456789")] for name in species]]
    pairs = cKDTree(xy).query_pairs(2 * CLASHING * float(radii.max()), output_type="ndarray")
    one, two = pairs.T
    close = np.hypot(*(xy[one] - xy[two]).T) < CLASHING * (radii[one] + radii[two]) - SLACK
    gone = np.where(likely[one[close]] < likely[two[close]], one[close], two[close])
    return np.setdiff1d(np.arange(len(xy)), gone)


def _drawn(segmentation: Segmentation, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.str_]:
    """Species by their probabilities; that of the table where no probabilities are known."""
    likeliest, shares = segmentation.atoms.species[rows], segmentation.atoms.shares
    if not shares:
        return likeliest
    names = np.array(list(shares))
    table = np.cumsum([share[rows] for share in shares.values()], axis=0)
    pick = (rng.random(len(rows)) * table[-1] > table).sum(axis=0)
    return np.where(table[-1] > 0, names[np.minimum(pick, len(names) - 1)], likeliest)


def _differences(mean: Atoms, drawn: Atoms) -> str:
    before, after = _columns(mean), _columns(drawn)
    stayed = sorted(set(before) & set(after))
    other = sum(before[row][0] != after[row][0] for row in stayed)
    moved = np.array([after[row][1] - before[row][1] for row in stayed]).reshape(-1, 2)
    rms = float(np.sqrt((moved**2).sum(axis=1).mean())) if stayed else 0.0
    return (
        f"{len(set(before) - set(after))} atoms omitted, {len(set(after) - set(before))} added, {other} of another "
        f"species; RMS displacement {rms:.3f} Å"
    )


def _columns(atoms: Atoms) -> dict[int, tuple[str, Floats]]:
    """Row of the atoms table -> what stands there, and where."""
    columns: dict[int, tuple[str, Floats]] = {}
    for row, symbol, place in zip(atoms.arrays["source"], atoms.symbols, atoms.positions[:, :2], strict=True):
        columns[int(row)] = columns.get(int(row), ("", place))[0] + symbol, place
    return columns
