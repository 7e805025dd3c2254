"""Synthetic training frames: a random sheet through the forward model, labelled pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stem2sim.imaging.forward import Probe, Scan
from stem2sim_unet.canonical_grid import CANONICAL_PIXEL_SIZE, Grid, normalise
from stem2sim_unet.defective_sheet import random_sheet
from stem2sim_unet.material import brightness, column_atoms

if TYPE_CHECKING:
    from stem2sim_unet.recipe import Recipe

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
    """(atoms, 2) x, y in canonical pixels; without atoms under contamination."""
    species: Ints
    """(atoms,) index into the classes."""
    noise: float


def smooth_field(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> Floats:
    """Return a random field of unit spread, correlated over `sigma` pixels."""
    spectrum = ndimage.fourier_gaussian(np.fft.rfft2(rng.normal(size=shape)), sigma, n=shape[1])
    field = np.fft.irfft2(spectrum, shape)
    return np.asarray(field / max(float(field.std()), 1e-12))


def contamination(shape: tuple[int, int], pixel_size: float, rng: np.random.Generator) -> Floats:
    """Return random blobs with a granular texture, in carbon peaks."""
    blobs = smooth_field(shape, max(4.0, rng.uniform(1.5, 6) / pixel_size), rng) > rng.uniform(0.4, 2.2)
    soft = ndimage.gaussian_filter(blobs.astype(float), 0.6 / pixel_size)
    grain = np.clip(1 + 0.5 * smooth_field(shape, rng.uniform(0.5, 1.2) / pixel_size, rng), 0, None)
    return np.asarray(soft * grain * np.exp(rng.uniform(np.log(0.6), np.log(12))))


def random_probe(recipe: Recipe, rng: np.random.Generator) -> Probe:
    """Draw a probe."""
    return Probe(
        fwhm=rng.uniform(*recipe.fwhm),
        tail_weight=rng.uniform(*recipe.tail_weight),
        tail_width=rng.uniform(1.8, 3.2),
        ellipticity=float(np.exp(rng.normal(0, 0.16))),
        scattering_exponent=rng.uniform(*recipe.scattering_exponent),
    )


def random_scan(recipe: Recipe, pixel_size: float, rng: np.random.Generator) -> Scan:
    """Draw dose, offset and scan noise for frames of this pixel size [Å]."""
    jitters, reads_out, smears = rng.random(3) < (0.7, 0.5, 0.3)
    return Scan(
        dose=float(np.exp(rng.uniform(*np.log(recipe.dose)))),
        offset=rng.uniform(0, 0.5),
        detector_noise=rng.uniform(0.02, 0.25) * 0.12 / pixel_size if reads_out else 0.0,
        row_jitter=rng.uniform(0, 0.14) if jitters else 0.0,
        row_drift=rng.uniform(0, 0.08) if jitters else 0.0,
        blur=rng.uniform(0.1, 0.3) if smears else 0.0,
    )


def training_frame(recipe: Recipe, rng: np.random.Generator, size: int = 128) -> TrainingFrame:
    """Return one labelled frame: drawn at a random native pixel size, then read exactly as a real frame is read.

    Args:
        recipe: what may be drawn.
        rng: source of every choice; the same state gives the same frame.
        size: rows and columns on the canonical grid.
    """
    width = size * CANONICAL_PIXEL_SIZE
    native = float(np.exp(rng.uniform(*np.log(recipe.pixel_size))))
    n = int(np.ceil(width / native)) + 1
    sheet = random_sheet(recipe, width, rng)
    centred = sheet.xy + (n - 1) / 2 * native
    probe = random_probe(recipe, rng)
    frame = _rendered(probe, centred, sheet.species, recipe, native, n)
    dirty = rng.random() < recipe.contamination or (len(sheet.xy) == 0 and rng.random() < 0.5)
    dirt = contamination((n, n), native, rng) if dirty else np.zeros((n, n))
    frame += dirt
    if rng.random() < 0.5:
        frame += rng.uniform(0, 0.35) * smooth_field((n, n), n / rng.uniform(3, 8), rng)
    pixels = random_scan(recipe, native, rng).expose(frame.astype(np.float32), native, rng)
    if rng.random() < 0.25:  # frames are often filtered before they reach us
        pixels = ndimage.gaussian_filter(pixels, rng.uniform(0.3, 0.8))
    if rng.random() < 0.05:
        pixels.flat[rng.integers(0, n * n, 3)] *= 20
    grid = Grid.square((n, n), native)
    scaled, noise = normalise(grid.resample(pixels)[:size, :size])
    hidden = grid.resample(dirt.astype(np.float32))[:size, :size] > 1.3
    canonical = grid.from_image(centred / native)
    order = np.argsort([brightness(name, 1.7) for name in recipe.species])
    labels = draw_labels(canonical, sheet.species, (size, size), order)
    labels[hidden] = len(recipe.species)
    column, row = np.rint(canonical).astype(int).reshape(-1, 2).T
    visible = (column >= 0) & (row >= 0) & (column < size) & (row < size)
    visible[visible] = ~hidden[row[visible], column[visible]]
    return TrainingFrame(scaled, labels, canonical[visible], sheet.species[visible], noise)


def _rendered(
    probe: Probe, centred: Floats, species: Ints, recipe: Recipe, pixel_size: float, n: int
) -> NDArray[np.float64]:
    """The noise-free frame, in units of the faintest column's peak: contrast is what dose and background relate to."""
    atoms = [column_atoms(name) for name in recipe.species]
    which = np.array([k for k, kind in enumerate(species) for _ in atoms[kind]], dtype=np.int64)
    numbers = np.array([z for kind in species for z in atoms[kind]], dtype=np.int64)
    frame = probe.render(centred[which].reshape(-1, 2), numbers, pixel_size, (n, n)).astype(float)
    own = set(recipe.sheet_of.columns)
    faintest = min(brightness(name, probe.scattering_exponent) for name in own)
    return np.asarray(frame / (faintest / 6**probe.scattering_exponent))


def draw_labels(canonical: Floats, species: Ints, shape: tuple[int, int], order: Ints) -> NDArray[np.uint8]:
    """Return class indices per pixel: a disc per atom, background elsewhere.

    Args:
        canonical: (atoms, 2) x, y [canonical pixels].
        species: (atoms,) class indices.
        shape: rows, columns.
        order: class indices from bottom to top: a brighter atom covers a fainter one.
    """
    labels = np.full(shape, len(order), dtype=np.uint8)
    radius = LABEL_RADIUS / CANONICAL_PIXEL_SIZE
    steps = np.arange(-np.ceil(radius) - 1, np.ceil(radius) + 2)
    around = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    for kind in order:
        centres = canonical[species == kind]
        pixels = np.rint(centres)[:, None] + around
        covered = np.hypot(*np.moveaxis(pixels - centres[:, None], -1, 0)) <= radius
        x, y = pixels[covered].astype(int).T
        within = (x >= 0) & (y >= 0) & (x < shape[1]) & (y < shape[0])
        labels[y[within], x[within]] = kind
    return labels
