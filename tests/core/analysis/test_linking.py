"""Atoms keep their numbers while the specimen drifts, and what happens to them is told once."""

from __future__ import annotations

import csv
import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from tests.conftest import table_of

from stem2sim.analysis.linking import assign, link
from stem2sim.atoms_table import AtomsTable
from stem2sim.image import Image
from stem2sim.imaging.drift import drift
from stem2sim.imaging.forward import Probe, Scan
from stem2sim.testing import graphene_sheet

Floats = NDArray[np.float64]

FIELD = 36.0
"""[Å]; of a square frame."""

SEEDS = st.integers(0, 2**32 - 1)


def flake(angle: float = 10.0) -> Floats:
    """Return an island of graphene in the middle of the field."""
    xy: Floats = graphene_sheet(18.0, angle).positions[:, :2]
    return xy + (FIELD - 18) / 2


def path(rng: np.random.Generator, frames: int, step: float) -> Floats:
    """Return where a specimen is that moves by at most `step` [Å] between frames."""
    angle, length = rng.uniform(0, 2 * np.pi, frames - 1), rng.uniform(0, step, frames - 1)
    moves = np.column_stack([length * np.cos(angle), length * np.sin(angle)])
    return np.vstack([np.zeros(2), np.cumsum(moves, axis=0)])


def movie(seed: int, frames: int = 6, step: float = 1.0, noise: float = 0.08) -> tuple[list[AtomsTable], Floats]:
    rng = np.random.default_rng(seed)
    where = path(rng, frames, step)
    xy = flake(rng.uniform(0, 60))
    return [table_of(xy + one + rng.normal(scale=noise, size=xy.shape)) for one in where], where


@settings(max_examples=20)
@given(SEEDS)
def test_a_drifting_lattice_gives_one_track_per_atom(seed: int) -> None:
    """Noise of 0.08 Å and steps of up to 1 Å: as many tracks as atoms, no events, and the drift that there was."""
    tables, where = movie(seed)
    tracks = link(tables, field=(FIELD, FIELD))
    assert len(tracks) == len(tables[0])
    assert tracks.events == ()
    assert np.allclose(tracks.drift, where, atol=0.1)
    assert tracks.drift_measured.all()
    spread = [np.ptp(tracks.x_drift_corrected[tracks.track == one]) for one in range(len(tracks))]
    assert max(spread) < 1.0


def inner(table: AtomsTable, rng: np.random.Generator) -> int:
    """Return an atom away from the edge of the flake."""
    middle = table.positions.mean(axis=0)
    return int(rng.choice(np.flatnonzero(np.hypot(*(table.positions - middle).T) < 6)))


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 5))
def test_a_removed_atom_is_one_death(seed: int, when: int) -> None:
    """And is confirmed where more frames follow than an atom may be missed in."""
    tables, _ = movie(seed)
    lost = inner(tables[0], np.random.default_rng(seed))
    kept = np.arange(len(tables[0])) != lost
    tracks = link([t if k < when else t.chosen(kept) for k, t in enumerate(tables)], field=(FIELD, FIELD))
    (event,) = tracks.events
    assert (event.kind, event.frame, event.before, event.after) == ("death", when, "C", "")
    assert event.confirmed == (6 - when > 2)
    assert np.hypot(*(tables[when].positions[lost] - (event.x, event.y))) < 0.7
    # and backwards in time it is one birth
    film = [t if k < when else t.chosen(kept) for k, t in enumerate(tables)][::-1]
    (event,) = link(film, field=(FIELD, FIELD)).events
    assert (event.kind, event.frame, event.before, event.after) == ("birth", 6 - when, "", "C")


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 5))
def test_a_changed_species_is_one_species_change(seed: int, when: int) -> None:
    tables, _ = movie(seed)
    changed = inner(tables[0], np.random.default_rng(seed))
    for table in tables[when:]:
        table.species[:] = "C"
    film = [
        t if k < when else t.model_copy(update={"species": np.where(np.arange(len(t)) == changed, "Si", "C")})
        for k, t in enumerate(tables)
    ]
    tracks = link(film, field=(FIELD, FIELD))
    (event,) = tracks.events
    assert (event.kind, event.frame, event.before, event.after) == ("species change", when, "C", "Si")
    assert len(tracks) == len(tables[0])


@settings(max_examples=10)
@given(SEEDS)
def test_the_order_of_atoms_means_nothing(seed: int) -> None:
    """Not even their numbers change."""
    tables, _ = movie(seed, step=2.0, noise=0.3)
    rng = np.random.default_rng(seed)
    shuffled = [table.chosen(rng.permutation(len(table))) for table in tables]
    one, other = link(tables), link(shuffled)
    assert one.to_csv() == other.to_csv()
    assert one.events_csv() == other.events_csv()
    assert one.drift_csv() == other.drift_csv()


@settings(max_examples=10)
@given(SEEDS, st.integers(0, 3))
def test_gaps_are_bridged_as_far_as_asked(seed: int, missing: int) -> None:
    """An atom missed in up to two frames is the same atom; one missed in three died, and another was born."""
    tables, _ = movie(seed, frames=7)
    lost = inner(tables[0], np.random.default_rng(seed))
    kept = np.arange(len(tables[0])) != lost
    tracks = link([t.chosen(kept) if 2 <= k < 2 + missing else t for k, t in enumerate(tables)], field=(FIELD, FIELD))
    assert tracks.counts() == ({} if missing <= 2 else {"birth": 1, "death": 1})


def test_frames_that_could_not_be_read_are_no_deaths() -> None:
    tables: list[AtomsTable | None] = list(movie(0, frames=8, step=0.1)[0])
    atoms = len(tables[0] or ())
    tables[2:6] = [None] * 4
    tracks = link(tables, field=(FIELD, FIELD))
    assert len(tracks) == atoms
    assert tracks.events == ()
    assert tracks.drift_measured.tolist() == [True, True, False, False, False, False, True, True]


@settings(max_examples=10)
@given(SEEDS)
def test_a_sheet_that_drifts_through_the_field_makes_no_births(seed: int) -> None:
    """Atoms cross its border, and that is what the events say; those inside keep their tracks."""
    rng = np.random.default_rng(seed)
    xy = graphene_sheet(40.0, rng.uniform(0, 60)).positions[:, :2] - 10
    where = path(rng, 6, 0.8)
    film = []
    for one in where:
        seen = xy + one + rng.normal(scale=0.05, size=xy.shape)
        film.append(table_of(seen[((seen > 0) & (seen < 20)).all(axis=1)]))
    tracks = link(film, field=(20.0, 20.0))
    assert set(tracks.counts()) <= {"enters", "leaves"}
    assert np.allclose(tracks.drift, where, atol=0.1)


@settings(max_examples=15)
@given(SEEDS)
def test_an_edge_tells_drifts_apart_that_the_lattice_cannot(seed: int) -> None:
    """An island may move by up to 2.8 Å, more than a lattice vector."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi)
    move = rng.uniform(1.3, 2.8) * np.array([np.cos(angle), np.sin(angle)])
    xy = flake(rng.uniform(0, 60))
    one, two = (table_of(p + rng.normal(scale=0.08, size=xy.shape)) for p in (xy, xy + move))
    found = drift(one, two, (0, 0, FIELD, FIELD))
    assert found is not None
    assert np.allclose(found, move, atol=0.1)


def test_a_perfect_lattice_is_given_the_smallest_drift() -> None:
    """1.5 Å along a lattice row is 0.96 Å the other way, and nothing tells which."""
    xy = graphene_sheet(60.0, 0.0).positions[:, :2] - 15

    def seen(shift: float) -> AtomsTable:
        moved = xy + np.array([shift, 0])
        return table_of(moved[((moved > 0) & (moved < 30)).all(axis=1)])

    found = drift(seen(0), seen(1.5), (0, 0, 30, 30))
    assert found is not None
    assert np.allclose(found, (1.5 - 2.46, 0), atol=0.02)


def picture(xy: Floats, numbers: NDArray[np.int64], seed: int) -> Image:
    size = 0.15
    n = round(30 / size)
    clean = Probe().render(xy, numbers, size, (n, n))
    return Image(pixels=Scan(dose=500).expose(clean, size, np.random.default_rng(seed)), pixel_size=size)


@pytest.mark.parametrize(("heavy", "expected"), [(False, 1.5 - 2.46), (True, 1.5)])
@pytest.mark.parametrize("seed", range(4))
def test_pixels_tell_what_atoms_do_not(heavy: bool, expected: float, seed: int) -> None:
    """Bright atoms that the tables do not know show the true drift; of a perfect lattice noise must not make one up."""
    xy = graphene_sheet(60.0, 0.0).positions[:, :2] - 15
    numbers = np.full(len(xy), 6)
    if heavy:
        numbers[np.random.default_rng(seed).choice(len(xy), 60, replace=False)] = 32
    tables, frames = [], []
    for k, shift in enumerate((0.0, 1.5)):
        moved = xy + np.array([shift, 0])
        tables.append(table_of(moved[((moved > 0) & (moved < 29.9)).all(axis=1)]))
        frames.append(picture(moved, numbers, 2 * seed + k))
    found = drift(tables[0], tables[1], (0, 0, 29.9, 29.9), (frames[0], frames[1]))
    assert found is not None
    assert np.allclose(found, (expected, 0), atol=0.03)
    assert np.allclose(link(tables, frames, (29.9, 29.9)).drift[1], found)


def test_a_few_atoms_are_no_drift() -> None:
    """One atom that moves is an atom that moves."""
    tracks = link([table_of(np.array([[5.0, 5.0]])), table_of(np.array([[5.3, 5.0]]))], field=(10, 10))
    assert len(tracks) == 1
    assert tracks.drift.tolist() == [[0, 0], [0, 0]]
    assert tracks.drift_measured.tolist() == [True, False]


@settings(max_examples=50)
@given(SEEDS, st.integers(0, 25), st.integers(0, 25), st.floats(0.2, 1.5))
def test_assignments_are_the_best_there_are(seed: int, n: int, m: int, reach: float) -> None:
    """Group by group gives what one assignment over everything gives, and nobody is paired twice or too far."""
    rng = np.random.default_rng(seed)
    one, two = rng.uniform(0, 4, (n, 2)), rng.uniform(0, 4, (m, 2))
    first, second = assign(one, two, reach)
    assert len(set(first.tolist())) == len(first)
    assert len(set(second.tolist())) == len(second)
    gain = np.clip(reach**2 - ((one[:, None] - two) ** 2).sum(axis=2), 0, None)
    assert (gain[first, second] > 0).all()
    assert gain[first, second].sum() == pytest.approx(gain[linear_sum_assignment(gain, maximize=True)].sum())


def test_a_nearer_atom_is_not_robbed() -> None:
    """Of two tracks in reach of one atom, the one that fits exactly goes on, and the other ends."""
    first, second = assign(np.array([[0.0, 0], [0.6, 0]]), np.array([[0.6, 0], [1.2, 0]]), 0.7)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(1, 0)]


def test_tables_of_text_hold_everything() -> None:
    tables, _ = movie(3, frames=3)
    tracks = link([*tables[:2], tables[2].chosen(np.arange(len(tables[2])) != 40)], field=(FIELD, FIELD))
    rows = list(csv.DictReader(io.StringIO(tracks.to_csv())))
    assert ",".join(rows[0]) == "frame,track,x,y,x_drift_corrected,y_drift_corrected,species,probability"
    assert len(rows) == 3 * len(tables[0]) - 1
    keys = [(int(row["frame"]), int(row["track"])) for row in rows]
    assert all(one < other for one, other in pairwise(keys))
    (event,) = csv.DictReader(io.StringIO(tracks.events_csv()))
    told = [event[name] for name in ("frame", "kind", "from", "to", "confirmed")]
    assert told == ["2", "death", "C", "", "0"]
    moves = list(csv.DictReader(io.StringIO(tracks.drift_csv())))
    assert float(moves[2]["x"]) == pytest.approx(float(moves[1]["x"]) + float(moves[2]["step_x"]), abs=2e-5)


def test_nothing_at_all() -> None:
    """No frames, or only frames that could not be read, are no tracks."""
    for tables in ([], [None, None], [AtomsTable.empty(), AtomsTable.empty()]):
        tracks = link(tables)
        assert len(tracks) == 0
        assert tracks.to_csv().count("\n") == 1
        assert len(tracks.drift) == len(tables)
