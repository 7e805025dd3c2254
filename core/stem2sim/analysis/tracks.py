"""The tracks of atoms through the frames of a stack, and the events along them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EVENT_COLUMNS = ("frame", "track", "kind", "from", "to", "x", "y", "confirmed")

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Event(NamedTuple):
    """Something that happened to an atom."""

    frame: int
    """The first frame after it."""
    track: int
    kind: str
    """birth or death; enters or leaves, where it happened at the border of the field; species change."""
    before: str
    """Species; '' for none."""
    after: str
    x: float
    """Where in that frame the atom is, or would be [Å]."""
    y: float
    confirmed: bool
    """False where too few frames lie on the other side of a birth or death to tell it from a missed atom."""


class Tracks(BaseModel):
    """Every atom of every frame with the number of its track; the columns are arrays of equal length."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    frame: Integers = Field(description="(atoms of all frames,) counted from 0")
    track: Integers = Field(description="which atom it is, counted from 0")
    x: Floats = Field(description="in its frame [Å]")
    y: Floats = Field(description="in its frame [Å]")
    x_drift_corrected: Floats = Field(description="x less the drift since the first frame [Å]")
    y_drift_corrected: Floats = Field(description="y less the drift since the first frame [Å]")
    species: NDArray[np.str_]
    probability: Floats = Field(description="that there is an atom here")
    events: tuple[Event, ...] = Field((), description="by frame", repr=False)
    drift: Floats = Field(description="(frames, 2) of the specimen since the first frame, x, y [Å]", repr=False)
    drift_measured: NDArray[np.bool_] = Field(
        description="(frames,) False where the drift could not be measured and was taken for none", repr=False
    )

    def __len__(self) -> int:
        """Return how many tracks there are."""
        return int(self.track.max()) + 1 if len(self.track) else 0

    def counts(self) -> dict[str, int]:
        """Return events per kind, in the order of the alphabet."""
        kinds = [event.kind for event in self.events]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}

    def to_csv(self) -> str:
        """Return frame,track,x,y,x_drift_corrected,y_drift_corrected,species,probability, sorted by frame and track."""
        columns = [n for n in type(self).model_fields if n not in ("events", "drift", "drift_measured")]
        return _text(columns, zip(*(getattr(self, name).tolist() for name in columns), strict=True))

    def events_csv(self) -> str:
        """Return frame,track,kind,from,to,x,y,confirmed."""
        return _text(EVENT_COLUMNS, self.events)

    @classmethod
    def parse(cls, tracks: str, events: str, drift: str) -> Self:
        """Return what `to_csv`, `events_csv` and `drift_csv` wrote.

        Raises:
            KeyError, ValueError: other text.
        """
        columns = _columns(tracks)
        happened = _columns(events)
        frames = _columns(drift)
        return cls(
            **{name: columns[name].astype(np.int64) for name in ("frame", "track")},
            **{name: columns[name].astype(float) for name in columns if name not in ("frame", "track", "species")},
            species=columns["species"],
            events=tuple(
                Event(int(frame), int(track), kind, before, after, float(x), float(y), confirmed == "1")
                for frame, track, kind, before, after, x, y, confirmed in zip(
                    *(happened[name] for name in EVENT_COLUMNS), strict=True
                )
            ),
            drift=np.column_stack([frames["x"], frames["y"]]).astype(float).reshape(-1, 2),
            drift_measured=frames["measured"] == "1",
        )

    def drift_csv(self) -> str:
        """Return frame,x,y,step_x,step_y,measured: the drift since the first frame and since the one before."""
        steps = np.diff(self.drift, axis=0, prepend=self.drift[:1])
        rows = zip(self.drift.tolist(), steps.tolist(), self.drift_measured.tolist(), strict=True)
        header = ["frame", "x", "y", "step_x", "step_y", "measured"]
        return _text(header, ((k, *total, *step, measured) for k, (total, step, measured) in enumerate(rows)))


def _columns(text: str) -> dict[str, NDArray[np.str_]]:
    header, *lines = csv.reader(io.StringIO(text))
    table = np.array(lines, dtype=np.str_).reshape(len(lines), len(header))
    return dict(zip(header, table.T, strict=True))


def _text(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        values = (int(value) if isinstance(value, bool) else value for value in row)
        writer.writerow([f"{value:.5f}" if isinstance(value, float) else value for value in values])
    return text.getvalue()
