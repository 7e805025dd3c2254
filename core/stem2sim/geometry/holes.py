"""Holes of a sheet along a trajectory, and whether they heal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stem2sim.geometry.rings import LARGEST_RING, Faces
from stem2sim.geometry.superposition import nearest_image

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

CHANGED = 0.1
"""Share of its area by which a hole must have changed to be called smaller or larger; ripples and heat change it by one
or two in a hundred."""

SAME = 0.5
"""Two holes are one at two times if they share this part of the atoms round the smaller."""


class Hole(BaseModel):
    """One hole, a ring of more than 8 atoms, from its first frame to its last.

    Area and perimeter are of the polygon through the middles of the atoms, in the plane of the sheet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: str = Field(description="outcome: unchanged, smaller, larger, healed, joined, opened to the edge")
    first: float = Field(description="time of the first frame with this hole [fs]")
    last: float = Field(description="time of the last frame with it [fs]")
    centre: tuple[float, float, float] = Field(description="in the first frame [Å]")
    atoms: tuple[int, ...] = Field(description="numbers of the atoms around it in the first frame, in order")
    atoms_last: tuple[int, ...] = Field(description="numbers of the atoms around it in the last frame")
    area: float = Field(description="in the first frame [Å²]")
    area_end: float = Field(description="mean over the last tenth of the frames, 0 in frames without it [Å²]")
    perimeter: float = Field(description="in the first frame [Å]")
    perimeter_end: float = Field(description="mean over the last tenth of the frames, 0 in frames without it [Å]")
    healed: bool = Field(description="whether it is absent from the last tenth of the frames, with rings in its place")


@dataclass
class _Track:
    """A hole that is followed."""

    first: float
    atoms: tuple[int, ...]
    area: float
    perimeter: float
    centre: NDArray[np.float64]
    opened: bool
    last: float = 0.0
    now: tuple[int, ...] = ()
    members: frozenset[int] = frozenset()
    place: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    radius: float = 0.0
    size: float = 0.0
    gone: float | None = None
    fate: str = "healed"
    sums: tuple[float, float, int] = (0.0, 0.0, 0)


class Holes:
    """The holes of one frame after another: the same one by the atoms it shares, and by its place."""

    def __init__(self) -> None:
        """Start without a frame."""
        self._tracks: list[_Track] = []
        self._frames = 0
        self._late = 0  # frames of the last tenth

    def frame(self, time: float, atoms: Atoms, every: Faces, numbers: NDArray[np.int64], late: bool) -> None:
        """Take the next frame.

        Args:
            time: of it [fs].
            atoms: for the cell.
            every: its faces.
            numbers: (atoms of the faces,) their numbers in the structure.
            late: whether it is of the last tenth.
        """
        wide = np.flatnonzero(every.ring & (every.size > LARGEST_RING)).tolist()
        self._frames += 1
        self._late += late
        if not wide and not self._tracks:
            return
        members = {k: tuple(numbers[every.members(k)].tolist()) for k in wide}
        sets = {k: frozenset(m) for k, m in members.items()}
        likely = sorted(
            (-shared, t, k)
            for t, track in enumerate(self._tracks)
            for k in wide
            if (shared := self._shared(track, sets[k], every.centre[k], atoms))
        )
        taken: dict[int, int] = {}  # track -> face
        for _, t, k in likely:
            if t not in taken and k not in taken.values():
                taken[t] = k
        for t, track in enumerate(self._tracks):
            if t not in taken and track.gone is None:
                track.gone = time
                track.fate = self._fate(track, every, numbers, sets)
        for k in wide:
            if k in taken.values():
                track = next(self._tracks[t] for t, face in taken.items() if face == k)
            else:
                area, round_it = float(every.area[k]), float(every.perimeter[k])
                track = _Track(time, members[k], area, round_it, every.centre[k], opened=self._frames > 1)
                self._tracks.append(track)
            track.last, track.gone = time, None
            track.now, track.members, track.place = members[k], sets[k], every.centre[k]
            track.radius, track.size = float(np.sqrt(every.area[k] / np.pi)), float(every.area[k])
            if late:
                area, round_it, count = track.sums
                track.sums = area + track.size, round_it + float(every.perimeter[k]), count + 1

    def _shared(self, track: _Track, members: frozenset[int], centre: NDArray[np.float64], atoms: Atoms) -> int:
        """Atoms that a face shares with a hole, 0 where it is another."""
        shared = len(members & track.members)
        if shared >= SAME * min(len(members), len(track.members)):
            return shared
        here = shared and np.linalg.norm(nearest_image((centre - track.place)[None], atoms)[0, :2]) < track.radius
        return shared if here else 0

    def _fate(self, track: _Track, every: Faces, numbers: NDArray[np.int64], sets: dict[int, frozenset[int]]) -> str:
        """What a hole that is not there any more has become."""
        most = SAME * len(track.members)
        if any(len(track.members & other) >= most for other in sets.values()):
            return "joined"
        outside = np.flatnonzero(~every.ring).tolist()
        rim = {a for k in outside for a in numbers[every.members(k)].tolist()}
        # a hole beside the edge has some atoms on it all along: then all others of the hole must be on it too
        return "edge" if len(track.members & rim) > 0.8 * len(track.members) else "healed"

    def describe(self) -> tuple[Hole, ...]:
        """Return every hole that was there, with a verdict."""
        return tuple(self._describe(track) for track in self._tracks)

    def _describe(self, track: _Track) -> Hole:
        area, perimeter, count = track.sums
        late = max(self._late, 1)
        area_end = area / late if self._late else (0.0 if track.gone is not None else track.size)
        remains = count > 0 if self._late else track.gone is None
        return Hole(
            verdict=self._verdict(track, area_end, remains, count / late),
            first=track.first,
            last=track.last,
            centre=(float(track.centre[0]), float(track.centre[1]), float(track.centre[2])),
            atoms=track.atoms,
            atoms_last=track.now,
            area=track.area,
            area_end=area_end,
            perimeter=track.perimeter,
            perimeter_end=perimeter / late,
            healed=not remains and track.fate == "healed",
        )

    def _verdict(self, track: _Track, area_end: float, remains: bool, share: float) -> str:
        start = f"{len(track.atoms)} atoms, {track.area:.1f} Å²"
        opened = f"opened at {track.first:g} fs ({start})" if track.opened else ""
        if not remains:
            ways = {"healed": "healed", "joined": "joined another hole", "edge": "opened to the edge"}
            gone = f"{ways[track.fate]} at {track.gone:g} fs"
            return f"{opened}, {gone}" if opened else f"{gone} ({start} at the start)"
        change = area_end / track.area - 1
        size = f"{track.area:.1f} Å² to {area_end:.1f} Å², the mean over the last tenth of the frames"
        if abs(change) < CHANGED:
            verdict = f"unchanged (within {100 * CHANGED:.0f} %: {size})"
        else:
            verdict = f"{'smaller' if change < 0 else 'larger'} by {100 * abs(change):.0f} % ({size})"
        verdict += f", present in {100 * share:.0f} % of them" if 0 < share < 1 else ""
        return f"{opened}; since then {verdict}" if opened else verdict
