"""Parts of the sheet, small enough for an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from stem2sim.analysis.placement import check_within, in_frame
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import two_core
from stem2sim.geometry.pairs import SLACK
from stem2sim.geometry.rings import LARGEST_RING
from stem2sim.stages import Builder
from stem2sim.structure import ELEMENTS
from stem2sim_hterm.centres import BORDER, Centre, centres_of, log_probability, scores
from stem2sim_hterm.cutting import Cut, connected_part, connected_patch, without_split_columns
from stem2sim_hterm.region import Point, Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

    from stem2sim.geometry.bonds import Bonds
    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

Floats = NDArray[np.float64]

FEATURES = ("impurity", "hole", "edge", "any")

USUAL = 60
"""Atoms: a minute of tight binding."""

TRIED = 40
"""Centres whose patches are cut and compared, of those with the best surroundings."""

WITHIN_REACH = 5.0
"""[Å]; a patch around a point further from any atom would lie elsewhere."""


class Patch(Region, Builder):
    """Cut out connected patches: at the most or least certain sites, around given points, or within a region."""

    name: ClassVar[str] = "patch"

    size: int | None = Field(
        None, ge=6, description=f"maximum number of atoms in a patch; default: {USUAL}, or all atoms in the region"
    )
    center: Point | tuple[Point, ...] | None = Field(
        None, description="x, y of the patch centre in the image, or a list of them, one for each patch [Å]"
    )
    contains: str = Field(
        "impurity",
        description="feature to centre the patch on: a species, 'impurity' (the rarest of several species), 'hole', "
        "'edge' (of the sheet, not of the image) or 'any'",
    )
    by: Literal["certainty", "uncertainty"] = Field(
        "certainty",
        description="site to choose: the one with the highest joint probability, or with the largest uncertainty",
    )
    count: int = Field(1, ge=1, description="number of patches; patches do not overlap")
    unit: Literal["angstrom", "pixel"] = Field("angstrom", description="unit of `center` and of the region")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.contains not in FEATURES and self.contains not in ELEMENTS:
            allowed = ", ".join(f"'{feature}'" for feature in FEATURES)
            raise ValueError(f"contains must be {allowed} or a species such as 'Si', got '{self.contains}'")
        if self.shape and (self.center is not None or self.count > 1):
            raise ValueError(f"a {self.shape} is one patch, without a center or a count")
        if self.shape and (self.contains != "impurity" or self.by != "certainty"):
            raise ValueError(f"a {self.shape} is cut out as it is: remove contains and by")
        if self.center == ():
            raise ValueError("center needs at least one point")
        if self.center is not None and self.count > 1:
            raise ValueError("count has no meaning with center; give a list of centers instead")
        return self

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        unit = "Å" if self.unit == "angstrom" else "pixels"
        if self.shape:
            region = f"{self.shape} = {getattr(self, self.shape)} {unit}"
            return f"The connected atoms within a {self.shape} ({region}) were extracted."
        size = f"of up to {self.size or USUAL} atoms"
        if self.center is not None:
            points = np.array(self.center, dtype=float).reshape(-1, 2).tolist()
            what = f"Connected patches {size} were" if len(points) > 1 else f"A connected patch {size} was"
            return f"{what} extracted around {' and '.join(f'x = {x:g}, y = {y:g} {unit}' for x, y in points)}."
        place = {"impurity": "an impurity", "any": "an atom", "hole": "a hole", "edge": "the edge of the sheet"}
        around = place.get(self.contains, self.contains)
        worth = "highest joint probability" if self.by == "certainty" else "largest uncertainty"
        if self.count > 1:
            return (
                f"{self.count} connected patches {size} around {around}, without shared atoms, were extracted; among "
                f"the candidates, those with the {worth} were chosen."
            )
        return (
            f"A connected patch {size} around {around} was extracted; among the candidates, the patch with the {worth} "
            "was chosen."
        )

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the patches, without atoms that have fewer than two neighbours in them.

        Raises:
            BadInput: a place outside the atoms, more atoms than there are, no such feature, too few bonded atoms.
        """
        atoms = structure.atoms
        if len(atoms) == 0:
            raise BadInput("there are no atoms to cut a patch from; put place before patch")
        if atoms.pbc.any():
            raise BadInput("a patch cannot be cut out of a periodic structure; put patch before periodic and cell")
        if self.size is not None and self.size > len(atoms):
            raise BadInput(f"size = {self.size} atoms, but there are only {len(atoms)}; choose a smaller size")
        near = structure.bonds.neighbours
        frame = in_frame(atoms, segmentation).apply(atoms.positions[:, :2])
        if self.shape:
            cuts = [self._region(atoms, near, frame / self._unit(segmentation))]
        elif self.center is not None:
            cuts = [self._around(point, near, frame) for point in self._points(segmentation)]
        else:
            cuts = self._sought(structure.bonds, frame, segmentation)
        probability = atoms.arrays.get("probability", np.ones(len(atoms)))
        for number, cut in enumerate(cuts, start=1):
            kept = without_split_columns(atoms, cut.kept)
            if len(kept) < 6:
                raise BadInput(
                    f"only {len(kept)} connected atoms {cut.where}; choose another place or size, or check the pixel "
                    "size (bonded C-C is under 1.9 Å)"
                )
            least, joint = probability[kept].min(), np.prod(probability[kept])
            number_of = f"{len(kept)} of {len(atoms)} atoms, lowest atomic probability {least:.3f}"
            finding = f"patch {cut.where} ({cut.chosen_by} {joint:.{3 if joint >= 0.001 else 6}f}): {number_of}"
            part = structure.part(kept)
            made = part.after(self.provenance(), part.atoms, *cut.findings, finding)
            yield made.model_copy(update={"label": f"patch-{number}"}) if len(cuts) > 1 else made

    def _unit(self, segmentation: Segmentation) -> float:
        """[Å] of the unit that places are given in."""
        if self.unit == "angstrom":
            return 1.0
        if segmentation.pixel_size is None:
            raise BadInput("the pixel size is not known; give center and region in Å, with unit = 'angstrom'")
        return segmentation.pixel_size

    def _points(self, segmentation: Segmentation) -> Floats:
        return np.array(self.center, dtype=float).reshape(-1, 2) * self._unit(segmentation)

    def _region(self, atoms: Atoms, near: list[list[int]], xy: Floats) -> Cut:
        inside = np.flatnonzero(self.inside(xy))
        low, high = xy.min(axis=0), xy.max(axis=0)
        if len(inside) == 0:
            raise BadInput(
                f"no atom within the {self.shape}; they span x {low[0]:.1f} to {high[0]:.1f} and y {low[1]:.1f} to "
                f"{high[1]:.1f} {'Å' if self.unit == 'angstrom' else 'pixels'}"
            )
        kept = two_core(near, set(inside.tolist()))
        parts: list[set[int]] = []
        while rest := kept - set().union(*parts):
            parts.append(connected_part(near, kept, min(rest)))
        largest = sorted(parts[int(np.argmax([len(part) for part in parts]))]) if parts else []
        if self.size is not None and len(largest) > self.size:
            raise BadInput(f"the {self.shape} holds {len(largest)} connected atoms, more than size = {self.size}")
        more = f"{len(kept) - len(largest)} atoms in the {self.shape} omitted: not connected to the patch"
        return Cut(largest, f"within the {self.shape}", (more,) if len(parts) > 1 else ())

    def _around(self, at: Floats, near: list[list[int]], frame: Floats) -> Cut:
        check_within(at, frame)
        nearest = float(np.hypot(*(frame - at).T).min())
        if nearest > WITHIN_REACH + SLACK:
            raise BadInput(
                f"center ({at[0]:.1f}, {at[1]:.1f}) Å is {nearest:.1f} Å from the nearest atom; choose a center "
                "on the sheet, or contains = 'hole'"
            )
        return Cut(connected_patch(frame, near, at, self.size or USUAL), f"around x = {at[0]:.2f}, y = {at[1]:.2f} Å")

    def _sought(self, bonds: Bonds, frame: Floats, segmentation: Segmentation) -> list[Cut]:
        """`count` patches, the best first, and where each lies."""
        kind = self._kind(bonds.atoms)
        cuts: list[Cut] = []
        used: set[int] = set()
        while len(cuts) < self.count:
            more: tuple[str, ...] = ()
            best = self._best(kind, bonds, frame, segmentation, used)
            if best is None and self.contains == "impurity" and kind != "any":
                more = (f"no {kind} has two bonded neighbours; the patch is centred on another atom",)
                best = self._best("any", bonds, frame, segmentation, used)
            if best is None and not cuts:
                raise BadInput(self._nothing(kind))
            if best is None:
                raise BadInput(
                    f"only {len(cuts)} of {self.count} patches fit without overlap (contains = '{self.contains}'); "
                    "choose a smaller count or size"
                )
            centre, kept = best
            x, y = frame[list(centre.must)].mean(axis=0)
            where = f"around {centre.title} at x = {x:.2f}, y = {y:.2f} Å"
            cuts.append(Cut(kept, where, more, self._chosen_by))
            used |= set(kept)
        return cuts

    @property
    def _chosen_by(self) -> str:
        return "highest joint probability," if self.by == "certainty" else "largest uncertainty; joint probability"

    def _kind(self, atoms: Atoms) -> str:
        """What to centre on: impurity means the rarest species."""
        symbols = atoms.get_chemical_symbols()
        if self.contains == "impurity":
            kinds, counts = np.unique(symbols, return_counts=True)
            return str(kinds[np.argmin(counts)]) if len(kinds) > 1 else "any"
        if self.contains not in FEATURES and self.contains not in symbols:
            raise BadInput(f"no {self.contains} among the atoms; there are {', '.join(sorted(set(symbols)))}")
        return self.contains

    def _nothing(self, kind: str) -> str:
        size = self.size or USUAL
        if kind == "hole":
            return f"no patch of up to {size} atoms contains a whole hole (a ring of more than {LARGEST_RING} atoms)"
        if kind == "edge":
            return f"no edge of the sheet is {BORDER:g} Å or more from the border of the image"
        what = "an atom" if kind == "any" else kind
        return (
            f"no patch of up to {size} atoms contains {what} with two bonded neighbours; choose another size, or "
            "contains = 'any', or check the pixel size"
        )

    def _best(
        self,
        kind: str,
        bonds: Bonds,
        frame: Floats,
        segmentation: Segmentation,
        used: set[int],
    ) -> tuple[Centre, list[int]] | None:
        """The centre of this kind with the best surroundings, and the patch around it, without the atoms used."""
        atoms, near = bonds.atoms, bonds.neighbours
        free = two_core(near, set(range(len(atoms))) - used)
        left = [[n for n in bonded if n in free] if k in free else [] for k, bonded in enumerate(near)]
        centres = [c for c in centres_of(kind, bonds, frame, segmentation) if free.issuperset(c.must)]
        if not centres:
            return None
        size, xy = min(self.size or USUAL, len(atoms)), atoms.positions[:, :2]
        ranked = scores(centres, bonds, segmentation, size, self.by)
        certain = log_probability(atoms)
        most = TRIED if self.by == "certainty" else 1
        tried: list[tuple[Centre, list[int]]] = []
        for k in np.argsort(-ranked, kind="stable").tolist():
            kept = connected_patch(xy, left, centres[k].at, size)
            if set(kept).issuperset(centres[k].must):
                tried.append((centres[k], kept))
            if len(tried) == most:
                break

        def worth(patch: tuple[Centre, list[int]]) -> tuple[int, float]:
            return len(patch[1]), round(float(certain[patch[1]].sum()), 3)

        return max(tried, key=worth, default=None)  # the first of equals, which has the best surroundings
