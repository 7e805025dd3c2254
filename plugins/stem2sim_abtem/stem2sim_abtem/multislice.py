"""Annular dark field images by multislice, through abTEM (Madsen and Susi, Open Research Europe 1, 24 (2021)).

The scan is taken as coarse as the optics allow: no detail of an image of incoherently scattered electrons is finer than
wavelength / (2 convergence), so that a scan of the whole, periodic box with two points to that length holds all there
is, and the pixels asked for follow from its Fourier series, exactly. The probes share their plane waves (PRISM: Ophus,
Adv. Struct. Chem. Imaging 3, 13 (2017)), each seen through a window. A window of 12 Å makes silicon in graphene 1 %
brighter than one of the whole box does; how coarsely a small box samples the aperture adds up to 2 %.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.units import _c, _e, _hplanck, _me
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stem2sim.engines.deadline import check_time
from stem2sim.errors import BadInput
from stem2sim.files import write_atomically
from stem2sim.imaging.forward import FWHM_PER_SIGMA
from stem2sim.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MARGIN = 2.0
"""[Å] of image beside the outermost atoms."""

ROOM = 4.0
"""[Å] between that and the end of the box, over which a probe must have faded: the box repeats."""

ABOVE = 1.5
"""[Å] of the box above and below the atoms; potentials are as good as zero there."""

SLICE = 2.0
"""[Å], thickness."""

WINDOW = 12.0
"""[Å] at least around each probe."""

OVERSAMPLED = 1.25
"""Points of the scan over those that the optics call for."""

LARGEST = 120.0
"""[Å] of box; what is larger needs more memory than most machines have."""

BLOCKS = 8
"""In which each frame is scanned; progress is shown after each."""


@dataclass(frozen=True)
class Micrograph:
    """A simulated image, and where it lies."""

    image: NDArray[np.float64]
    """(rows, columns), in fractions of the incident beam; x along columns, y down rows."""
    pixel_size: float
    """[Å]."""
    origin: tuple[float, float]
    """x, y [Å] of the centre of the top-left pixel, in the structure's coordinates."""
    metadata: dict[str, Any]
    """Options and versions."""

    def write(self, path: Path) -> None:
        """Write an `.npz` file, and a picture beside it (`.png`)."""
        from matplotlib.figure import Figure

        with write_atomically(path) as part:
            np.savez_compressed(
                part,
                image=self.image,
                pixel_size=self.pixel_size,
                origin=np.array(self.origin),
                metadata=json.dumps(self.metadata),
            )
        rows, columns = self.image.shape
        half = self.pixel_size / 2
        left, top = self.origin[0] - half, self.origin[1] - half
        extent = (left, left + columns * self.pixel_size, top + rows * self.pixel_size, top)
        figure = Figure(figsize=(6, 5), layout="constrained")
        axes = figure.subplots()
        drawn = axes.imshow(100 * self.image, cmap="gray", extent=extent, interpolation="nearest")
        axes.set(xlabel="x [Å]", ylabel="y [Å]")
        figure.colorbar(drawn, label="of the beam [%]")
        with write_atomically(path.with_suffix(".png")) as part:
            figure.savefig(part, dpi=150)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` left."""
        with np.load(path, allow_pickle=False) as found:
            origin = found["origin"]
            metadata = json.loads(str(found["metadata"]))
            return cls(found["image"], float(found["pixel_size"]), (float(origin[0]), float(origin[1])), metadata)


class Multislice(BaseModel):
    """The microscope: a probe that scans a thin structure, and an annular detector."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    energy: float = Field(60.0, ge=10, le=1000, description="beam energy [keV]")
    convergence: float = Field(31.0, gt=0, le=100, description="convergence semi-angle of the probe [mrad]")
    detector: tuple[float, float] = Field((86.0, 200.0), description="inner and outer collection angle [mrad]")
    source_size: float = Field(0.7, ge=0, description="full width at half maximum of the source image [Å]")
    dose: float | None = Field(None, gt=0, description="electrons per area, for shot noise; default: no noise [1/Å²]")
    seed: int = Field(0, ge=0, description="random seed of the noise")

    @model_validator(mode="after")
    def _dark_field(self) -> Self:
        inner, outer = self.detector
        if not self.convergence <= inner < outer <= 400:
            raise ValueError(
                f"a dark field detector begins outside the probe's {self.convergence:g} mrad and ends within 400 mrad, "
                f"got {inner:g} to {outer:g} mrad"
            )
        return self

    @property
    def wavelength(self) -> float:
        """Of the electrons [Å], relativistic."""
        volts = 1e3 * self.energy
        momentum = 2 * _me * _e * volts * (1 + _e * volts / (2 * _me * _c**2))
        return float(1e10 * _hplanck / math.sqrt(momentum))

    def image(self, frames: Sequence[Atoms], pixel_size: float) -> Micrograph:
        """Return the mean image of one structure's configurations (frozen phonons), over its own x, y range.

        Args:
            frames: the same atoms, displaced; x, y in the frame's axes, z along the beam [Å].
            pixel_size: of the image [Å].

        Raises:
            BadInput: no atoms, or more room between them than can be computed.
        """
        if not frames or not len(frames[0]):
            raise BadInput("there is no atom to image")
        positions = np.concatenate([atoms.positions for atoms in frames])
        low, high = positions.min(axis=0) - MARGIN, positions.max(axis=0) + MARGIN
        corner, size = low[:2] - ROOM, high[:2] - low[:2] + 2 * ROOM
        if size.max() > LARGEST:
            raise BadInput(
                f"the structure is {size.max() - 2 * (ROOM + MARGIN):.0f} Å wide, at most "
                f"{LARGEST - 2 * (ROOM + MARGIN):.0f} Å can be imaged; cut a patch of it"
            )
        scans = []
        with track("multislice", len(frames) * BLOCKS) as advance:
            for number, atoms in enumerate(frames, start=1):
                boxed = _boxed(atoms, corner, size)
                scans.append(self._scan(boxed, partial(advance, note=f"{number} of {len(frames)}")))
        columns, rows = np.floor((high - low)[:2] / pixel_size).astype(int) + 1
        x, y = (low[k] - corner[k] + pixel_size * np.arange(n) for k, n in enumerate((columns, rows)))
        image = self._resampled(np.mean(scans, axis=0), size, x, y)
        if self.dose is not None:
            electrons = self.dose * pixel_size**2
            rng = np.random.default_rng(self.seed)
            image = rng.poisson(electrons * image.clip(min=0)) / electrons
        made = {**self.model_dump(mode="json"), "frames": len(frames), "abtem": version("abtem")}
        return Micrograph(image, pixel_size, (float(low[0]), float(low[1])), made)

    def _scan(self, atoms: Atoms, advance: Callable[[], None]) -> NDArray[np.float64]:
        """What the detector sees at an even grid over the box, (x, y), in fractions of the beam."""
        abtem = import_module("abtem")  # takes 3 s; and no types come with it
        size = atoms.cell.lengths()[:2]
        windows = np.maximum(1, np.floor(size / WINDOW)).astype(int)
        fine = 0.95 * self.wavelength / (3e-3 * self.detector[1])  # waves over 2/3 of the largest angle are cut
        grid = [int(2 * w * math.ceil(s / fine / (2 * w))) for s, w in zip(size, windows, strict=True)]
        step = self.wavelength / (4e-3 * self.convergence) / OVERSAMPLED
        points = [math.ceil(s / step) for s in size]
        points[0] += -points[0] % BLOCKS
        thickness = atoms.cell.lengths()[2] / _slices(atoms)
        with abtem.config.set({"diagnostics.progress_bar": False, "dask.lazy": False}):
            potential = abtem.PotentialArray(_potential(atoms, grid), thickness, extent=tuple(size))
            optics = {"semiangle_cutoff": self.convergence, "energy": 1e3 * self.energy}
            if windows.max() > 1:
                shared = {"interpolation": tuple(map(int, windows)), "downsample": False}
                measure = abtem.SMatrix(potential=potential, **shared, **optics).build(lazy=False).reduce
            else:  # nothing to gain from sharing
                measure = partial(abtem.Probe(gpts=grid, extent=tuple(size), soft=True, **optics).scan, potential)
            detector = abtem.AnnularDetector(*self.detector)
            found = []
            for block in range(BLOCKS):
                start, end = (size[0] * k / BLOCKS for k in (block, block + 1))
                scan = abtem.GridScan((start, 0), (end, size[1]), gpts=(points[0] // BLOCKS, points[1]), endpoint=False)
                found.append(np.asarray(measure(scan=scan, detectors=detector).array, dtype=float))
                advance()
                check_time(0, "a frame")  # an interrupt that a destructor swallowed
        return np.concatenate(found)

    def _resampled(
        self, scan: NDArray[np.float64], size: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The (rows, columns) image at x and y [Å] of a periodic scan (x, y), blurred by the source."""
        sigma = self.source_size / FWHM_PER_SIGMA
        series = np.fft.fft2(scan) / scan.size
        waves = []
        for axis, places in enumerate((x, y)):
            q = np.fft.fftfreq(scan.shape[axis], size[axis] / scan.shape[axis])
            blur = np.exp(-2 * (np.pi * sigma * q) ** 2)
            waves.append(blur * np.exp(2j * np.pi * np.outer(places, q)))
        return np.asarray((waves[0] @ series @ waves[1].T).real.T)


def _slices(atoms: Atoms) -> int:
    return max(1, math.ceil(float(atoms.cell.lengths()[2]) / SLICE))


def _potential(atoms: Atoms, grid: Sequence[int]) -> NDArray[np.float32]:
    """The (slices, x, y) potential [V Å] of neutral atoms (Lobato and Van Dyck), each exactly where it is.

    abTEM's own spreads an atom over the four pixels around it. At detectors' angles that costs an atom between pixels a
    tenth of its brightness.
    """
    factors = import_module("abtem.parametrizations").LobatoParametrization().projected_scattering_factor
    count = _slices(atoms)
    size = atoms.cell.lengths()
    kx, ky = (np.fft.fftfreq(n, s / n) for n, s in zip(grid, size[:2], strict=True))
    squared = kx[:, None] ** 2 + ky[None] ** 2
    layer = np.clip((atoms.positions[:, 2] / size[2] * count).astype(int), 0, count - 1)
    potential = np.zeros((count, *grid), dtype=np.float32)
    for number in np.unique(atoms.numbers):
        factor = factors(chemical_symbols[number])(squared)
        for one in np.unique(layer[atoms.numbers == number]):
            x, y, _ = atoms.positions[(atoms.numbers == number) & (layer == one)].T
            phases = np.exp(-2j * np.pi * np.outer(kx, x)) @ np.exp(-2j * np.pi * np.outer(y, ky))
            potential[one] += np.fft.ifft2(factor * phases).real / (size[0] * size[1] / squared.size)
    return potential


def _boxed(atoms: Atoms, corner: NDArray[np.float64], size: NDArray[np.float64]) -> Atoms:
    """Atoms and, along periodic directions, as many of their images as reach into an upright box [Å]."""
    reach = np.zeros(2, dtype=int)
    if atoms.pbc[:2].any():
        apart = 1 / np.linalg.norm(np.asarray(atoms.cell.reciprocal())[:2], axis=1)
        reach = np.where(atoms.pbc[:2], np.ceil(np.hypot(*size) / apart), 0).astype(int)
    shifts = [
        i * atoms.cell[0] + j * atoms.cell[1]
        for i in range(-reach[0], reach[0] + 1)
        for j in range(-reach[1], reach[1] + 1)
    ]
    numbers = np.tile(atoms.numbers, len(shifts))
    positions = np.concatenate([atoms.positions + shift for shift in shifts]) if any(reach) else atoms.positions.copy()
    positions[:, :2] -= corner
    positions[:, 2] -= atoms.positions[:, 2].min() - ABOVE
    inside = ((positions[:, :2] >= 0) & (positions[:, :2] < size)).all(axis=1)
    depth = float(np.ptp(atoms.positions[:, 2])) + 2 * ABOVE
    return Atoms(numbers[inside], positions=positions[inside], cell=[*size, depth])
