"""Laws of what happens along trajectories, scripted so that it is known what happens when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene, molecule
from ase.constraints import FixAtoms
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from stem2sim.analysis.distribution import WIDTH
from stem2sim.analysis.evolution import Evolution, evolution, evolution_of
from stem2sim.engines.trajectory import Trajectory, TrajectoryFile
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.rings import rings
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

few = settings(max_examples=6, phases=(Phase.generate,))


def sheet(periodic: bool = True) -> Atoms:
    atoms = graphene(size=(6, 6, 1), vacuum=8)
    atoms.pbc = (periodic, periodic, False)
    return atoms


def script(atoms: Atoms, count: int, change: Callable[[int, Atoms], None], step: float = 2.0) -> Evolution:
    """Return what is found where `change` makes each frame of the same start; one every `step` fs."""

    def frames() -> Iterator[tuple[float, Atoms]]:
        for k in range(count):
            frame = atoms.copy()
            change(k, frame)
            yield k * step, frame

    return evolution(frames(), count)


def codes(atoms: Atoms) -> set[tuple[int, int]]:
    i, j, _ = Bonds.of(atoms).once
    return set(zip(i.tolist(), j.tolist(), strict=True))


def ethane(gap: float) -> Atoms:
    """Two carbons so far apart [Å]."""
    return Atoms("C2", [[0, 0, 0], [gap, 0, 0]])


def test_a_bond_that_is_pulled_apart_breaks_once_at_that_time() -> None:
    """It forms again when it is closer than bonds are, and the event says how long it was broken."""
    gaps = [1.5] * 10 + [2.3] * 10 + [2.0] * 5 + [1.5] * 10
    found = script(ethane(1.5), len(gaps), lambda k, atoms: atoms.set_distance(0, 1, gaps[k], fix=0))
    broken, formed = found.events
    assert (broken.change, broken.time, broken.atoms, broken.kind) == ("broken", 20.0, (0, 1), "C-C")
    assert (broken.lasted, broken.to_end) == (30.0, False)
    assert (formed.change, formed.time, formed.lasted, formed.to_end) == ("formed", 50.0, 18.0, True)
    assert broken.describe() == "C-C bond of atoms 0 and 1 broken at 20 fs, for 30 fs"
    assert found.column("bonds broken").tolist() == [0] * 10 + [1] * 15 + [0] * 10
    assert found.series["C-C [Å]"][:11] == [*[pytest.approx(1.5)] * 10, None]


@few
@given(seed=st.integers(0, 10**6), periodic=st.booleans())
def test_vibrations_are_no_events(seed: int, periodic: bool) -> None:
    """Every atom by 0.15 Å in its own direction, at its own phase."""
    rng = np.random.default_rng(seed)
    atoms = sheet(periodic)
    way = rng.normal(size=(len(atoms), 3))
    way *= 0.15 / np.linalg.norm(way, axis=1)[:, None]
    phase = rng.uniform(0, 2 * np.pi, (len(atoms), 1))

    def vibrate(k: int, frame: Atoms) -> None:
        frame.positions += way * np.sin(0.7 * k + phase)

    found = script(atoms, 40, vibrate)
    assert found.events == ()
    assert found.rings_start == found.rings_end


def test_a_bond_that_vibrates_about_the_limit_is_one_event() -> None:
    """Breaking takes more than the distance at which it forms."""
    found = script(ethane(2.4), 60, lambda k, a: a.set_distance(0, 1, 2.4 if k < 5 else 1.9 + 0.1 * (-1) ** k, fix=0))
    assert [(e.change, e.time, e.to_end) for e in found.events] == [("formed", 10.0, True)]


@few
@given(seed=st.integers(0, 10**6), periodic=st.booleans())
def test_events_add_up_to_the_difference_of_first_and_last_bonds(seed: int, periodic: bool) -> None:
    """Bond by bond broken and formed by turns; net of that, what the last frame has and the first has not."""
    rng = np.random.default_rng(seed)
    atoms = sheet(periodic)
    walk = np.cumsum(rng.normal(scale=0.12, size=(30, len(atoms), 3)), axis=0)
    walk[-1] = 3 * rng.normal(scale=0.1, size=walk[-1].shape)
    last = atoms.copy()
    last.positions += walk[-1]
    first = codes(atoms)
    now, held = set(first), {}
    found = script(atoms, 31, lambda k, frame: frame.positions.__iadd__(walk[k - 1] if k else 0))
    for event in found.events:
        assert (event.atoms in now) == (event.change == "broken")
        if event.atoms in held:
            assert held[event.atoms].lasted == pytest.approx(event.time - held[event.atoms].time)
            assert not held[event.atoms].to_end
        held[event.atoms] = event
        now ^= {event.atoms}
    assert all(e.to_end and e.lasted == pytest.approx(60 - e.time) for e in held.values())
    assert found.column("bonds broken")[-1] == len(first - now)
    assert found.column("bonds formed")[-1] == len(now - first)
    assert codes(last) <= now  # what is bonded by its distance is, and what is held beyond it was bonded before


@few
@given(seed=st.integers(0, 10**6), angle=st.floats(0, 360))
def test_turning_moving_and_numbering_change_nothing(seed: int, angle: float) -> None:
    """A hole, some silicon, ten frames of heat."""
    rng = np.random.default_rng(seed)
    atoms = graphene_sheet(14)
    del atoms[np.argsort(np.linalg.norm(atoms.positions - [7, 7, 0], axis=1))[:3]]
    atoms.symbols[::17] = "Si"
    heat = rng.normal(scale=0.1, size=(20, len(atoms), 3))
    order = rng.permutation(len(atoms))

    def turned(k: int, frame: Atoms) -> None:
        frame.positions += heat[k]
        frame.rotate(angle, "z")
        frame.positions += shift
        frame.positions = frame.positions[order]
        frame.numbers = frame.numbers[order]

    shift = rng.uniform(-5, 5, 3)
    one = script(atoms, 20, lambda k, frame: frame.positions.__iadd__(heat[k]))
    two = script(atoms, 20, turned)
    assert one.rings_start == two.rings_start
    assert one.rings_end == two.rings_end
    events = [sorted((e.time, e.change, e.kind, e.lasted) for e in found.events) for found in (one, two)]
    assert events[0] == events[1] != []
    assert sorted(round(h.area_end, 4) for h in one.holes) == sorted(round(h.area_end, 4) for h in two.holes)
    for name in one.series:
        assert np.allclose(one.column(name), two.column(name), atol=1e-6, equal_nan=True)
    assert all(np.allclose(one.radial[k], two.radial[k], atol=0.05) for k in one.radial)


def test_a_rigid_rotation_displaces_nothing() -> None:
    """In any direction; nor does drift, in a cell and through its borders too."""
    found = script(graphene_sheet(12), 30, lambda k, a: a.rotate(7 * k, (1, 2, 3)))
    assert np.allclose(found.column("mean square displacement of C [Å²]"), 0)
    assert found.rings_start == found.rings_end

    def drift(k: int, frame: Atoms) -> None:
        frame.positions += [0.8 * k, -0.5 * k, 0]
        frame.wrap()

    found = script(sheet(), 60, drift)
    assert np.allclose(found.column("mean square displacement of C [Å²]"), 0)


def test_ballistic_motion_goes_with_the_square_of_time() -> None:
    """v² t² for every atom, half of them to the left and half to the right, through the borders of the cell."""
    atoms = sheet()
    speed = 0.05 * np.where(np.arange(len(atoms)) % 2, 1, -1)[:, None] * [0.8, 0.6, 0]  # Å/fs

    def fly(k: int, frame: Atoms) -> None:
        frame.positions += 2.0 * k * speed
        frame.wrap()

    found = script(atoms, 100, fly)
    t = found.column("time [fs]")
    assert np.allclose(found.column("mean square displacement of C [Å²]"), 0.05**2 * t**2)


def test_neighbours_of_graphene_are_3_6_and_3() -> None:
    """At a / sqrt(3), a, and 2 a / sqrt(3); in a flake fewer."""
    a, found = 2.46, script(sheet(), 4, lambda k, frame: None)
    density = np.array(found.radial["C-C"]) * WIDTH
    r = (np.arange(len(density)) + 0.5) * WIDTH
    for place, count in (
        (a / np.sqrt(3), 3),
        (a, 6),
        (2 * a / np.sqrt(3), 3),
        (a * np.sqrt(7 / 3), 6),
        (a * 3**0.5, 6),
    ):
        assert density[np.abs(r - place) < 0.15].sum() == pytest.approx(count)
    assert density[r < 1.3].sum() == 0
    flake = script(sheet(periodic=False), 4, lambda k, frame: None)
    assert np.sum(flake.radial["C-C"]) * WIDTH < density.sum()


def test_each_species_has_its_own_neighbours() -> None:
    """Six hydrogens have one carbon each within 1.2 Å; six carbons one hydrogen."""
    found = script(molecule("C6H6"), 3, lambda k, frame: None)
    short = {pair: np.sum(values[: round(1.2 / WIDTH)]) * WIDTH for pair, values in found.radial.items()}
    assert short == {"C-C": 0, "C-H": pytest.approx(1), "H-C": pytest.approx(1), "H-H": 0}
    assert np.allclose([sum(v) for v in found.angles.values()], 1)
    assert sum(found.angles["C-C-C"][119:121]) == pytest.approx(1)


def hole(count: int, periodic: bool) -> tuple[Atoms, np.ndarray]:
    """Return a sheet whose last atoms, so many of one place, float far above it, and where they belong."""
    atoms = graphene(size=(8, 8, 1), vacuum=8)
    atoms.pbc = (periodic, periodic, False)
    middle = np.asarray(atoms.cell).sum(axis=0) / 2
    order = np.argsort(-np.linalg.norm(atoms.positions - middle, axis=1), kind="stable")
    atoms = atoms[order]
    home = atoms.positions[-count:].copy()
    atoms.positions[-count:] += np.stack([np.arange(count) * 3.0, np.zeros(count), np.full(count, 5.0)], axis=1)
    return atoms, home


@pytest.mark.parametrize("periodic", [True, False])
def test_a_hole_that_is_filled_is_healed_at_that_time(periodic: bool) -> None:
    """And the verdict says what it was."""
    atoms, home = hole(2, periodic)
    rng = np.random.default_rng(0)

    def fill(k: int, frame: Atoms) -> None:
        if k >= 30:
            frame.positions[-2:] = home
        frame.positions += rng.normal(scale=0.03, size=frame.positions.shape)

    found = script(atoms, 80, fill)
    (one,) = found.holes
    size = next(r for r in rings(Bonds.of(atoms)) if len(r) > 8)
    assert one.healed
    assert (one.first, one.last, one.area_end) == (0.0, 58.0, 0.0)
    assert set(one.atoms) == set(size.atoms)
    assert one.area == pytest.approx(size.area, rel=0.1)
    assert one.perimeter == pytest.approx(size.perimeter, rel=0.1)
    assert one.verdict == f"healed at 60 fs (14 atoms, {one.area:.1f} Å² at the start)"
    assert found.column("holes").tolist() == [1] * 30 + [0] * 50
    assert found.column("atoms round holes")[0] == 14
    assert len([e for e in found.events if e.change == "formed"]) == 5


def test_a_hole_that_opens_is_told_with_its_time() -> None:
    atoms, home = hole(1, periodic=True)

    def leave(k: int, frame: Atoms) -> None:
        if k < 20:
            frame.positions[-1:] = home

    (one,) = script(atoms, 50, leave).holes
    assert (one.first, one.healed) == (40.0, False)
    assert one.verdict.startswith(f"opened at 40 fs (12 atoms, {one.area:.1f} Å²); since then unchanged (within 10 %")


def test_one_frame_at_the_end_heals_nothing() -> None:
    """The last tenth of the frames counts, as a mean."""
    atoms, home = hole(2, periodic=True)

    def last(k: int, frame: Atoms) -> None:
        if k == 49:
            frame.positions[-2:] = home

    (one,) = script(atoms, 50, last).holes
    assert not one.healed
    assert one.area_end == pytest.approx(0.8 * one.area)
    assert "smaller by 20 %" in one.verdict
    assert "present in 80 % of them" in one.verdict


def test_a_hole_that_stays_is_unchanged_though_it_is_warm() -> None:
    """And one that is stretched is larger."""
    atoms, _ = hole(6, periodic=True)
    rng = np.random.default_rng(1)
    (one,) = script(atoms, 40, lambda k, a: a.positions.__iadd__(rng.normal(scale=0.05, size=(len(a), 3)))).holes
    assert one.verdict.startswith("unchanged (within 10 %: ")

    def stretch(k: int, frame: Atoms) -> None:
        frame.set_cell(frame.cell * (1 + 0.003 * k), scale_atoms=True)

    (one,) = script(atoms, 40, stretch).holes
    assert one.verdict.startswith("larger by 24 %")


def test_two_holes_that_become_one_are_not_healed() -> None:
    """Atoms between them leave: one of the two goes on, the other has joined it."""
    atoms = graphene(size=(10, 10, 1), vacuum=8)
    atoms.pbc = True
    middle = np.asarray(atoms.cell).sum(axis=0) / 2
    d = atoms.positions - middle
    gone = np.concatenate([np.argsort(np.linalg.norm(d - [x, 0, 0], axis=1))[:6] for x in (-4.3, 4.3)])
    bridge = np.flatnonzero((np.abs(d[:, 0]) < 3.2) & (np.abs(d[:, 1]) < 1.6))
    bridge = bridge[~np.isin(bridge, gone)]
    atoms.positions[gone, 2] += 4 + 3 * np.arange(len(gone)) % 7

    def lift(k: int, frame: Atoms) -> None:
        if k >= 10:
            frame.positions[bridge, 2] += 8 + 3 * np.arange(len(bridge))

    found = script(atoms, 40, lift)
    verdicts = sorted(one.verdict.split(" (")[0] for one in found.holes if len(one.atoms) > 12 and one.first == 0)
    assert len(verdicts) == 2
    assert verdicts[0] == "joined another hole at 20 fs"
    assert verdicts[1].startswith("larger by")
    assert not any(one.healed for one in found.holes)


def test_a_hole_that_opens_to_the_edge_is_not_healed() -> None:
    """Its atoms lie at the rim of the flake from then on."""
    atoms = graphene_sheet(20)
    middle = atoms.positions.mean(axis=0)
    d = atoms.positions - middle
    atoms.positions[np.argsort(np.linalg.norm(d, axis=1))[:6], 2] += 5
    channel = np.flatnonzero((d[:, 0] > 2) & (np.abs(d[:, 1]) < 3))

    def cut(k: int, frame: Atoms) -> None:
        if k >= 10:
            frame.positions[channel, 2] += 9

    (one,) = [one for one in script(atoms, 30, cut).holes if one.first == 0]
    assert not one.healed
    assert one.verdict.startswith("opened to the edge at 20 fs (")


def test_it_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    atoms, _ = hole(2, periodic=False)
    found = script(atoms, 10, lambda k, a: a.positions.__iadd__(np.random.default_rng(k).normal(0, 0.2, (len(a), 3))))
    found.write(tmp_path / "evolution.json")
    assert Evolution.read(tmp_path / "evolution.json") == found
    (tmp_path / "evolution.json").write_text("{}")
    with pytest.raises(BadInput, match="cannot read an evolution"):
        Evolution.read(tmp_path / "evolution.json")


def test_series_are_thinned_and_events_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a trajectory is; first and last frame are always there."""
    monkeypatch.setattr("stem2sim.analysis.evolution.POINTS", 50)
    count = 2 * 50 + 7
    found = script(ethane(1.5), count, lambda k, a: a.set_distance(0, 1, 2.5 if k % 10 == 5 else 1.5, fix=0))
    assert 25 < len(found.series["time [fs]"]) <= 51
    assert found.series["time [fs]"][0] == 0
    assert found.series["time [fs]"][-1] == 2.0 * (count - 1)
    assert len(found.events) == 2 * len(range(5, count, 10))
    assert found.frames == count


def test_a_result_is_followed_along_its_trajectory(tmp_path: Path) -> None:
    """By a stride too; what is no dynamics has none, and constraints of the frames do not matter."""
    atoms = graphene_sheet(10)
    atoms.set_constraint(FixAtoms([0]))
    with TrajectoryFile(tmp_path / "d.traj", 0) as trajectory:
        for k in range(21):
            frame = atoms.copy()
            frame.positions += np.random.default_rng(k).normal(0, 0.02, (len(atoms), 3))
            trajectory.append(frame, {"energy": 0.0}, step=k)
    result = SimulationResult(
        structure=Structure(atoms=atoms), energy=0.0, forces=np.zeros((len(atoms), 3)), converged=True,
        trajectory="d.traj", observables={"time [fs]": [2.0 * k for k in range(21)]},
    )  # fmt: skip
    kept = Trajectory(tmp_path / "d.traj")
    assert evolution_of(result, kept).frames == 21
    found = evolution_of(result, kept, stride=5)
    assert found.series["time [fs]"] == [0, 10, 20, 30, 40]
    with pytest.raises(BadInput, match="not from molecular dynamics"):
        evolution_of(result.model_copy(update={"observables": {}}), kept)
    with pytest.raises(BadInput, match="no frames"):
        evolution_of(result, Trajectory(tmp_path / "none.traj"))
    with pytest.raises(BadInput, match="stride"):
        evolution_of(result, kept, stride=0)


def test_other_atoms_halfway_are_an_error() -> None:
    with pytest.raises(BadInput, match="has 2 atoms, the first 12"):
        evolution([(0.0, molecule("C6H6")), (1.0, ethane(1.5))], 2)
