"""A structure compared with its image: simulated as the microscope would record it, registered, each atom judged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stem2sim.agreement.agreement import Agreement
from stem2sim.agreement.claims import claimed_empty
from stem2sim.agreement.judging import Judge
from stem2sim.agreement.registration import faintest, register
from stem2sim.agreement.scene import Scene
from stem2sim.errors import BadInput
from stem2sim.imaging.brightness import Brightness

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.image import Image
    from stem2sim.imaging.forward import Probe
    from stem2sim.segmentation import Segmentation

AREA = 1.2
"""[Å]; pixels this near to a site are the structure's own area."""

Floats = NDArray[np.float64]


def agreement(
    image: Image, segmentation: Segmentation, atoms: Atoms, built: Atoms | None = None, probe: Probe | None = None
) -> Agreement:
    """Draw a structure as the image would show it, register it, and judge every atom.

    Args:
        image: to compare with.
        segmentation: of it; gives the place of the structure, and what else is near.
        atoms: of the structure, with the array `source`.
        built: the same atoms as they were measured, before they were relaxed: they give its place best.
        probe: of the image, where it is known from another structure. Default: fitted.

    Raises:
        BadInput: the structure's place in the image is not known, or not in the image.
    """
    try:
        return _compared(Scene.of(image, segmentation, atoms, built if built is not None else atoms), probe)
    except (RuntimeError, np.linalg.LinAlgError) as problem:  # a singular fit: too few atoms, or pixels, for it
        raise BadInput(f"the structure cannot be fitted to the image: {problem}") from problem


def _compared(scene: Scene, probe: Probe | None) -> Agreement:
    registration = register(scene, probe)
    crop, sites, peaks, unit = scene.crop, registration.sites, registration.peaks, registration.unit
    count = len(sites)
    judge = Judge(scene, registration, Brightness(scene.host), faintest(scene))
    exponent = judge.brightness.read_off(scene.species_at(peaks.positions), judge.height)
    if exponent is not None:
        judge = replace(judge, brightness=Brightness(scene.host, exponent))
    missing = count + np.flatnonzero(
        claimed_empty(scene, registration, peaks.positions[count:]) & judge.certain[count:]
    )
    heights = np.concatenate([judge.expected, judge.height[count:]])
    every = np.vstack([sites, peaks.positions[count:]])
    drawn = peaks.probe.draw(every, heights, crop.pixel_size, crop.shape).astype(float)
    if len(missing):  # what the structure lacks is no part of its drawing
        drawn -= peaks.probe.draw(peaks.positions[missing], judge.height[missing], crop.pixel_size, crop.shape)
    frame = (crop.pixels - peaks.background) / unit
    area = np.asarray(cKDTree(sites).query(crop.points)[0] < AREA).reshape(crop.shape)
    places = np.vstack([sites, peaks.positions[missing]])
    noise = float(np.sqrt((peaks.left[area] ** 2).mean())) / unit
    correction, placement = registration.correction, scene.placement
    scale, turn, shear = correction.parts()
    matrix = correction.matrix @ placement.matrix
    offset = correction.apply((placement.offset - crop.origin)[None])[0] + crop.origin
    shift = correction.offset + scene.sites.mean(axis=0) @ (correction.matrix.T - np.eye(2))
    return Agreement(
        correlation=float(np.corrcoef(frame[area], drawn[area])[0, 1]),
        ceiling=float(np.sqrt(np.clip(1 - noise**2 / max(float(frame[area].var()), 1e-12), 0, 1))),
        shift=(float(shift[0]), float(shift[1])),
        stretch=(scale - 1, turn, shear),
        matrix=((float(matrix[0, 0]), float(matrix[0, 1])), (float(matrix[1, 0]), float(matrix[1, 1]))),
        offset=(float(offset[0]), float(offset[1])),
        probe=peaks.probe.model_copy(update={"scattering_exponent": judge.brightness.exponent}),
        noise=noise,
        verdicts=judge.verdicts(missing, _residuals(crop.points, frame - drawn, places, peaks.probe.fwhm)),
        note="the noise is too strong to assess individual atoms" if judge.hidden else "",
        pixel_size=crop.pixel_size,
        origin=(float(crop.origin[0]), float(crop.origin[1])),
        frame=frame,
        drawn=drawn,
        counted=area,
    )


def _residuals(points: Floats, left: Floats, places: Floats, radius: float) -> Floats:
    """(places,) rms of what is left of the image (rows, columns) within a radius [Å] of each."""
    near = cKDTree(points).query_ball_point(places, radius)
    flat = left.ravel()
    return np.array([np.sqrt((flat[pixels] ** 2).mean()) if pixels else 0.0 for pixels in near])
