"""A periodic cell without a seam: whole periods of the lattice around a defect."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stem2sim.analysis.placement import check_within, in_frame
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import apart
from stem2sim.geometry.honeycomb import ON_SITE, Honeycomb, fit_honeycomb
from stem2sim.geometry.pairs import nearest_first
from stem2sim.lattice import GRAPHENE
from stem2sim.stages import Builder
from stem2sim.structure import VACUUM
from stem2sim_hterm.columns import ALIKE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

SHARED = (0.5, 0.25)
"""Of what a site differs from its image, at the border and in the row behind: how much the atom moves towards it."""

FURTHEST = 15
"""Periods that a cell may lie off the middle of the sheet, where its border would run through a defect there."""

Floats = NDArray[np.float64]
LatticeSite = tuple[int, int, int]


class Periodic(Builder):
    """Cut out a periodic cell with an integer number of lattice periods, seamless across its boundaries."""

    name: ClassVar[str] = "periodic"

    repeats: tuple[int, int] = Field((8, 8), description="number of lattice periods along the two cell vectors")
    center: tuple[float, float] | None = Field(
        None,
        description="x, y of the cell centre in the image; default: the position closest to the image centre that "
        "gives a seamless cell [Å]",
    )
    lattice_constant: float = Field(
        GRAPHENE, gt=0, description="lattice constant of the honeycomb lattice and the periodic cell [Å]"
    )
    vacuum: float = Field(VACUUM, gt=0, le=200, description="vacuum above and below the sheet [Å]")

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        return (
            f"A cell of {self.repeats[0]} × {self.repeats[1]} lattice periods (a = {self.lattice_constant:g} Å) was "
            f"extracted; sites at its border were averaged with their periodic images, and {self.vacuum:g} Å of vacuum "
            "were added above and below it."
        )

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the cell, with vacuum above and below; its findings state how far border atoms moved.

        Raises:
            BadInput: too few atoms or repeats, no honeycomb, or no place for the cell without a seam.
        """
        n, m = self.repeats
        if min(n, m) < 2:
            raise BadInput(f"repeats must be at least 2 along both vectors, got {n} x {m}")
        atoms = structure.atoms
        if len(atoms) == 0 or atoms.pbc.any():
            raise BadInput("periodic needs a sheet without a cell; put it after place and before hterm")
        xy = atoms.positions[:, :2]
        if 2 * n * m > len(atoms):
            raise BadInput(
                f"{n} x {m} periods hold {2 * n * m} atoms, but there are only {len(atoms)}; choose fewer repeats"
            )
        centre = self._centre(structure, segmentation)
        lattice = fit_honeycomb(xy, centre, self.lattice_constant)
        if lattice is None:
            raise BadInput(
                f"no honeycomb of {self.lattice_constant:g} Å around x = {centre[0]:.1f}, y = {centre[1]:.1f} Å; "
                "check lattice_constant, or choose another center"
            )
        sites, off = lattice.sites(xy)
        on = off < ON_SITE * lattice.bond_length
        whole = {(int(i), int(j), int(s)): k for k, (i, j, s) in enumerate(sites) if on[k]}
        first = self._first(lattice, centre, whole)
        corner = lattice.origin + (first - 1 / 3) @ lattice.vectors
        centre = in_frame(atoms, segmentation).apply((corner + np.array([n, m]) / 2 @ lattice.vectors)[None])[0]
        # an atom on a site belongs to that site's period, wherever it strays; others to the period they lie in
        period = np.where(on[:, None], sites[:, :2], np.floor(lattice.periods(xy) + 1 / 3))
        within = ((period >= first) & (period < first + np.array([n, m]))).all(axis=1)
        made = atoms[within]
        ideal = self._ideal(lattice)
        turned = np.linalg.solve(lattice.vectors, ideal)
        strain = 100 * (np.linalg.svd(turned, compute_uv=False) - 1)
        shifts, moved = self._shifts(xy, lattice, whole, first)
        joined = xy + [shifts.get((int(i), int(j), int(s)), 0.0) * on[k] for k, (i, j, s) in enumerate(sites)]
        made.positions[:, :2] = (joined[within] - corner) @ turned
        height = float(np.ptp(made.positions[:, 2])) + 2 * self.vacuum
        made.set_cell([[*(n * ideal[0]), 0], [*(m * ideal[1]), 0], [0, 0, height]])
        made.pbc = True  # along the vacuum too: periodic engines know no other cell
        made.center(axis=2)
        made.wrap(eps=1e-9)
        columns = len(apart(made.positions[:, :2], np.ones(len(made)), ALIKE))
        counted = f"{len(made)} atoms" + (f" in {columns} columns" if columns < len(made) else "")
        cell = structure.after(
            self.provenance(),
            made,
            f"periodic cell of {n} x {m} periods around x = {centre[0]:.1f}, y = {centre[1]:.1f} Å: {counted} (perfect "
            f"sheet: {2 * n * m}); border atoms averaged with their periodic images (rms displacement "
            f"{moved:.3f} Å); strained by {strain[0]:+.2f} and {strain[1]:+.2f} % to a = {self.lattice_constant:g} Å",
        )
        cell.check_distances()
        yield cell

    def _centre(self, structure: Structure, segmentation: Segmentation) -> Floats:
        """Where the cell is to be, in the structure."""
        xy = structure.atoms.positions[:, :2]
        if self.center is None:
            return np.asarray((xy.min(axis=0) + xy.max(axis=0)) / 2)
        in_image = in_frame(structure.atoms, segmentation)
        frame = in_image.apply(xy)
        check_within(self.center, frame)
        return np.asarray(in_image.undo(np.array(self.center)[None])[0])

    def _first(self, lattice: Honeycomb, centre: Floats, whole: dict[LatticeSite, int]) -> NDArray[np.int64]:
        """The first period of the cell along both vectors: around the centre, or as near to it as there is no seam."""
        share = lattice.periods(centre[None])[0] + 1 / 3 - np.array(self.repeats) / 2
        wanted: NDArray[np.int64] = np.floor(share + 0.5).astype(np.int64)
        lacking, sites = self._lacking(wanted, whole)
        if not lacking:
            return wanted
        if self.center is None:
            steps = np.argwhere(np.ones((2 * FURTHEST + 1, 2 * FURTHEST + 1))) - FURTHEST
            for step in steps[nearest_first(np.hypot(*(steps @ lattice.vectors).T))]:
                if not self._lacking(wanted + step, whole)[0]:
                    return np.asarray(wanted + step)
        raise BadInput(
            f"the border of the cell of {self.repeats[0]} x {self.repeats[1]} periods lacks {lacking} of {sites} "
            "lattice sites: it runs outside the sheet or through a defect; choose fewer repeats"
            + ("" if self.center is None else " or another center")
        )

    def _lacking(self, first: NDArray[np.int64], whole: dict[LatticeSite, int]) -> tuple[int, int]:
        """Sites that lack an atom, of how many: one period of perfect lattice on either side, or there is a seam."""
        last = first + np.array(self.repeats) - 1
        ranges = [range(int(low) - 1, int(high) + 2) for low, high in zip(first, last, strict=True)]
        rims = [{r[0], r[1], r[-2], r[-1]} for r in ranges]
        border = [(i, j, s) for i in ranges[0] for j in ranges[1] for s in (0, 1) if i in rims[0] or j in rims[1]]
        return sum(site not in whole for site in border), len(border)

    def _shifts(
        self, xy: Floats, lattice: Honeycomb, whole: dict[LatticeSite, int], first: NDArray[np.int64]
    ) -> tuple[dict[LatticeSite, Floats], float]:
        """By how much atoms of each site move to where they and their images agree, and the mean over the cell (rms).

        A site at the border and the one a whole cell away are one site of the cell, measured twice: the mean of both is
        what the cell has. So a bond across the border is the mean of two measured bonds, and never a seam. Half of that
        is passed on to the row behind.
        """
        start = {site: xy[k] for site, k in whole.items()}
        now = dict(start)
        for axis, count in enumerate(self.repeats):
            before = dict(now)  # one axis after the other: at a corner the mean is of four
            for site in start:
                row = site[axis] - int(first[axis])
                for deep, weight in enumerate(SHARED):
                    for at, over in ((deep, count), (count - 1 - deep, -count)):
                        image = (site[0] + over * (axis == 0), site[1] + over * (axis == 1), site[2])
                        if row == at and image in before:
                            now[site] = now[site] + weight * (
                                before[image] - over * lattice.vectors[axis] - before[site]
                            )
        shifts = {site: now[site] - start[site] for site in start}
        inside = np.array([shift for site, shift in shifts.items() if self._holds(site, first)])
        return shifts, float(np.sqrt((inside**2).sum(axis=1).mean()))

    def _holds(self, site: LatticeSite, first: NDArray[np.int64]) -> bool:
        return all(0 <= site[axis] - int(first[axis]) < count for axis, count in enumerate(self.repeats))

    def _ideal(self, lattice: Honeycomb) -> Floats:
        """The reference's two vectors, as rows, turned to where the lattice's are."""
        reference = self.lattice_constant * np.array([[1, 0], [0.5, np.sqrt(0.75)]])
        u, _, v = np.linalg.svd(reference.T @ lattice.vectors)
        return np.asarray(reference @ (u @ v))
