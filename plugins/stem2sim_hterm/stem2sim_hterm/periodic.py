"""A cell that repeats without a seam: whole periods of the lattice around a defect."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stem2sim.errors import BadInput
from stem2sim.honeycomb import ON_SITE, Honeycomb, fit_honeycomb
from stem2sim.stages import Builder
from stem2sim.structure import VACUUM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

Floats = NDArray[np.float64]
Site = tuple[int, int, int]


class Periodic(Builder):
    """Cut a cell of whole lattice periods out of a sheet, so that it repeats without a seam: defects stay, edges go."""

    name: ClassVar[str] = "periodic"

    repeats: tuple[int, int] = Field((8, 8), description="lattice periods along the two vectors")
    center: tuple[float, float] | None = Field(
        None, description="x, y of the cell's centre [Å]; left out, the middle of the structure"
    )
    lattice_constant: float = Field(2.46, gt=0, description="of the honeycomb, and of the cell that is made [Å]")
    vacuum: float = Field(VACUUM, gt=0, description="above, and below, the sheet [Å]")

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the cell, with vacuum above and below; how well its borders match is among its findings."""
        n, m = self.repeats
        if min(n, m) < 2:
            raise BadInput(f"repeats must be at least 2 along both vectors, got {n} x {m}")
        atoms = structure.atoms
        if len(atoms) == 0 or atoms.pbc.any():
            raise BadInput("periodic cuts a cell out of a sheet that has none; put it after place, and before hterm")
        xy = atoms.positions[:, :2]
        centre = self._centre(xy)
        lattice = fit_honeycomb(xy, centre, self.lattice_constant)
        if lattice is None:
            raise BadInput(
                f"no honeycomb of {self.lattice_constant:g} Å around x = {centre[0]:.1f}, y = {centre[1]:.1f} Å; "
                "check lattice_constant, or choose another center"
            )
        first = np.floor(lattice.periods(centre[None])[0] + 1 / 3 - np.array([n, m]) / 2 + 0.5).astype(int)
        sites, off = lattice.sites(xy)
        on = off < ON_SITE * lattice.bond_length
        whole = {(int(i), int(j), int(s)): k for k, (i, j, s) in enumerate(sites) if on[k]}
        self._check_border(whole, first)
        # an atom on a site belongs to that site's period, wherever it strays; others to the period they lie in
        period = np.where(on[:, None], sites[:, :2], np.floor(lattice.periods(xy) + 1 / 3))
        made = atoms[((period >= first) & (period < first + np.array([n, m]))).all(axis=1)]
        ideal = self._ideal(lattice)
        turned = np.linalg.solve(lattice.vectors, ideal)
        strain = 100 * (np.linalg.svd(turned, compute_uv=False) - 1)
        made.positions[:, :2] = (made.positions[:, :2] - lattice.origin) @ turned
        height = float(np.ptp(made.positions[:, 2])) + 2 * self.vacuum
        made.set_cell([[*(n * ideal[0]), 0], [*(m * ideal[1]), 0], [0, 0, height]])
        made.pbc = True  # along the vacuum too: periodic engines know no other cell
        made.center(axis=2)
        made.wrap()
        apart = self._mismatch(xy, lattice, whole, first)
        cell = structure.after(
            self.provenance(),
            made,
            f"periodic cell of {n} x {m} periods around x = {centre[0]:.1f}, y = {centre[1]:.1f} Å: {len(made)} atoms, "
            f"where the perfect sheet has {2 * n * m}; opposite borders differ by {apart:.3f} Å rms; strained by "
            f"{strain[0]:+.2f} and {strain[1]:+.2f} % to a = {self.lattice_constant:g} Å",
        )
        cell.check_distances()
        yield cell

    def _centre(self, xy: Floats) -> Floats:
        low, high = xy.min(axis=0), xy.max(axis=0)
        if self.center is None:
            return np.asarray((low + high) / 2)
        centre = np.array(self.center)
        if (centre < low).any() or (centre > high).any():
            raise BadInput(
                f"center {centre[0]:.1f}, {centre[1]:.1f} Å is outside the atoms, which span x {low[0]:.1f} to "
                f"{high[0]:.1f} Å and y {low[1]:.1f} to {high[1]:.1f} Å"
            )
        return centre

    def _check_border(self, whole: dict[Site, int], first: NDArray[np.int64]) -> None:
        """One period of perfect lattice on either side of the border, or there would be a seam."""
        last = first + np.array(self.repeats) - 1
        ranges = [range(int(low) - 1, int(high) + 2) for low, high in zip(first, last, strict=True)]
        rims = [{r[0], r[1], r[-2], r[-1]} for r in ranges]
        border = [(i, j, s) for i in ranges[0] for j in ranges[1] for s in (0, 1) if i in rims[0] or j in rims[1]]
        missing = sum(site not in whole for site in border)
        if missing:
            raise BadInput(
                f"the border of the cell of {self.repeats[0]} x {self.repeats[1]} periods lacks {missing} of "
                f"{len(border)} lattice sites: it runs outside the sheet or through a defect; fewer repeats or another "
                "center would do"
            )

    def _mismatch(self, xy: Floats, lattice: Honeycomb, whole: dict[Site, int], first: NDArray[np.int64]) -> float:
        """How far atoms along one border are from those a whole cell away, rms [Å]."""
        n, m = self.repeats
        i0, j0 = (int(k) for k in first)
        pairs = [((i0, j0 + k, s), (i0 + n, j0 + k, s), n * lattice.vectors[0]) for k in range(m) for s in (0, 1)]
        pairs += [((i0 + k, j0, s), (i0 + k, j0 + m, s), m * lattice.vectors[1]) for k in range(n) for s in (0, 1)]
        apart = np.array([xy[whole[there]] - xy[whole[here]] - across for here, there, across in pairs])
        return float(np.sqrt((apart**2).sum(axis=1).mean()))

    def _ideal(self, lattice: Honeycomb) -> Floats:
        """The reference's two vectors, as rows, turned to where the lattice's are."""
        reference = self.lattice_constant * np.array([[1, 0], [0.5, np.sqrt(0.75)]])
        u, _, v = np.linalg.svd(reference.T @ lattice.vectors)
        return np.asarray(reference @ (u @ v))
