"""What happens along a trajectory: bonds, rings, holes, displacement and distributions, in one pass over its frames."""

from __future__ import annotations

import json
import logging
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stem2sim.analysis.distribution import AngleDistribution, RadialDistribution
from stem2sim.analysis.events import BondEvent, Bonding
from stem2sim.errors import BadInput
from stem2sim.files import write_text
from stem2sim.geometry.bonds import pair_kinds
from stem2sim.geometry.holes import Hole, Holes
from stem2sim.geometry.rings import LARGEST_RING, Faces, faces, of_the_sheet
from stem2sim.geometry.superposition import nearest_image, superposed
from stem2sim.progress import track

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.engines.trajectory import Trajectory
    from stem2sim.geometry.pairs import Pairs
    from stem2sim.simulation import SimulationResult

log = logging.getLogger("stem2sim")

TIME = "time [fs]"

POINTS = 2000
"""Of a series at most, about; events and holes are looked for in every frame."""

SMALLEST, WIDEST = 3, 12
"""Atoms of the rings that are counted by size."""


class Evolution(BaseModel):
    """What happened along one trajectory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(description="frames analysed")
    stride: int = Field(description="frames of the trajectory from one analysed frame to the next")
    series: dict[str, list[float | None]] = Field(
        description="equally long, names end in their unit; None where there is no such bond", repr=False
    )
    events: tuple[BondEvent, ...] = Field(description="bonds that broke and formed, in order")
    holes: tuple[Hole, ...] = Field(description="rings of more than 8 atoms, each followed over time")
    rings_start: dict[int, int] = Field(description="size -> count in the first frame, sizes 3 to 12")
    rings_end: dict[int, int] = Field(description="in the last frame")
    radial: dict[str, list[float]] = Field(
        description="neighbours per atom and per Å in bins of 0.05 Å up to 6 Å, over the second half", repr=False
    )
    angles: dict[str, list[float]] = Field(
        description="share of the angles in each degree from 0 to 180, over the second half", repr=False
    )

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one of the series as an array; nan where there is no value."""
        return np.array(self.series[name], dtype=float)

    def write(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        write_text(path, json.dumps(self.model_dump(mode="json")))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` left.

        Raises:
            BadInput: missing or damaged file.
        """
        try:
            return cls.parse(path.read_bytes(), path)
        except OSError as problem:
            raise BadInput(f"cannot read an evolution from {path.name}: {problem}") from problem

    @classmethod
    def parse(cls, content: bytes, path: Path) -> Self:
        """Return what the content of a file says; the path is for messages.

        Raises:
            BadInput: a damaged file.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as problem:
            raise BadInput(f"cannot read an evolution from {path.name}: {str(problem).splitlines()[0]}") from problem


def evolution_of(result: SimulationResult, trajectory: Trajectory | None, stride: int = 1) -> Evolution:
    """Return what happened along the trajectory of a result.

    Args:
        result: of dynamics, with its times.
        trajectory: of it.
        stride: look at every such frame only.

    Raises:
        BadInput: the result has no trajectory with times, or the file is not there.
    """
    times = result.observables.get(TIME, [])
    if trajectory is None or not times:
        raise BadInput(
            f"{result.label or 'the result'} is not from molecular dynamics: it has no trajectory with times"
        )
    pairs = zip(times, trajectory.frames(), strict=False)
    return evolution(pairs, len(times), stride)


def evolution(frames: Iterable[tuple[float, Atoms]], count: int, stride: int = 1) -> Evolution:
    """Return what happens along a trajectory; one pass, of which no frame is kept.

    Rigid motion since the first frame is removed: drift and rotation, or in a periodic cell drift only, atoms being
    followed through its borders. The sheet lies in the x, y plane of the first frame.

    Args:
        frames: times [fs] and atoms, the same ones in each; up to `count` of them.
        count: how many frames there are, from which follows where the second half and the last tenth begin.
        stride: look at every such frame only.

    Raises:
        BadInput: no frame, or a stride below 1.
    """
    if stride < 1:
        raise BadInput(f"the stride must be at least 1, got {stride}")
    number = -(-count // stride)
    every = -(-number // POINTS)
    record = None
    with track("analysis", number) as advance:
        for k, (time, atoms) in enumerate(islice(frames, 0, count, stride)):
            record = record or _Observations(atoms)
            ends = k == number - 1
            record.frame(time, atoms, keep=k % every == 0 or ends, half=2 * k >= number, late=10 * (k + 1) > 9 * number)
            advance()
    if record is None:
        raise BadInput("no frames to analyse: the trajectory is empty or missing")
    if record.frames < number:
        log.warning("%d frames instead of %d: means over the last frames cover a shorter time", record.frames, number)
    return record.describe(stride)


class _Observations:
    """What is remembered of the frames so far."""

    def __init__(self, first: Atoms) -> None:
        self._now = first.copy()
        self._now.calc = None
        self._now.set_constraint()
        self._reference = first.positions.copy()
        self._unwrapped = first.positions.copy()
        self._sheet = np.flatnonzero(of_the_sheet(first))
        self._inverse = np.full(len(first), -1)
        self._inverse[self._sheet] = np.arange(len(self._sheet))
        self._species = {str(s): first.symbols == s for s in sorted(set(first.get_chemical_symbols()))}
        self._bonding = Bonding(first)
        self._holes = Holes()
        self._radial, self._angles = RadialDistribution(), AngleDistribution()
        self._rows: list[dict[str, float]] = []
        self._kinds: set[str] = set()
        self._rings: list[Counter[int]] = []  # of the first and the last frame
        self._time = 0.0
        self.frames = 0

    def frame(self, time: float, atoms: Atoms, keep: bool, half: bool, late: bool) -> None:
        if len(atoms) != len(self._now):
            raise BadInput(f"the frame at {time:g} fs has {len(atoms)} atoms, the first {len(self._now)}")
        self.frames, self._time = self.frames + 1, time
        now = self._now
        now.cell = atoms.cell
        steps = nearest_image(atoms.positions - self._unwrapped, atoms)
        self._unwrapped += steps
        if now.pbc.any():
            now.positions = atoms.positions
            d = self._unwrapped - self._reference
            d -= d.mean(axis=0)
        else:
            now.positions = superposed(atoms.positions, self._reference)
            d = now.positions - self._reference
        bonds = self._bonding.frame(time, now)
        every = faces(now.positions[self._sheet], bonds.renumbered(self._inverse))
        self._holes.frame(time, now, every, self._sheet, late)
        sizes = Counter(every.size[every.ring].tolist())
        self._rings = [self._rings[0] if self._rings else sizes, sizes]
        if half:
            self._radial.add(now)
            self._angles.add(now.numbers, bonds)
        if keep:
            self._rows.append({TIME: time, **self._row(bonds, d), **_rings(every, sizes)})

    def _row(self, bonds: Pairs, d: NDArray[np.float64]) -> dict[str, float]:
        row: dict[str, float] = {"bonds broken": self._bonding.broken, "bonds formed": self._bonding.formed}
        numbers, once = self._now.numbers, bonds.chosen(bonds.i < bonds.j)
        kinds, lengths = pair_kinds(numbers[once.i], numbers[once.j]), once.lengths
        for kind in np.unique(kinds).tolist():
            row[f"{kind} [Å]"] = float(lengths[kinds == kind].mean())
        squares, degree = (d**2).sum(axis=1), np.bincount(bonds.i, minlength=len(numbers))
        for species, which in self._species.items():
            row[f"mean square displacement of {species} [Å²]"] = float(squares[which].mean())
            row[f"mean coordination of {species}"] = float(degree[which].mean())
            row[f"lowest coordination of {species}"] = int(degree[which].min())
        return row

    def describe(self, stride: int) -> Evolution:
        names = {name: None for row in self._rows for name in row}
        rings = sorted((n for n in names if n.startswith("rings of")), key=lambda n: int(n.split()[-1]))
        order = [n for n in names if n not in rings] + rings
        series: dict[str, list[Any]] = {
            name: [row.get(name, 0 if name in rings else None) for row in self._rows] for name in order
        }
        start, end = ({n: c[n] for n in range(SMALLEST, WIDEST + 1) if c[n]} for c in self._rings)
        return Evolution(
            frames=self.frames,
            stride=stride,
            series=series,
            events=self._bonding.events(self._time),
            holes=self._holes.describe(),
            rings_start=start,
            rings_end=end,
            radial=self._radial.describe(),
            angles=self._angles.describe(),
        )


def _rings(every: Faces, sizes: Counter[int]) -> dict[str, float]:
    """Rings by size and holes of one frame, by the name of the series."""
    holes = every.ring & (every.size > LARGEST_RING)
    return {
        **{f"rings of {n}": sizes[n] for n in range(SMALLEST, WIDEST + 1) if sizes[n]},
        "holes": int(holes.sum()),
        "atoms round holes": int(every.size[holes].sum()),
        "area of holes [Å²]": float(every.area[holes].sum()),
        "perimeter of holes [Å]": float(every.perimeter[holes].sum()),
    }
