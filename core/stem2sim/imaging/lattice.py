"""Pixel size, stretch and rotation of a frame, measured from its own lattice."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage, optimize

from stem2sim.lattice import GRAPHENE, Lattice

SEARCH = (0.755, 1.305)
"""True over stated pixel size; a range wider than the square root of 3 would take the second order for the first."""

SIGNIFICANT = 25.0
"""Least power of the three spots (geometric mean) over their surroundings; 190 frames of pure noise stayed under 20,
and whole frames of graphene start at 35."""


Floats = NDArray[np.float64]

LARGEST_ANISOTROPY = 1.35
"""A hexagon stretched further than any real scan (1.19 in real frames) is a chance find."""


FINE_ENOUGH = 6.0
"""Pixels per period of the lattice."""


def find_lattice(pixels: NDArray[np.float32], pixel_size: float, lattice_constant: float = GRAPHENE) -> Lattice | None:
    """Find the hexagonal lattice of a frame by its three first-order spots; None if no lattice is found.

    Args:
        pixels: (rows, columns) frame.
        pixel_size: stated [Å]; the true one may differ by -24 to +30 %.
        lattice_constant: of the reference material [Å].
    """
    ring = pixel_size / (lattice_constant * np.sin(np.pi / 3))  # first-order spots, cycles per stated pixel
    block = int(1 / ring // FINE_ENOUGH)
    if block > 1:  # nothing is gained from more pixels per period, and every step costs their number
        coarse = find_lattice(_in_blocks(pixels, block), pixel_size * block, lattice_constant)
        return coarse.magnified(1 / block) if coarse else None
    frame = _flattened(pixels, 1 / ring)
    spots, relative = _spots(frame, ring)
    best: tuple[float, tuple[Floats, Floats]] | None = None
    for (first, power_first), (second, power_second) in combinations(spots, 2):
        second = (
            second if first @ second > 0 else -second
        )  # a spot and its opposite are one; 60 degrees apart is the pair we want
        lengths = np.hypot(*first), np.hypot(*second)
        angle = np.degrees(np.arccos(np.clip(first @ second / (lengths[0] * lengths[1]), -1, 1)))
        if not (45 < angle < 75 and 0.75 < lengths[0] / lengths[1] < 1.33):
            continue
        # the third spot need not be within the range of the other two: a stretched lattice may put it outside
        score = float(np.log(power_first * power_second * max(_near(relative, first - second), 1e-3)))
        if best is None or score > best[0]:
            best = score, (first, second)
    if best is None:
        return None
    refined = _refine(frame, *best[1])
    floor = _surroundings(frame, refined)
    powers = [_power(frame, g) / floor for g in (*refined, refined[0] - refined[1])]
    strength = float(np.exp(np.mean(np.log(powers))))
    if strength < SIGNIFICANT:
        return None
    # rows of g are reciprocal vectors [cycles/pixel]; the columns of their inverse are the direct ones [pixels]
    direct = np.linalg.inv(np.array(refined))
    direct = direct if np.linalg.det(direct) > 0 else direct[:, ::-1]
    ideal = lattice_constant * np.array([[1, np.cos(2 * np.pi / 3)], [0, np.sin(2 * np.pi / 3)]])
    stretch = ideal @ np.linalg.inv(direct)
    largest, smallest = np.linalg.svd(stretch, compute_uv=False)
    if largest / smallest > LARGEST_ANISOTROPY:
        return None
    turned, metric = linalg.polar(stretch)
    row = turned.T @ [1, 0]  # the reference's first row, turned into the frame
    return Lattice(
        pixel_size=float(np.sqrt(largest * smallest)),
        anisotropy=float(largest / smallest),
        angle=float(np.degrees(np.arctan2(row[1], row[0])) % 60),
        strength=float(strength),
        lattice_constant=lattice_constant,
        metric=(float(metric[0, 0]), float(metric[0, 1]), float(metric[1, 1])),
    )


def measured_pixel_size(pixels: NDArray[np.float32], lattice_constant: float) -> float | None:
    """Return the pixel size [Å] that the lattice of a frame implies, without a first guess; None without a lattice.

    Args:
        pixels: (rows, columns) frame.
        lattice_constant: of the material's hexagonal lattice [Å].
    """
    found = []
    period = 4.0  # pixels; a finer lattice is not resolved
    while period < min(pixels.shape) / 3:
        # forty periods say enough, wherever the frame is large
        rows, columns = (
            slice((n - k) // 2, (n + k) // 2) for n, k in ((n, min(n, int(40 * period))) for n in pixels.shape)
        )
        lattice = find_lattice(pixels[rows, columns], lattice_constant / period, lattice_constant)
        if lattice is not None:
            found.append(lattice)
        period *= 1.5
    if not found:
        return None
    # a lattice has spots of second order too, often the brighter ones: the longest period is the lattice itself
    strongest = max(lattice.strength for lattice in found)
    return min(lattice.pixel_size for lattice in found if lattice.strength > 0.05 * strongest)


def _in_blocks(pixels: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Average square blocks of pixels; an incomplete rim is left out."""
    rows, columns = (n // block for n in pixels.shape)
    blocks = pixels[: rows * block, : columns * block].reshape(rows, block, columns, block)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def _flattened(pixels: NDArray[np.float32], period: float) -> Floats:
    """Subtract what varies slower than the lattice, hold back bright spots, fade to the borders."""
    image = pixels.astype(float)
    image = image - ndimage.gaussian_filter(image, period)
    image = np.clip(image, *np.percentile(image, (1, 99)))
    image -= image.mean()
    rows, columns = image.shape
    return np.asarray(image * np.hanning(rows)[:, None] * np.hanning(columns))


def _spots(frame: Floats, ring: float, most: int = 40) -> tuple[list[tuple[Floats, float]], Floats]:
    """The strongest local maxima of the spectrum near the first-order ring, (x, y) [cycles/pixel], and their power.

    And the spectrum that the power is read from, relative to what is usual at each distance from its centre.
    """
    # zeros around a small frame give points between its bins; a large frame has bins enough
    longest = max(frame.shape)
    size = 2 ** int(np.ceil(np.log2(longest if longest > 1024 else 2 * longest)))
    spectrum = np.fft.fftshift(np.abs(np.fft.fft2(frame, (size, size))) ** 2)
    frequency = np.fft.fftshift(np.fft.fftfreq(size))
    fx, fy = np.meshgrid(frequency, frequency)
    radius = np.hypot(fx, fy)
    bins = np.minimum((radius * size / 4).astype(int), size)
    total = np.bincount(bins.ravel(), spectrum.ravel())
    background = total / np.maximum(np.bincount(bins.ravel()), 1)
    relative = spectrum / np.maximum(background[bins], 1e-30)
    # a pixel that is truly larger than stated puts more of the lattice in each pixel: the spots move out with it
    inside = (radius > ring * SEARCH[0]) & (radius < ring * SEARCH[1])
    peak = (relative == ndimage.maximum_filter(relative, size=5)) & inside & (fy >= 0)
    rows, columns = np.nonzero(peak)
    order = np.argsort(relative[rows, columns])[::-1][:most]
    found = [
        (np.array([fx[r, c], fy[r, c]]), float(relative[r, c]))
        for r, c in zip(rows[order], columns[order], strict=True)
    ]
    return found, relative


def _near(relative: Floats, g: Floats) -> float:
    """Largest relative power within two bins of a frequency (x, y) [cycles/pixel]."""
    size = len(relative)
    column, row = np.rint(g * size).astype(int) + size // 2
    around = relative[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
    return float(around.max()) if around.size else 0.0


def _power(frame: Floats, g: Floats) -> float:
    """Power of the frame at one frequency (x, y) [cycles/pixel], between the bins of the discrete transform too."""
    rows, columns = frame.shape
    along = 2 * np.pi * g[0] * np.arange(columns)
    down = np.exp(-2j * np.pi * g[1] * np.arange(rows))
    # two real columns: a complex product would copy the whole frame each time
    real, imaginary = (frame @ np.column_stack([np.cos(along), -np.sin(along)])).T
    return float(abs(down @ real + 1j * (down @ imaginary)) ** 2)


def _refine(frame: Floats, first: Floats, second: Floats) -> tuple[Floats, Floats]:
    def negative(v: Floats) -> float:
        a, b = v[:2], v[2:]
        return -float(np.log(_power(frame, a) * _power(frame, b) * _power(frame, a - b) + 1e-300))

    start = np.concatenate([first, second])
    step = 0.25 / max(frame.shape)
    simplex = np.vstack([start, start + step * np.eye(4)])
    options = {"initial_simplex": simplex, "xatol": 1e-5, "fatol": 1e-4, "maxiter": 400}
    best = optimize.minimize(negative, start, method="Nelder-Mead", options=options).x
    return best[:2], best[2:]


def _surroundings(frame: Floats, spots: tuple[Floats, Floats]) -> float:
    """Usual power on the spots' own ring, turned away from them."""
    apart = []
    for g in spots:
        for degrees in (15, 20, 25, 30, 35, 40, 45):
            turn = np.radians(degrees)
            rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            apart.append(_power(frame, rotation @ g))
    # exponential noise has ln 2 of its mean as its median, which the spots of a second grain do not lift
    return float(np.median(apart) / np.log(2)) + 1e-30
