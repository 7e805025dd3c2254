"""Atoms linked from frame to frame of a stack: which is which, and what happened to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from stem2sim.analysis.tracks import Event, Tracks
from stem2sim.imaging.drift import drift

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stem2sim.atoms_table import AtomsTable
    from stem2sim.image import Image

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

REACH = 0.7
"""[Å]; half the shortest bond of carbon: further on, the next atom is nearer."""

GAP = 2
"""Frames in a row in which an atom may be missed and still be the same atom."""

BORDER = 1.5
"""[Å]; this close to the border of the field, an atom that appears or goes may only have moved across it."""


def link(
    tables: Iterable[AtomsTable | None],
    frames: Iterable[Image | None] | None = None,
    field: tuple[float, float] | None = None,
    reach: float = REACH,
    gap: int = GAP,
) -> Tracks:
    """Follow atoms from frame to frame.

    The drift between frames is removed first (see `drift` for what it can and cannot tell). Then each frame's atoms are
    given to the tracks so that the sum of squared distances is least, over all of them at once; a pair left apart costs
    `reach` squared. Species have no say in it: an atom that another one replaces in its place is a species change.

    Args:
        tables: atoms of each frame; None for a frame that could not be read, in which nothing is missed.
        frames: pixels of each frame, which help with the drift; read in step with the tables, two at a time.
        field: width and height of the field of view [Å]. Default: what the atoms of all frames span; then events
            at the edge of an island that is smaller than the frame then count as events at its border.
        reach: furthest that an atom moves between frames, drift apart [Å].
        gap: frames in a row in which an atom may be missed.
    """
    ordered = [None if table is None else _in_order(table) for table in tables]
    box = _box(ordered, field)
    pictures = iter(frames) if frames is not None else iter(())
    linker = _Linker(reach, gap)
    total, drifts, measured = np.zeros(2), [], []
    previous: tuple[AtomsTable, Image | None] | None = None
    for number, table in enumerate(ordered):
        picture = next(pictures, None)
        known = previous is None
        if table is not None:
            if previous is not None:
                both = None if picture is None or previous[1] is None else (previous[1], picture)
                shift = drift(previous[0], table, box, both)
                known = shift is not None
                total = total + (shift or (0.0, 0.0))
            previous = table, picture
            linker.add(number, table, total)
        drifts.append(total)
        measured.append(known and table is not None)
    columns = linker.columns()
    moved = np.array(drifts).reshape(-1, 2)
    looked_at = [number for number, table in enumerate(ordered) if table is not None]
    events = _events(columns, moved, looked_at, box, gap)
    return Tracks(**columns, events=events, drift=moved, drift_measured=np.array(measured, dtype=bool))


def _in_order(table: AtomsTable) -> AtomsTable:
    """The same atoms in an order that does not depend on how they were listed."""
    return table.chosen(np.lexsort([table.probability, table.species, table.y, table.x]))


def _box(tables: Iterable[AtomsTable | None], field: tuple[float, float] | None) -> tuple[float, float, float, float]:
    """Left, top, right, bottom [Å]."""
    if field is not None:
        return 0.0, 0.0, *field
    places = [table.positions for table in tables if table is not None and len(table)]
    if not places:
        return 0.0, 0.0, 0.0, 0.0
    low, high = np.vstack(places).min(axis=0), np.vstack(places).max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


class _Linker:
    """The tracks so far, and where those that go on were last seen."""

    def __init__(self, reach: float, gap: int) -> None:
        self._reach, self._gap = reach, gap
        self._looked = 0
        """Frames looked at."""
        self._started = 0
        self._track: Integers = np.zeros(0, dtype=np.int64)
        self._last: Floats = np.zeros((0, 2))
        """Positions, drift removed [Å]."""
        self._latest: Integers = np.zeros(0, dtype=np.int64)
        self._rows: list[dict[str, NDArray[Any]]] = []

    def add(self, number: int, table: AtomsTable, moved: Floats) -> None:
        """Give the atoms of the next frame to tracks, or start new ones."""
        places = table.positions - moved
        mine, theirs = assign(self._last, places, self._reach)
        track = np.full(len(table), -1, dtype=np.int64)
        track[theirs] = self._track[mine]
        new = track < 0
        track[new] = self._started + np.arange(int(new.sum()))
        self._started += int(new.sum())
        lost = np.ones(len(self._track), dtype=bool)
        lost[mine] = False
        waits = lost & (self._looked - self._latest <= self._gap)
        self._track = np.concatenate([self._track[waits], track])
        self._last = np.vstack([self._last[waits], places])
        self._latest = np.concatenate([self._latest[waits], np.full(len(table), self._looked)])
        self._looked += 1
        row = {"frame": np.full(len(table), number), "track": track, "x": table.x, "y": table.y}
        row |= {"x_drift_corrected": places[:, 0], "y_drift_corrected": places[:, 1]}
        row |= {"species": table.species, "probability": table.probability}
        order = np.argsort(track)
        self._rows.append({name: column[order] for name, column in row.items()})

    def columns(self) -> dict[str, Any]:
        """Return the columns of `Tracks`."""
        nothing = np.zeros(0)
        whole = dict.fromkeys(("x", "y", "x_drift_corrected", "y_drift_corrected", "probability"), nothing)
        none = {"frame": nothing.astype(int), "track": nothing.astype(int), "species": nothing.astype(np.str_), **whole}
        return {name: np.concatenate([none[name], *(row[name] for row in self._rows)]) for name in none}


def assign(points: Floats, onto: Floats, reach: float) -> tuple[Integers, Integers]:
    """Pair points (n, 2) of two sets, each at most once and within `reach`, at the least sum of squared distances.

    A pair not made costs `reach` squared, so that of two that compete for a partner the nearer gets it. The optimum is
    global: it is found group by group, and points of different groups are out of each other's reach.
    """
    if not len(points) or not len(onto):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    near = cKDTree(points).sparse_distance_matrix(cKDTree(onto), reach, output_type="ndarray")
    near = near[np.lexsort([near["j"], near["i"]])]
    first, second = near["i"].astype(np.int64), near["j"].astype(np.int64)
    gain = reach**2 - near["v"] ** 2
    size = len(points) + len(onto)
    graph = sparse.coo_array((np.ones(len(near)), (first, second + len(points))), shape=(size, size))
    _, group = sparse.csgraph.connected_components(graph, directed=False)
    group = group[first]
    alone = np.bincount(group)[group] == 1  # most atoms have one candidate, who has no other
    pairs = [np.column_stack([first[alone], second[alone]])]
    order = np.argsort(group[~alone], kind="stable")
    crowded = np.flatnonzero(~alone)[order]
    for members in np.split(crowded, np.flatnonzero(np.diff(group[crowded])) + 1) if len(crowded) else []:
        rows, row = np.unique(first[members], return_inverse=True)
        columns, column = np.unique(second[members], return_inverse=True)
        matrix = np.zeros((len(rows), len(columns)))
        matrix[row, column] = gain[members]
        chosen = np.column_stack(linear_sum_assignment(matrix, maximize=True))
        chosen = chosen[matrix[chosen[:, 0], chosen[:, 1]] > 0]
        pairs.append(np.column_stack([rows[chosen[:, 0]], columns[chosen[:, 1]]]))
    linked = np.vstack(pairs)
    return linked[:, 0], linked[:, 1]


def _events(
    columns: dict[str, Any], drifts: Floats, looked_at: list[int], box: tuple[float, float, float, float], gap: int
) -> tuple[Event, ...]:
    frame, track, species = columns["frame"], columns["track"], columns["species"]
    place = np.column_stack([columns["x_drift_corrected"], columns["y_drift_corrected"]])
    order = np.lexsort([frame, track])
    same = track[order][1:] == track[order][:-1]
    turn = {number: k for k, number in enumerate(looked_at)}
    events = []

    def happened(number: int, row: int, kind: str, before: str, after: str, confirmed: bool = True) -> None:
        x, y = (place[row] + drifts[number]).tolist()
        events.append(Event(number, int(track[row]), kind, str(before), str(after), x, y, confirmed))

    def at_border(row: int, *numbers: int) -> bool:
        """Whether the atom is near the border, or beyond it, in one of these frames."""
        where = place[row] + drifts[list(numbers)]
        low, high = np.array(box[:2]) + BORDER, np.array(box[2:]) - BORDER
        return not bool(((where > low) & (where < high)).all())

    for earlier, later in zip(order[:-1][same], order[1:][same], strict=True):
        if species[earlier] != species[later]:
            happened(int(frame[later]), later, "species change", species[earlier], species[later])
    starts = order[np.concatenate([[True], ~same])] if len(order) else order
    ends = order[np.concatenate([~same, [True]])] if len(order) else order
    for row in starts:
        number = int(frame[row])
        if turn[number] > 0:
            kind = "enters" if at_border(row, number, looked_at[turn[number] - 1]) else "birth"
            happened(number, row, kind, "", species[row], turn[number] > gap)
    for row in ends:
        number, left = int(frame[row]), len(looked_at) - 1 - turn[int(frame[row])]
        if left > 0:
            gone = looked_at[turn[number] + 1]
            kind = "leaves" if at_border(row, number, gone) else "death"
            happened(gone, row, kind, species[row], "", left > gap)
    return tuple(sorted(events))
