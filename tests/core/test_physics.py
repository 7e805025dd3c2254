"""Laws of the forward model, of the lattice, and of the structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene
from ase.constraints import FixAtoms, FixedLine
from hypothesis import given, settings
from hypothesis import strategies as st

from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import apart, bond_lengths, neighbours
from stem2sim.imaging.forward import Probe, Scan
from stem2sim.imaging.lattice import find_lattice
from stem2sim.structure import Structure
from stem2sim.testing import graphene_sheet

if TYPE_CHECKING:
    from pathlib import Path


@given(z=st.integers(3, 60), n=st.floats(1.4, 2.0), fwhm=st.floats(0.8, 1.6))
def test_an_atom_is_as_bright_as_a_power_of_its_number(z: int, n: float, fwhm: float) -> None:
    probe = Probe(scattering_exponent=n, fwhm=fwhm)
    peak = probe.render([[5.0, 5.0]], [z], 0.1, (101, 101))[50, 50]
    assert peak == pytest.approx((z / 6) ** n, rel=1e-4)


@given(x=st.floats(3, 7), y=st.floats(3, 7))
def test_x_runs_along_columns_and_y_down_rows(x: float, y: float) -> None:
    """The centre of mass of a rendered atom is where the atom is."""
    frame = Probe(tail_weight=0).render([[x, y]], [6], 0.1, (101, 111))
    rows, columns = np.indices(frame.shape)
    assert (frame * columns).sum() / frame.sum() * 0.1 == pytest.approx(x, abs=0.01)
    assert (frame * rows).sum() / frame.sum() * 0.1 == pytest.approx(y, abs=0.01)


def test_frames_add_up() -> None:
    """Incoherent imaging: the frame of two atoms is the sum of their frames."""
    one, two = [[3.0, 4.0]], [[4.2, 4.0]]
    render = Probe().render
    both = render(one + two, [6, 14], 0.1, (80, 80))
    assert np.allclose(both, render(one, [6], 0.1, (80, 80)) + render(two, [14], 0.1, (80, 80)), atol=1e-5)


def test_counting_noise_is_unbiased_and_falls_with_dose() -> None:
    """Poisson: the mean stays, the variance is the mean over the counts."""
    flat = np.ones((200, 200), dtype=np.float32)
    for dose in (100, 1000):
        seen = Scan(dose=dose, offset=0).expose(flat, 0.1, np.random.default_rng(0))
        assert seen.mean() == pytest.approx(1, abs=0.02)
        assert seen.var() == pytest.approx(1 / (dose * 0.01), rel=0.05)


@settings(max_examples=15)
@given(angle=st.floats(0, 60), error=st.floats(0.8, 1.25), stretch=st.floats(0, 0.15), along=st.floats(0, 180))
def test_the_lattice_gives_the_true_pixel_size(angle: float, error: float, stretch: float, along: float) -> None:
    """Whatever the turn, the stretch of the scan and the error of the stated size."""
    sheet = graphene_sheet(40, angle)
    turn = np.radians(along)
    u = np.array([np.cos(turn), np.sin(turn)])
    strain = np.sqrt(1 + stretch) * (np.eye(2) - np.outer(u, u) * stretch / (1 + stretch))
    xy = (sheet.positions[:, :2] - 20) @ strain.T + 12.5
    frame = Probe().render(xy, sheet.numbers, 0.1, (250, 250))
    pixels = Scan(dose=500).expose(frame, 0.1, np.random.default_rng(0))
    lattice = find_lattice(pixels, 0.1 * error)
    assert lattice is not None
    assert lattice.pixel_size == pytest.approx(0.1, rel=0.01)
    assert lattice.anisotropy == pytest.approx(1 + stretch, abs=0.02)


def test_noise_has_no_lattice() -> None:
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(size=(220, 220)).astype(np.float32)
        assert find_lattice(noise, 0.09) is None


def test_real_lattices_are_found(stem: Path) -> None:
    """Within 1 % of what was measured on these files before; MoS2 is stretched by 19 %."""
    silicon = find_lattice(np.load(stem / "graphene_si_2nm.npy"), 0.0781)
    boundary = find_lattice(np.load(stem / "graphene_grain_boundary_4nm.npy"), 0.0781)
    mos2 = find_lattice(np.load(stem / "mos2_v_doped.npy"), 0.1758, 3.16)
    assert silicon is not None
    assert boundary is not None
    assert mos2 is not None
    assert silicon.pixel_size == pytest.approx(0.0761, rel=0.01)
    assert boundary.pixel_size == pytest.approx(0.0785, rel=0.01)
    assert mos2.pixel_size == pytest.approx(0.1753, rel=0.01)
    assert mos2.anisotropy == pytest.approx(1.19, abs=0.02)


def test_every_atom_of_graphene_has_three_neighbours() -> None:
    sheet = graphene(size=(5, 5, 1), vacuum=10)
    sheet.pbc = True
    assert all(len(near) == 3 for near in neighbours(sheet))
    lengths = bond_lengths(sheet)
    assert list(lengths) == ["C-C"]
    assert lengths["C-C"] == pytest.approx(np.full(75, 1.42), abs=0.01)


def test_overlap_is_seen_across_the_boundary() -> None:
    """Two atoms 0.5 Å apart through the periodic face are as bad as two side by side."""
    atoms = Atoms("C2", positions=[[0.2, 5, 5], [9.7, 5, 5]], cell=[10, 10, 10], pbc=True)
    with pytest.raises(BadInput, match=r"closer than 0\.9 Å: C 0 - C 1 0\.50 Å"):
        Structure(atoms=atoms).check_distances()
    atoms.pbc = False
    Structure(atoms=atoms).check_distances()


def test_a_structure_without_a_cell_gets_ten_angstrom_of_vacuum() -> None:
    boxed = Structure(atoms=graphene_sheet(8)).in_a_cell().atoms
    low, high = boxed.positions.min(axis=0), boxed.positions.max(axis=0)
    assert low == pytest.approx(np.full(3, 10))
    assert boxed.cell.lengths() - high == pytest.approx(np.full(3, 10))
    periodic = Structure(atoms=graphene(vacuum=5))
    assert periodic.in_a_cell() is periodic


def test_a_periodic_sheet_without_a_height_is_refused() -> None:
    """Its period must not be dropped in silence."""
    with pytest.raises(BadInput, match="its cell has only 2 of three vectors"):
        Structure(atoms=graphene()).in_a_cell()


def test_damaged_or_unknown_structures_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.xyz").write_text("1\n\nX 0 0 0\n")
    (tmp_path / "nan.xyz").write_text("1\n\nC nan 0 0\n")
    (tmp_path / "notes.extxyz").write_text('1\nProperties=species:S:1:pos:R:3 stem2sim="[3"\nC 0 0 0\n')
    (tmp_path / "charge.extxyz").write_text(
        '1\nProperties=species:S:1:pos:R:3 stem2sim="{%22charge%22: 0.5}"\nC 0 0 0\n'
    )
    for name, message in (
        ("x.xyz", "no known species"),
        ("nan.xyz", "not finite"),
        ("notes.extxyz", "are damaged"),
        ("charge.extxyz", "are damaged"),
        ("absent@1.xyz", "no structure file"),
    ):
        with pytest.raises(BadInput, match=message):
            Structure.read(tmp_path / name)
    (tmp_path / "a@b.xyz").write_text("1\n\nC 0 0 0\n")
    assert len(Structure.read(tmp_path / "a@b.xyz").atoms) == 1


@given(seed=st.integers(0, 50), distance=st.floats(0.05, 0.5))
def test_points_apart_are_apart_and_the_best_stay(seed: int, distance: float) -> None:
    """No two kept points are closer; every dropped one is close to a kept one of higher rank."""
    rng = np.random.default_rng(seed)
    points, rank = rng.uniform(0, 2, (60, 2)), rng.uniform(0, 1, 60)
    kept = apart(points, rank, distance)
    gaps = np.linalg.norm(points[kept][:, None] - points[kept], axis=2) + 9 * np.eye(len(kept))
    assert gaps.min() >= distance * (1 - 1e-6)
    for k in set(range(60)) - set(kept.tolist()):
        near = [n for n in kept if np.linalg.norm(points[n] - points[k]) < distance]
        assert max(rank[n] for n in near) > rank[k]


def test_a_written_structure_reads_back_whole(tmp_path: Path) -> None:
    """Constraints, arrays, charge, history and findings, quotes and backslashes included."""
    atoms = Atoms("CSiH", positions=np.arange(9.0).reshape(3, 3) * 1.7, cell=[9, 9, 9])
    atoms.set_array("source", np.array([4, 7, -1]))
    atoms.set_constraint([FixAtoms([0]), FixedLine([1], [0, 0, 1])])
    findings = ('a "quoted" Å finding', "back\\slash, 100 %", "it's")
    written = Structure(atoms=atoms, charge=-1, history=({"use": "place", "x": None},), findings=findings)
    written.write(tmp_path / "s.extxyz")
    read = Structure.read(tmp_path / "s.extxyz")
    assert read.atoms.positions == pytest.approx(atoms.positions)
    assert [c.todict() for c in read.atoms.constraints] == [c.todict() for c in atoms.constraints]
    assert read.atoms.arrays["source"].tolist() == [4, 7, -1]
    assert (read.charge, read.history, read.findings) == (-1, written.history, findings)
    assert read.electrons == 6 + 14 + 1 + 1
    assert read.multiplicity == 1
