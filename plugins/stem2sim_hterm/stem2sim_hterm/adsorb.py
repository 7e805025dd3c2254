"""An adatom, or a fragment, on every kind of site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.collections import g2
from ase.data import covalent_radii
from ase.geometry import find_mic, get_distances
from numpy.typing import NDArray
from pydantic import Field, model_validator

from stem2sim.analysis.placement import check_within, in_frame
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import REACH
from stem2sim.geometry.rings import LARGEST_RING, of_the_sheet, rings
from stem2sim.stages import Builder
from stem2sim.structure import ADSORBATE, ELEMENTS, SURFACE, VACUUM, Structure, extended
from stem2sim_hterm.edges import edge_atoms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.geometry.bonds import Bonds
    from stem2sim.segmentation import Segmentation

Floats = NDArray[np.float64]
Kind = Literal["top", "bridge", "hollow", "hole", "edge"]

FRAGMENTS = {"CH2": "CH2_s3B1d"}
"""Short names of fragments that ASE's collection has in several states: the ground state."""

SHELLS = 3
"""Bonds around a site; where the same species with as many neighbours follow each other as far, sites are the same.
That counts bonds, not distances: measured positions scatter."""


class Site(NamedTuple):
    """Where something may bind."""

    kind: Kind
    atoms: tuple[int, ...]
    at: Floats
    """(3,) [Å]"""


class Adsorb(Builder):
    """Place an adatom or fragment on each distinct site; one structure per site, plus both references."""

    name: ClassVar[str] = "adsorb"

    what: str = Field("Cr", description="adsorbate: an element, or a molecule known to ASE (CH, CH2, CH3, ...)")
    path: Path | None = Field(None, description="structure file of the adsorbate, instead of `what`")
    anchor: str | None = Field(None, description="species of the atom that binds; default: the heaviest")
    turns: int = Field(
        1, ge=1, le=12, description="number of orientations on each site, evenly spaced over a full turn about z"
    )
    sites: tuple[Kind, ...] = Field(
        ("top", "bridge", "hollow"), min_length=1, description="kinds of sites: top, bridge, hollow, hole, edge"
    )
    center: tuple[float, float] | None = Field(
        None, description="x, y in the image around which to look for sites; default: the centre of the structure [Å]"
    )
    radius: float = Field(2.0, gt=0, description="radius of the region around `center` [Å]")
    height: float | None = Field(
        None, ge=0, le=20, description="height above the site; default: sum of covalent radii [Å]"
    )
    references: bool = Field(True, description="also output the bare surface and the free adsorbate, in the same box")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.what not in ELEMENTS and FRAGMENTS.get(self.what, self.what) not in g2.names:
            raise ValueError(
                f"what = '{self.what}' is neither an element nor a molecule that ASE knows; set path to a "
                "structure file"
            )
        return self

    def elements(self) -> frozenset[str]:
        """Return the elements of the adsorbate."""
        return frozenset(self._adsorbate().get_chemical_symbols())

    def methods(self) -> str:
        """Return the sentence for the methods section."""
        what = self.path.name if self.path else self.what
        return f"{what} was placed on the distinct {', '.join(self.sites)} sites of the sheet."

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield the surface, the free adsorbate, and one structure for each distinct site, labelled by site."""
        if len(structure.atoms) == 0:
            raise BadInput("there are no atoms to adsorb on; put place before adsorb")
        adsorbate = self._adsorbate()
        # an adatom, or what stands upright, is the same whichever way it is turned
        turns = 1 if np.allclose(adsorbate.positions[:, :2], 0, atol=1e-3) else self.turns
        sites = [
            (site, turn * 360 / turns) for site in self._sites(structure.bonds, segmentation) for turn in range(turns)
        ]
        whole = [self._placed(structure.atoms, adsorbate, *site) for site in sites]
        surface = structure.atoms.copy()
        if surface.cell.rank < 3:
            _same_box(surface, [atoms for atoms, _ in whole])
        if self.references:
            yield self._made(structure, surface, SURFACE, "the bare surface")
            adsorbate.set_cell(surface.cell)
            adsorbate.pbc = surface.pbc
            adsorbate.positions += np.asarray(surface.cell).sum(axis=0) / 2
            free = self._made(structure, adsorbate, ADSORBATE, f"the free adsorbate {self._title}, in the same box")
            yield free.model_copy(update={"charge": 0})
        count = {kind: sum(site.kind == kind for site, _ in sites) // turns for kind in self.sites}
        numbers = dict.fromkeys(self.sites, 0)
        for (site, turn), (atoms, lift) in zip(sites, whole, strict=True):
            numbers[site.kind] += turn == 0
            label = site.kind if count[site.kind] == 1 else f"{site.kind}-{numbers[site.kind]}"
            listed = ", ".join(f"{structure.atoms[k].symbol} {k}" for k in site.atoms)
            finding = f"{self._title} on the {label} site ({listed}), {lift:.2f} Å above it"
            if turns > 1:
                label, finding = f"{label}-{turn:.0f}deg", f"{finding}, rotated by {turn:.0f}°"
            made = self._made(structure, atoms, label, finding)
            made.check_distances()
            yield made

    def _made(self, structure: Structure, atoms: Atoms, label: str, finding: str) -> Structure:
        return structure.after(self.provenance(), atoms, finding).model_copy(update={"label": label})

    @property
    def _title(self) -> str:
        return self.what if self.path is None else self.path.name

    def _adsorbate(self) -> Atoms:
        """The adsorbate, its anchor at the origin and the others above it."""
        if self.path is None and self.what in ELEMENTS:
            return Atoms(self.what, positions=[[0.0, 0.0, 0.0]])
        name = FRAGMENTS.get(self.what, self.what)
        adsorbate = molecule(name) if self.path is None else Structure.read(self.path).atoms
        adsorbate = Atoms(adsorbate.numbers, adsorbate.positions)
        anchors = [k for k, symbol in enumerate(adsorbate.symbols) if self.anchor in (None, symbol)]
        if not anchors:
            raise BadInput(
                f"anchor = '{self.anchor}', but {self._title} has only {', '.join(sorted(set(adsorbate.symbols)))}"
            )
        anchor = max(anchors, key=lambda k: (adsorbate.numbers[k], -k))
        adsorbate.positions -= adsorbate.positions[anchor]
        rest = np.delete(adsorbate.positions, anchor, axis=0)
        if len(rest):
            away = rest.mean(axis=0)
            if np.linalg.norm(away) > 0.1:
                adsorbate.rotate(away, "z", center=(0, 0, 0))
            else:  # planar round its anchor: flat above the sheet
                adsorbate.rotate(np.linalg.svd(rest)[2][-1], "z", center=(0, 0, 0))
        return adsorbate

    def _sites(self, bonds: Bonds, segmentation: Segmentation) -> list[Site]:
        """Sites of the chosen kinds within the region, nearest its centre first, each kind of surroundings once."""
        atoms = bonds.atoms
        positions = atoms.positions[atoms.numbers != 1]
        in_image = in_frame(atoms, segmentation)
        if self.center is not None:
            check_within(self.center, in_image.apply(positions[:, :2]))
            centre = in_image.undo(np.array(self.center)[None])[0]
        else:
            centre = (positions.min(axis=0) + positions.max(axis=0))[:2] / 2
        kinds = _kinds(bonds)

        def away(site: Site) -> float:
            across = np.append(site.at[:2] - centre, 0.0)
            return round(float(np.linalg.norm(find_mic(across, atoms.cell, atoms.pbc)[0])), 6)

        near = [site for site in _every_site(bonds) if site.kind in self.sites and away(site) <= self.radius]
        kept: list[Site] = []
        taken: set[tuple[Kind, tuple[str, ...]]] = set()
        for site in sorted(near, key=lambda site: (self.sites.index(site.kind), away(site), site.atoms)):
            around = tuple(sorted(kinds[k] for k in site.atoms))
            if (site.kind, around) not in taken:
                taken.add((site.kind, around))
                kept.append(site)
        if not kept:
            x, y = in_image.apply(centre[None])[0]
            raise BadInput(
                f"no {' or '.join(self.sites)} site within {self.radius:g} Å of x = {x:.1f}, y = {y:.1f} Å; choose "
                "another center or a larger radius"
            )
        return kept

    def _placed(self, atoms: Atoms, adsorbate: Atoms, site: Site, turn: float) -> tuple[Atoms, float]:
        """The surface with the adsorbate above a site, turned about z [degrees], and how far above [Å]."""
        added = adsorbate.copy()
        added.rotate(turn, "z")
        added.positions += site.at
        if self.height is not None:
            lift = self.height
        else:
            reach = covalent_radii[atoms.numbers][None] + covalent_radii[added.numbers][:, None]
            # only the anchor is to bind; whatever else is there keeps out of reach of a bond
            reach[np.any(adsorbate.positions != 0, axis=1)] *= REACH + 0.02
            vectors = get_distances(added.positions, atoms.positions, atoms.cell, atoms.pbc)[0]
            aside = np.hypot(vectors[..., 0], vectors[..., 1])
            needed = vectors[..., 2] + np.sqrt(np.clip(reach**2 - aside**2, 0, None))
            lift = float(np.max(needed[aside < reach], initial=0.0))
        added.positions[:, 2] += lift
        return extended(atoms, added), lift


def _every_site(bonds: Bonds) -> Iterator[Site]:
    atoms, heavy, at_edge = bonds.atoms, of_the_sheet(bonds.atoms), edge_atoms(bonds)
    for k in np.flatnonzero(heavy):
        yield Site("edge" if at_edge[k] else "top", (int(k),), atoms.positions[k])
    i, j, _ = bonds.once
    for a, b in zip(i.tolist(), j.tolist(), strict=True):
        if heavy[a] and heavy[b]:
            across = get_distances(atoms.positions[a], atoms.positions[b], atoms.cell, atoms.pbc)[0][0, 0]
            yield Site("bridge", (a, b), atoms.positions[a] + across / 2)
    for ring in rings(bonds):
        yield Site("hollow" if len(ring) <= LARGEST_RING else "hole", ring.atoms, ring.centre)


def _kinds(bonds: Bonds) -> list[str]:
    """What each atom is: its species and neighbours, theirs, and so on, in words that are equal for like atoms."""
    near = bonds.neighbours
    kinds = [f"{symbol}{len(bonded)}" for symbol, bonded in zip(bonds.atoms.symbols, near, strict=True)]
    for _ in range(SHELLS - 1):
        longer = [
            f"{kind}({','.join(sorted(kinds[k] for k in bonded))})" for kind, bonded in zip(kinds, near, strict=True)
        ]
        number = {kind: str(k) for k, kind in enumerate(sorted(set(longer)))}  # or they grow without end
        kinds = [number[kind] for kind in longer]
    return kinds


def _same_box(surface: Atoms, others: list[Atoms]) -> None:
    """Give all of them one vacuum box, and the same place in it."""
    every = np.vstack([surface.positions, *(atoms.positions for atoms in others)])
    low, high = every.min(axis=0), every.max(axis=0)
    for atoms in (surface, *others):
        atoms.set_cell(np.diag(high - low + 2 * VACUUM))
        atoms.positions += VACUUM - low
