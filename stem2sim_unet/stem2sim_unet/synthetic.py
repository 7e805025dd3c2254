"""Synthetic training frames: defective graphene with Si through the forward model, labelled pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from stem2sim.forward import Probe, Scan
from stem2sim_unet.canonical import CANONICAL_PIXEL_SIZE, normalise, resample

CLASSES = ("C", "Si", "background")
NUMBERS = np.array([6, 14])
LABEL_RADIUS = 0.42
"""Radius [Å] of the disc that labels one atom."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingFrame:
    """One normalised canonical frame with its labels and the atoms behind it."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.uint8]
    positions: Floats
    """(atoms, 2) x, y in canonical pixels; atoms under contamination left out."""
    numbers: Ints
    noise: float


def graphene(half_width: float, a: float = 2.46) -> Floats:
    """Return x, y [Å] of the graphene lattice within a square of twice the half width [Å]."""
    n = int(2 * half_width / a) + 3
    i, j = (k.ravel() for k in np.mgrid[-n : n + 1, -n : n + 1])
    a1, a2 = np.array([a, 0.0]), np.array([a / 2, a * np.sqrt(3) / 2])
    corner = np.outer(i, a1) + np.outer(j, a2)
    both = np.vstack([corner, corner + (a1 + a2) / 3])
    return np.asarray(both[(np.abs(both) < half_width).all(axis=1)])


def _turned_lattice(half_width: float, rng: np.random.Generator) -> Floats:
    angle = rng.uniform(0, np.pi / 3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    xy = graphene(half_width * 1.45) @ turn.T + rng.uniform(-1.5, 1.5, 2)
    return np.asarray(xy[(np.abs(xy) < half_width).all(axis=1)])


def defective_graphene(width: float, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Return positions [Å] from the frame's centre and atomic numbers of one random sheet.

    Args:
        width: of the field of view [Å]; the sheet reaches beyond it.
        rng: source of every choice.
    """
    half = width * 0.75 + 4
    xy = _turned_lattice(half, rng)
    if rng.random() < 0.25:
        xy = _grain_boundary(xy, _turned_lattice(half, rng), width, rng)
    z = np.full(len(xy), 6)
    if rng.random() > 0.2:
        missing = rng.choice(len(xy), min(rng.poisson(2), len(xy) // 2), replace=False)
        xy, z = np.delete(xy, missing, axis=0), np.delete(z, missing)
        if rng.random() < 0.35:
            kept = _outside_hole(xy, width, rng)
            xy, z = xy[kept], z[kept]
        xy, z = _silicon(xy, z, width, rng)
    xy = xy + rng.normal(0, 0.04, xy.shape)
    strain = np.eye(2) * (1 + rng.normal(0, 0.02)) + rng.normal(0, 0.02, (2, 2))
    return xy @ strain.T, z


def _grain_boundary(xy: Floats, other: Floats, width: float, rng: np.random.Generator) -> Floats:
    angle = rng.uniform(0, 2 * np.pi)
    normal = np.array([np.cos(angle), np.sin(angle)])
    at = rng.uniform(-width / 3, width / 3)
    joined = np.vstack([xy[xy @ normal < at], other[other @ normal >= at]])
    clashes = cKDTree(joined).query_pairs(1.15, output_type="ndarray")
    return np.delete(joined, np.unique(clashes[:, 1]), axis=0)


def _outside_hole(xy: Floats, width: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """An irregular hole, or (far from its centre) the edge of the sheet."""
    far = rng.random() < 0.3
    centre = rng.uniform(-width / 2, width / 2, 2) * (2.0 if far else 1.0)
    radius = rng.uniform(0.5, 0.9) * width if far else rng.uniform(2.5, 0.45 * width)
    away = xy - centre
    angle = np.arctan2(away[:, 1], away[:, 0])
    phase = rng.uniform(0, 2 * np.pi, 3)
    rim = radius * (
        1
        + 0.2 * np.sin(2 * angle + phase[0])
        + 0.15 * np.sin(3 * angle + phase[1])
        + 0.1 * np.sin(5 * angle + phase[2])
    )
    return np.asarray(np.hypot(away[:, 0], away[:, 1]) > rim)


def _silicon(xy: Floats, z: Ints, width: float, rng: np.random.Generator) -> tuple[Floats, Ints]:
    inside = np.flatnonzero((np.abs(xy) < width / 2).all(axis=1))
    count = rng.poisson(1.6)
    if count == 0 or len(inside) <= count + 4:
        return xy, z
    sites = rng.choice(inside, count, replace=False)
    z[sites] = 14
    if rng.random() < 0.35:  # a cluster
        near = np.argsort(np.hypot(*(xy - xy[sites[0]]).T))
        z[near[1 : 1 + rng.integers(1, 4)]] = 14
    for site in sites:
        if rng.random() < 0.35:  # fourfold: Si in a divacancy
            neighbour = np.argsort(np.hypot(*(xy - xy[site]).T))[1]
            if z[neighbour] == 6:
                xy[site] = (xy[site] + xy[neighbour]) / 2
                xy, z = np.delete(xy, neighbour, axis=0), np.delete(z, neighbour)
                break
    for site in np.flatnonzero(z > 6):  # Si-C bonds are longer than C-C
        away = xy - xy[site]
        r = np.hypot(*away.T)
        near = (r > 0.05) & (r < 2.2)
        push = 0.28 * np.exp(-np.clip(r[near] - 1.42, 0, None) / 0.6)
        xy[near] += away[near] / r[near, None] * push[:, None]
    return xy, z


def smooth_field(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> Floats:
    """Return a random field of unit spread, correlated over `sigma` pixels."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    return np.asarray(field / max(float(field.std()), 1e-12))


def _contamination(shape: tuple[int, int], pixel_size: float, rng: np.random.Generator) -> Floats:
    blobs = smooth_field(shape, max(4.0, rng.uniform(1.5, 6) / pixel_size), rng) > rng.uniform(0.4, 2.2)
    soft = ndimage.gaussian_filter(blobs.astype(float), 0.6 / pixel_size)
    grain = np.clip(1 + 0.5 * smooth_field(shape, rng.uniform(0.5, 1.2) / pixel_size, rng), 0, None)
    return np.asarray(soft * grain * np.exp(rng.uniform(np.log(0.6), np.log(12))))


def random_probe(rng: np.random.Generator) -> Probe:
    """Draw a probe; the scattering exponent spans ADF to HAADF detectors."""
    return Probe(
        fwhm=rng.uniform(0.85, 1.6),
        tail_weight=rng.uniform(0, 0.5),
        tail_width=rng.uniform(1.8, 3.2),
        ellipticity=float(np.exp(rng.normal(0, 0.16))),
        scattering_exponent=min(rng.uniform(1.5, 2.05), 2.0),
    )


def random_scan(pixel_size: float, rng: np.random.Generator) -> Scan:
    """Draw dose, offset and scan noise for frames of this pixel size [Å]."""
    jitters, reads_out, smears = rng.random(3) < (0.7, 0.5, 0.3)
    return Scan(
        dose=float(np.exp(rng.uniform(np.log(60), np.log(6000)))),
        offset=rng.uniform(0, 0.5),
        detector_noise=rng.uniform(0.02, 0.25) * 0.12 / pixel_size if reads_out else 0.0,
        row_jitter=rng.uniform(0, 0.14) if jitters else 0.0,
        row_drift=rng.uniform(0, 0.08) if jitters else 0.0,
        blur=rng.uniform(0.1, 0.3) if smears else 0.0,
    )


def training_frame(rng: np.random.Generator, size: int = 128) -> TrainingFrame:
    """Return one labelled frame: drawn at a random native pixel size, then read exactly as a real frame is read.

    Args:
        rng: source of every choice; the same state gives the same frame.
        size: rows and columns on the canonical grid.
    """
    width = size * CANONICAL_PIXEL_SIZE
    native = float(np.exp(rng.uniform(np.log(0.06), np.log(0.2))))
    n = int(np.ceil(width / native)) + 1
    xy, z = defective_graphene(width, rng)
    centred = xy + (n - 1) / 2 * native
    frame = random_probe(rng).render(centred, z, native, (n, n)).astype(float)
    dirt = _contamination((n, n), native, rng) if rng.random() < 0.35 else np.zeros((n, n))
    frame += dirt
    if rng.random() < 0.5:
        frame += rng.uniform(0, 0.35) * smooth_field((n, n), n / rng.uniform(3, 8), rng)
    pixels = random_scan(native, rng).expose(frame.astype(np.float32), native, rng)
    if rng.random() < 0.25:  # frames are often filtered before they reach us
        pixels = ndimage.gaussian_filter(pixels, rng.uniform(0.3, 0.8))
    if rng.random() < 0.05:
        pixels.flat[rng.integers(0, n * n, 3)] *= 20
    scaled, noise = normalise(resample(pixels, native)[:size, :size])
    hidden = resample(dirt.astype(np.float32), native)[:size, :size] > 1.3
    canonical = (centred / native + 0.5) * (native / CANONICAL_PIXEL_SIZE) - 0.5
    labels = draw_labels(canonical, z, (size, size))
    labels[hidden] = len(CLASSES) - 1
    column, row = np.rint(canonical).astype(int).T
    seen = (column >= 0) & (row >= 0) & (column < size) & (row < size)
    seen[seen] = ~hidden[row[seen], column[seen]]
    return TrainingFrame(scaled, labels, canonical[seen], z[seen], noise)


def draw_labels(canonical: Floats, numbers: Ints, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return class indices per pixel: a disc per atom, heavier atoms on top, background elsewhere."""
    labels = np.full(shape, len(CLASSES) - 1, dtype=np.uint8)
    radius = LABEL_RADIUS / CANONICAL_PIXEL_SIZE
    reach = int(np.ceil(radius)) + 1
    rows, columns = shape
    for k in np.argsort(numbers, kind="stable"):
        x, y = canonical[k]
        top, left = max(0, int(y) - reach), max(0, int(x) - reach)
        bottom, right = min(rows, int(y) + reach + 2), min(columns, int(x) + reach + 2)
        if top >= bottom or left >= right:
            continue
        yy, xx = np.mgrid[top:bottom, left:right]
        disc = (yy - y) ** 2 + (xx - x) ** 2 <= radius**2
        labels[top:bottom, left:right][disc] = int(np.searchsorted(NUMBERS, numbers[k]))
    return labels
