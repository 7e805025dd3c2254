"""Where a structure claims that there is no atom: inside of it, and at its bare edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stem2sim.agreement.scene import OWN
from stem2sim.agreement.sites import BONDED
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.rings import rings

if TYPE_CHECKING:
    from stem2sim.agreement.registration import Registration
    from stem2sim.agreement.scene import Scene

Floats = NDArray[np.float64]


def claimed_empty(scene: Scene, registration: Registration, places: Floats) -> NDArray[np.bool_]:
    """Return (n,) at which places (n, 2) [Å], none of them a site, the structure claims that there is no atom.

    Where it was cut out of the sheet, hydrogen stands for what continues, and where it repeats, its own images do; one
    without any hydrogen claims nothing of what is outside.
    """
    sites = registration.sites
    to_image = registration.correction.matrix @ scene.placement.matrix
    outlines = _outlines(scene, sites)
    hydrogens = _hydrogens(scene, to_image)
    tree, images = cKDTree(sites), _images(scene, sites, to_image)
    out = np.zeros(len(places), dtype=bool)
    for k, place in enumerate(places):
        if images is not None and images.query(place)[0] < 1.5 * OWN:
            continue
        nearest = float(tree.query(place)[0])
        beside = tree.query_ball_point(place, 1.2 * nearest) if nearest < BONDED else []
        inside = any(outline.contains_point(place) for outline in outlines)
        bare = [n for n in beside if not any(_alike(place - sites[n], way) for way in hydrogens[n])]
        out[k] = inside or (any(hydrogens) and bool(bare))
    return out


def _outlines(scene: Scene, sites: Floats) -> list[Outline]:
    """Every ring of the structure on the image."""
    site = {k: n for n, members in enumerate(scene.members) for k in members}
    flat = scene.atoms.copy()
    flat.positions, flat.pbc = scene.positions, False
    return [
        Outline(sites[[site[k] for k in ring.atoms]])
        for ring in rings(Bonds.of(flat))
        if all(k in site for k in ring.atoms)
    ]


def _images(scene: Scene, sites: Floats, to_image: Floats) -> cKDTree | None:
    """Where the structure's periodic images in the neighbouring cells lie; None for one that does not repeat."""
    if not scene.atoms.pbc[:2].any():
        return None
    steps = np.stack(np.meshgrid(*([-1, 0, 1] if p else [0] for p in scene.atoms.pbc[:2])), axis=-1).reshape(-1, 2)
    cell = np.asarray(scene.atoms.cell)[:2, :2] @ to_image.T
    shifts = steps[np.abs(steps).sum(axis=1) > 0] @ cell
    return cKDTree((sites[None] + shifts[:, None]).reshape(-1, 2))


def _hydrogens(scene: Scene, to_image: Floats) -> list[list[Floats]]:
    """Directions in the image from each site to its hydrogens: those that are nearest to it."""
    out: list[list[Floats]] = [[] for _ in scene.members]
    hydrogens = np.flatnonzero(scene.atoms.numbers == 1)
    if len(hydrogens) == 0:
        return out
    atoms = np.array([k for members in scene.members for k in members])
    site = np.repeat(np.arange(len(scene.members)), [len(members) for members in scene.members])
    away, nearest = cKDTree(scene.positions[atoms]).query(scene.positions[hydrogens])
    for h, k, d in zip(hydrogens, nearest, away, strict=True):
        if d < BONDED:
            out[site[k]].append(to_image @ (scene.positions[h] - scene.positions[atoms[k]])[:2])
    return out


def _alike(way: Floats, bond: Floats) -> bool:
    """Whether two directions are within 75° of each other: bonds are 120° apart."""
    return bool(way @ bond > 0.26 * np.hypot(*way) * np.hypot(*bond))
