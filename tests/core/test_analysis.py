"""Laws of bonds, angles, rings, displacements and averages of single structures."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene, molecule
from ase.neighborlist import neighbor_list
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from stem2sim.analysis.averages import averages, block_error, temperature_of
from stem2sim.analysis.displacement import displacements, from_measured
from stem2sim.analysis.evolution import Evolution, evolution
from stem2sim.errors import BadInput
from stem2sim.geometry.angles import angles, ring_angles, ring_bond_lengths
from stem2sim.geometry.bonds import bond_vectors, coordination
from stem2sim.geometry.pairs import near_pairs
from stem2sim.geometry.rings import rings
from stem2sim.geometry.superposition import moved
from stem2sim.segmentation import AtomsTable, Segmentation
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet

few = settings(max_examples=25, phases=(Phase.generate,))


def sheet(periodic: bool = True) -> Atoms:
    atoms = graphene(size=(5, 5, 1), vacuum=8)
    atoms.pbc = (periodic, periodic, False)
    return atoms


def damaged(seed: int, periodic: bool) -> Atoms:
    """A sheet without some atoms, with silicon in it, warm."""
    rng = np.random.default_rng(seed)
    atoms = sheet(periodic)
    atoms.symbols[rng.random(len(atoms)) < 0.05] = "Si"
    atoms.positions += rng.normal(scale=0.05, size=(len(atoms), 3))
    return atoms[np.sort(rng.permutation(len(atoms))[: len(atoms) - int(rng.integers(0, 6))])]


@few
@given(
    seed=st.integers(0, 10**6),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    cutoff=st.floats(0.5, 7),
    radii=st.booleans(),
)
def test_pairs_are_those_of_ase(seed: int, pbc: tuple[bool, bool, bool], cutoff: float, radii: bool) -> None:
    """In every skewed cell, atoms inside and outside of it, cells smaller than the cutoff too."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3, 9, 3)) + rng.uniform(-1, 1, (3, 3))
    atoms = Atoms(f"C{rng.integers(1, 12)}", cell=cell, pbc=pbc)
    atoms.positions = rng.uniform(-1, 2, (len(atoms), 3)) @ cell
    within = rng.uniform(0, cutoff, len(atoms)) if radii else cutoff
    i, j, shift, d = neighbor_list("ijSd", atoms, within)
    a, b, cells, vectors = near_pairs(atoms, within)
    assert sorted(zip(i, j, map(tuple, shift), strict=True)) == sorted(zip(a, b, map(tuple, cells), strict=True))
    assert np.allclose(np.sort(d), np.sort(np.linalg.norm(vectors, axis=1)))
    assert np.allclose(atoms.positions[b] - atoms.positions[a] + cells @ atoms.cell, vectors)
    assert (np.diff(a) >= 0).all()


@few
@given(seed=st.integers(0, 10**6))
def test_a_bond_is_one_both_ways(seed: int) -> None:
    """Even where a third atom stands between two of other species."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(rng.choice(["C", "Si", "H", "Mo"], 40), rng.uniform(0, 8, (40, 3)))
    i, j, _, _ = bond_vectors(atoms)
    assert set(zip(i.tolist(), j.tolist(), strict=True)) == set(zip(j.tolist(), i.tolist(), strict=True))


@few
@given(seed=st.integers(0, 10**6), turn=st.floats(0, 360))
def test_bonds_of_just_the_cutoff_are_both_ways_or_none(seed: int, turn: float) -> None:
    """Whatever rounding makes of them in a cell; and their rings can be walked."""
    rng = np.random.default_rng(seed)
    atoms = graphene(a=1.9 * np.sqrt(3), size=(3, 3, 1), vacuum=5)
    atoms.pbc = True
    atoms.rotate(turn, "z", rotate_cell=True)
    atoms.positions += rng.uniform(-9, 9, 3)
    i, j, _, _ = bond_vectors(atoms)
    assert sorted(zip(i, j, strict=True)) == sorted(zip(j, i, strict=True))
    assert len(rings(atoms)) <= 9


def test_angles_of_graphene_are_120_degrees() -> None:
    assert np.allclose(angles(sheet())["C-C-C"], 120)
    assert len(angles(sheet())["C-C-C"]) == 3 * len(sheet())


def test_angles_are_named_after_the_atom_in_the_middle() -> None:
    """Ends in alphabetical order: silane has H-Si-H, methylsilane C-Si-H and H-C-Si."""
    assert np.allclose(angles(molecule("SiH4"))["H-Si-H"], 109.471, atol=0.01)
    found = {name: len(values) for name, values in angles(molecule("CH3SiH3")).items()}
    assert found == {"C-Si-H": 3, "H-C-H": 3, "H-C-Si": 3, "H-Si-H": 3}


@few
@given(seed=st.integers(0, 10**6), periodic=st.booleans())
def test_angles_inside_a_flat_ring_add_up(seed: int, periodic: bool) -> None:
    """To (n - 2) 180°, in rings that turn outwards too."""
    atoms = damaged(seed, periodic)
    atoms.positions[:, 2] = 0
    for size, inside in ring_angles(atoms).items():
        assert np.allclose(inside.sum(axis=1), (size - 2) * 180)
        assert inside.shape == ring_bond_lengths(atoms)[size].shape


@few
@given(seed=st.integers(0, 10**6), angle=st.floats(0, 360), periodic=st.booleans())
def test_turning_moving_and_numbering_change_nothing(seed: int, angle: float, periodic: bool) -> None:
    atoms = damaged(seed, periodic)
    rng = np.random.default_rng(seed)
    other = atoms[rng.permutation(len(atoms))]
    other.rotate(angle, "z", rotate_cell=True)
    other.positions += rng.uniform(-9, 9, 3)
    assert coordination(other) == coordination(atoms)
    for measure in (angles, ring_angles, ring_bond_lengths):
        one, two = measure(atoms), measure(other)
        assert set(one) == set(two)
        assert all(np.allclose(np.sort(one[k], axis=None), np.sort(two[k], axis=None)) for k in one)
    sizes = [sorted((len(r), round(r.area, 6), round(r.perimeter, 6)) for r in rings(a)) for a in (atoms, other)]
    assert np.allclose(sizes[0], sizes[1])


@few
@given(seed=st.integers(0, 10**6))
def test_rings_tile_a_periodic_sheet(seed: int) -> None:
    """Euler: rings = bonds - atoms in a torus whose network is connected; areas add up to that of the cell."""
    atoms = damaged(seed, periodic=True)
    found = rings(atoms)
    if min(min(c) for c in coordination(atoms).values()) < 2:
        return
    assert len(found) == len(bond_vectors(atoms)[0]) // 2 - len(atoms)
    assert sum(r.area for r in found) == pytest.approx(np.linalg.norm(np.cross(*atoms.cell[:2])))


def test_a_ring_has_area_and_perimeter() -> None:
    (hexagon,) = rings(molecule("C6H6"))
    side = ring_bond_lengths(molecule("C6H6"))[6].mean()
    assert hexagon.perimeter == pytest.approx(6 * side, rel=1e-3)
    assert hexagon.area == pytest.approx(1.5 * np.sqrt(3) * side**2, rel=1e-3)


def test_a_chain_encloses_nothing() -> None:
    """There and back is no ring."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        chain = Atoms("C6", np.cumsum(rng.normal((1.3, 0, 0), 0.1, (6, 3)), axis=0))
        assert rings(chain) == []


def test_every_atom_counts_its_neighbours() -> None:
    assert coordination(molecule("C6H6")) == {"C": {3: 6}, "H": {1: 6}}
    assert sum(coordination(sheet(periodic=False))["C"].values()) == 50


@few
@given(angle=st.floats(-60, 60), seed=st.integers(0, 10**6))
def test_a_copy_that_was_moved_as_a_whole_is_not_displaced(angle: float, seed: int) -> None:
    """A turn in the plane for flakes, a translation in cells; stretched too where a linear map is fitted."""
    rng = np.random.default_rng(seed)
    flake = damaged(seed, periodic=False)
    turned = flake.copy()
    turned.rotate(angle, "z")
    turned.positions += rng.uniform(-9, 9, 3)
    assert max(d.largest for d in displacements(flake, turned)) < 1e-9
    assert np.abs(moved(flake, turned, "rigid")).max() < 1e-9
    turned.positions[:, :2] @= np.array([[1.1, 0.02], [-0.01, 0.93]])
    assert max(d.largest for d in displacements(flake, turned, "affine")) < 1e-9
    crystal = damaged(seed, periodic=True)
    drifted = crystal.copy()
    drifted.positions += rng.uniform(-9, 9, 3) * [1, 1, 0.1]
    drifted.wrap()
    assert max(d.largest for d in displacements(crystal, drifted)) < 1e-9


def test_displacements_are_told_per_axis_in_percent_of_the_bond_length() -> None:
    """Of heavy atoms only, with the number of the one that moved most."""
    before = sheet()
    before += Atoms("H", [[0, 0, 12]])
    after = before.copy()
    after.positions[7, 0] += 0.5
    after.positions[-1] += 3.0
    found = {d.axis: d for d in displacements(before, after)}
    n = 50
    assert found["x"].largest == pytest.approx(0.5 * (1 - 1 / n))
    assert found["x"].rms == pytest.approx(0.5 * np.sqrt(1 / n * (1 - 1 / n)))
    assert found["x"].mean == pytest.approx(2 * 0.5 / n * (1 - 1 / n))
    assert found["x"].atom == found["in plane"].atom == 7
    assert found["y"].largest == found["z"].largest == 0
    bond = 2.46 / np.sqrt(3)
    assert found["x"].share(bond) == pytest.approx(100)
    assert "(34.5 %) at atom 7" in found["x"].told()
    assert found["x"].summary()["largest_percent"] == pytest.approx(34.5, abs=0.1)


def test_atoms_are_compared_with_where_they_were_measured() -> None:
    """Whatever the pixel size; what a builder added does not count."""
    built = graphene_sheet(12.0)
    seen = measured(built.positions[:, :2] * [1.3, 1.1])
    built.set_array("source", np.append(np.arange(len(built) - 1), -1))
    built.positions[3, 1] += 0.4
    found = {d.axis: d for d in from_measured(seen, Structure(atoms=built))}
    assert set(found) == {"x", "y", "in plane"}
    assert found["y"].atom == 3
    assert found["y"].largest == pytest.approx(0.4, abs=0.05)
    assert found["x"].largest < 0.02
    with pytest.raises(BadInput, match="none of its atoms was found"):
        from_measured(seen, Structure(atoms=molecule("C6H6")))


def measured(xy: np.ndarray) -> Segmentation:
    atoms = Atoms(f"C{len(xy)}", np.column_stack([xy, np.zeros(len(xy))]))
    return Segmentation(atoms=AtomsTable.of(atoms))


@pytest.mark.parametrize("n", [8, 12, 40])
def test_few_atoms_tell_as_large_a_displacement_as_many(n: int) -> None:
    """What an affine map takes with it is put back; it takes all from three atoms, and fewer than 8 tell nothing."""
    rng = np.random.default_rng(0)
    whole = graphene_sheet(14.0)
    near = np.argsort(np.linalg.norm(whole.positions[:, :2] - 7, axis=1))
    squares = []
    for _ in range(100):
        built = whole[near[:n]]
        built.set_array("source", near[:n])
        built.positions[:, :2] += rng.normal(0, 0.1, (n, 2))
        (flat,) = (
            d for d in from_measured(measured(whole.positions[:, :2]), Structure(atoms=built)) if d.axis[0] == "i"
        )
        squares.append(flat.rms**2)
    assert np.sqrt(np.mean(squares)) == pytest.approx(0.1 * np.sqrt(2), rel=0.06)
    with pytest.raises(BadInput, match="at least 8 atoms of the table, got 7"):
        from_measured(measured(whole.positions[:, :2]), Structure(atoms=built[:7]))


@few
@given(drift=st.tuples(st.floats(-20, 20), st.floats(-20, 20)))
def test_an_atom_that_went_through_a_border_of_its_cell_did_not_move(drift: tuple[float, float]) -> None:
    """It lies where it was measured, a cell away, whichever way the frame is turned and scaled."""
    built = sheet()
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 1.07
    seen = measured(built.positions[:, :2] @ turn.T + [3.0, 5.0])
    built.set_array("source", np.arange(len(built)))
    built.positions += [*drift, 0]
    built.wrap()
    assert all(d.largest < 1e-6 for d in from_measured(seen, Structure(atoms=built)))


def test_other_atoms_are_no_displacement() -> None:
    with pytest.raises(BadInput, match="same atoms"):
        displacements(molecule("C6H6"), molecule("C2H4"))


@pytest.mark.parametrize("n", [200, 1000, 5000])
def test_the_error_of_white_noise_is_sigma_over_root_n(n: int) -> None:
    """Told of most series; a few happen to look correlated."""
    told = [block_error(np.random.default_rng(seed).normal(0, 2.0, n)) for seed in range(40)]
    errors = [error for error in told if error is not None]
    assert len(errors) >= 28
    assert np.median(errors) == pytest.approx(2 / np.sqrt(n), rel=0.1)
    assert np.allclose(errors, 2 / np.sqrt(n), rtol=0.5)


def test_the_error_of_a_correlated_series_is_larger() -> None:
    """By sqrt((1 + f) / (1 - f)) where each value keeps a share f of the one before."""
    ratios = []
    for seed in range(20):
        x = correlated(8192, 0.9, np.random.default_rng(seed))
        error = block_error(x)
        if error is not None:
            ratios.append(error / (x.std() / np.sqrt(len(x)) * np.sqrt(1.9 / 0.1)))
    assert len(ratios) >= 10
    assert np.mean(ratios) == pytest.approx(1, abs=0.15)
    assert min(ratios) > 0.7


def correlated(n: int, share: float, rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=n + 200)
    for k in range(1, len(x)):
        x[k] += share * x[k - 1]
    return x[200:]


@pytest.mark.parametrize("n", [10, 13, 25, 50, 100, 200])
@pytest.mark.parametrize("share", [0.82, 0.9])
def test_a_series_that_is_short_for_its_correlation_has_no_error(n: int, share: float) -> None:
    """It keeps its value for 5 or 10 frames: what its spread would give is too small by 3 to 5 times."""
    rng = np.random.default_rng(7)
    told = [block_error(correlated(n, share, rng)) for _ in range(100)]
    assert sum(error is not None for error in told) <= 2


def test_what_never_changes_has_no_error() -> None:
    """Nothing is known of it; nor is it of fewer than 64 values, and a ramp has no plateau."""
    assert block_error(np.ones(500)) is None
    assert block_error(np.random.default_rng(0).normal(size=63)) is None
    assert block_error(np.arange(500.0)) is None


def result(label: str, energy: float, sample: str = "", **made_by: object) -> tuple[str, SimulationResult, Evolution]:
    atoms = sheet()
    n = 256
    wave = 0.01 * np.tile([1.0, -1.0], n // 2)
    one = SimulationResult(
        structure=Structure(atoms=atoms, label=sample), energy=energy, forces=np.zeros((50, 3)), converged=True,
        trajectory="x.traj", label=label, made_by={"use": "aimd", **made_by},
        observables={"time [fs]": list(range(n)), "temperature [K]": [300.0] * n,
                     "potential energy [eV]": (energy + wave).tolist()},
    )  # fmt: skip
    return sample, one, evolution(((k, atoms) for k in range(20)), 20)


def test_replicas_give_a_mean_and_its_error() -> None:
    """One list for each temperature, read from the label or, where there is one, from the options."""
    named = [result(f"300K-{k}", e) for k, e in ((1, -1.0), (2, -2.0), (3, -3.0))] + [result("500K-1", 0.0)]
    found = averages(named)
    assert list(found) == ["300 K", "500 K"]
    rows = {one.quantity: one for one in found["300 K"]}
    energy = rows["potential energy"]
    assert (energy.mean, energy.unit, energy.n, energy.of) == (pytest.approx(-2), "eV", 3, "replicas")
    assert energy.error == pytest.approx(1 / np.sqrt(3))
    assert rows["C-C"].mean == pytest.approx(2.46 / np.sqrt(3))
    assert (rows["rings of 6"].mean, rows["rings of 6"].error) == (25, 0)
    assert temperature_of(result("1", 0.0, temperature=[300.0])[1]) == "300 K"
    alone = {one.quantity: one for one in found["500 K"]}["potential energy"]
    assert (alone.of, alone.n) == ("trajectory", 1)
    assert alone.error == pytest.approx(0.01 / np.sqrt(128), rel=0.05)


def test_samples_count_by_their_means() -> None:
    """Replicas of one structure share it: they are no samples of their own."""
    named = [result("1", -1.0, "sample-1", temperature=300.0), result("2", -1.2, "sample-1", temperature=300.0),
             result("1", -2.1, "sample-2", temperature=300.0)]  # fmt: skip
    ((name, rows),) = averages(named).items()
    assert name == "samples, 300 K"
    energy = {one.quantity: one for one in rows}["potential energy"]
    assert (energy.n, energy.of, energy.mean) == (2, "samples", pytest.approx(-1.6))
    assert energy.error == pytest.approx(np.std([-1.1, -2.1], ddof=1) / np.sqrt(2))
    assert energy.told() == "potential energy -1.60 ± 0.50 eV"


def test_results_that_did_not_converge_do_not_count() -> None:
    name, one, evolved = result("300K", -1.0)
    assert averages([(name, one.model_copy(update={"converged": False}), evolved)]) == {}


def test_rings_of_a_defect_are_counted() -> None:
    atoms = sheet()
    del atoms[20]
    assert Counter(len(r) for r in rings(atoms)) == {6: 22, 12: 1}
