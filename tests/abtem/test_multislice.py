"""Multislice images through abTEM."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene
from pydantic import ValidationError
from scipy.optimize import minimize

from stem2sim.engines.trajectory import Trajectory, TrajectoryFile
from stem2sim.imaging.forward import Probe
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure

try:  # not by importing abtem, which takes seconds
    version("stem2sim-abtem")
except PackageNotFoundError:
    pytest.skip("needs stem2sim-abtem: pip install -e plugins/stem2sim_abtem", allow_module_level=True)

from stem2sim_abtem.multislice import MARGIN, Micrograph, Multislice
from stem2sim_abtem.phonons import configurations

if TYPE_CHECKING:
    from numpy.typing import NDArray

HAADF = Multislice(detector=(86, 120))
PIXEL = 0.15


def brightest(micrograph: Micrograph) -> tuple[float, float]:
    """Return x and y [Å] of the brightest pixel, in the structure's coordinates."""
    row, column = np.unravel_index(micrograph.image.argmax(), micrograph.image.shape)
    x, y = micrograph.origin
    return x + column * micrograph.pixel_size, y + row * micrograph.pixel_size


def rendered(micrograph: Micrograph, atoms: Atoms) -> tuple[NDArray[np.float64], Probe]:
    """Return what the forward model makes of the same atoms, its probe fitted, and that probe."""
    shape = micrograph.image.shape
    places = atoms.positions[:, :2] - micrograph.origin

    def probe(values: NDArray[np.float64]) -> Probe:
        width, weight, tail, exponent = values
        return Probe(fwhm=width, tail_weight=weight, tail_width=tail, scattering_exponent=exponent)

    def unlike(values: NDArray[np.float64]) -> float:
        frame = probe(values).render(places, atoms.numbers, micrograph.pixel_size, shape)
        return -float(np.corrcoef(frame.ravel(), micrograph.image.ravel())[0, 1])

    bounds = [(0.6, 2.0), (0.0, 0.6), (1.5, 5.0), (1.2, 2.4)]
    best = probe(minimize(unlike, [1.1, 0.17, 2.5, 1.8], bounds=bounds, method="Nelder-Mead").x)
    return best.render(places, atoms.numbers, micrograph.pixel_size, shape).astype(float), best


def test_an_atom_is_seen_where_it_is() -> None:
    """Columns go along x and rows down y: silicon off the centre ends at its own place, and at no mirrored one."""
    atoms = Atoms("CCCSi", [[20, 30, 5], [25, 30, 5], [20, 33, 5], [23.6, 30.8, 5]])
    micrograph = HAADF.image([atoms], PIXEL)
    assert brightest(micrograph) == pytest.approx((23.6, 30.8), abs=PIXEL)
    assert micrograph.origin == pytest.approx((20 - MARGIN, 30 - MARGIN))
    assert micrograph.image.shape == (int(7 / PIXEL) + 1, int(9 / PIXEL) + 1)


def test_brightness_grows_as_rutherford_scattering_less_screening() -> None:
    """Intensity over an atom goes as Z^n, n from 1.3 to 2.1: a little below the 2 of bare nuclei."""
    total = {}
    for symbol in ("C", "Si"):
        micrograph = HAADF.image([Atoms(symbol, [[0, 0, 0]])], PIXEL)
        total[symbol] = micrograph.image.sum()
        assert 0 < micrograph.image.max() < 0.05, "a fraction of the beam"
    assert 1.3 < np.log(total["Si"] / total["C"]) / np.log(14 / 6) < 2.1


def test_neither_pixels_nor_place_change_what_is_scattered() -> None:
    """The same atom anywhere, in finer pixels: the same fraction of the beam at the same place beside it."""
    coarse = HAADF.image([Atoms("Si", [[0, 0, 0]])], MARGIN / 8)
    fine = HAADF.image([Atoms("Si", [[7.123, -3.21, 9]])], MARGIN / 16)
    assert fine.image[16, 16] == pytest.approx(coarse.image[8, 8], rel=1e-3)
    assert fine.image[::2, ::2] == pytest.approx(coarse.image, abs=1e-3 * coarse.image.max())


def test_thermal_motion_and_the_source_blur() -> None:
    """Both make peaks lower; blur by the source takes nothing of the signal away."""
    atoms = Atoms("Si", [[0, 0, 0]])
    result = SimulationResult(structure=Structure(atoms=atoms), energy=0, forces=np.zeros((1, 3)), converged=True)
    sharp = HAADF.model_copy(update={"source_size": 0.0})
    still, warm = (sharp.image(configurations(result, None, 3, thermal, 0), PIXEL) for thermal in (0.0, 0.25))
    assert warm.image.max() < 0.95 * still.image.max()
    wide = HAADF.image([atoms], PIXEL)
    assert wide.image.max() < 0.9 * still.image.max()
    assert wide.image.sum() == pytest.approx(still.image.sum(), rel=0.05)


def test_a_periodic_sheet_has_no_edges() -> None:
    """Every hexagon of a periodic sheet looks the same: a lattice vector along changes nothing."""
    sheet = graphene(a=2.46, size=(2, 2, 1), vacuum=5)
    sheet.pbc = (True, True, False)
    pixel = 2.46 / 16
    image = HAADF.image([sheet], pixel).image
    assert image[:, 16:] == pytest.approx(image[:, :-16], abs=0.02 * image.max())


def test_the_forward_model_agrees() -> None:
    """The quick model explains the multislice image of silicon in graphene, as its docstring says."""
    sheet = graphene(a=2.46, size=(4, 4, 1), vacuum=5)
    sheet.pbc = False
    inner = sheet.positions[:, :2] - sheet.positions[:, :2].mean(axis=0)
    numbers = sheet.numbers.copy()
    numbers[np.linalg.norm(inner, axis=1).argmin()] = 14
    sheet.numbers = numbers
    micrograph = HAADF.image([sheet], PIXEL)
    model, probe = rendered(micrograph, sheet)
    assert np.corrcoef(model.ravel(), micrograph.image.ravel())[0, 1] ** 2 > 0.98
    assert 0.9 < probe.fwhm < 1.4
    assert 1.5 < probe.scattering_exponent < 2.1


def test_noise_is_that_of_counted_electrons() -> None:
    """At a dose, the mean stays and the variance is the mean over the electrons per pixel; a seed repeats it."""
    atoms = Atoms("Si", [[0, 0, 0]])
    clean = HAADF.image([atoms], PIXEL).image
    dosed = HAADF.model_copy(update={"dose": 1e7, "seed": 3})
    noisy = dosed.image([atoms], PIXEL).image
    assert noisy == pytest.approx(dosed.image([atoms], PIXEL).image, abs=0)
    electrons = 1e7 * PIXEL**2
    assert ((noisy - clean) ** 2 * electrons / clean).mean() == pytest.approx(1, abs=0.15)


def test_frozen_phonons_are_frames_of_the_second_half(tmp_path: Path) -> None:
    """Of a trajectory at a temperature; a relaxation's is a way downhill, and its end is displaced at random."""
    with TrajectoryFile(tmp_path / "run.traj", 0) as frames:
        for k in range(20):
            frames.append(Atoms("C2", [[19, 0, 0], [19, 0, k]]), {"energy": 0.0}, step=k)
    result = SimulationResult(
        structure=Structure(atoms=Atoms("C2", [[19, 0, 0], [19, 0, 19]])), energy=0, forces=np.zeros((2, 3)),
        converged=True, trajectory="run.traj", observables={"temperature [K]": [300.0] * 20},
    )  # fmt: skip
    kept = Trajectory(tmp_path / "run.traj")
    apart = [round(float(np.ptp(atoms.positions[:, 2])), 6) for atoms in configurations(result, kept, 4, 0.1, 0)]
    assert len(apart) == 4
    assert apart[0] == 10
    assert apart == sorted(set(apart))
    relaxed = result.model_copy(update={"observables": {}})
    moved = np.array([atoms.positions[0] for atoms in configurations(relaxed, kept, 200, 0.1, 0)])
    assert moved.mean(axis=0) == pytest.approx([19, 0, 0], abs=0.03)
    assert moved.std(axis=0) == pytest.approx([0.1] * 3, rel=0.15)


@pytest.mark.parametrize("periodic", [True, False])
def test_drift_is_no_vibration(tmp_path: Path, periodic: bool) -> None:
    """A sheet that drifts and vibrates is imaged where it was, and its vibrations are all there."""
    sheet = graphene(size=(5, 5, 1), vacuum=5)
    sheet.pbc = (periodic, periodic, False)
    rng = np.random.default_rng(0)
    with TrajectoryFile(tmp_path / "run.traj", 0) as frames:
        for k in range(40):
            atoms = sheet.copy()
            atoms.positions += rng.normal(0, 0.05, (50, 3)) + k * np.array([0.2, 0.1, 0])
            if periodic:
                atoms.wrap()
            frames.append(atoms, {"energy": 0.0}, step=k)
    result = SimulationResult(
        structure=Structure(atoms=sheet), energy=0, forces=np.zeros((50, 3)), converged=True,
        trajectory="run.traj", observables={"temperature [K]": [300.0] * 40},
    )  # fmt: skip
    places = np.array(
        [atoms.positions for atoms in configurations(result, Trajectory(tmp_path / "run.traj"), 20, 0.1, 0)]
    )
    assert len(places) == 20
    assert np.sqrt(places.var(axis=0).mean()) == pytest.approx(0.05, rel=0.06)


def test_the_wavelength_is_relativistic() -> None:
    """0.0487 Å at 60 keV, 0.0251 Å at 200 keV (Williams and Carter, Transmission Electron Microscopy)."""
    assert Multislice(energy=60).wavelength == pytest.approx(0.0487, abs=5e-5)
    assert Multislice(energy=200).wavelength == pytest.approx(0.0251, abs=5e-5)


@pytest.mark.parametrize("options", [{"detector": (86, 80)}, {"detector": (10, 80)}, {"energy": 0}, {"dose": 0}])
def test_what_no_microscope_does_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Multislice.model_validate(options)


def test_the_command_writes_an_image_of_a_run(tmp_path: Path) -> None:
    """From a finished run to an .npz file that needs no pickle, and a picture; a wrong detector is bad input."""
    Structure(atoms=Atoms("CO", [[5, 5, 5], [6.2, 5.4, 5]], cell=[11, 10, 10])).write(tmp_path / "co.extxyz")
    (tmp_path / "run.toml").write_text('structure = "co.extxyz"\n[[simulate]]\nuse = "xtb"\nfmax = 0.1\n')

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [Path(sys.executable).parent / "stem2sim", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert command("run", "run.toml", "--out", "run").returncode == 0
    done = command("multislice", "run", "--phonons", 1, "--pixel-size", 0.2, "--detector", 86, 150, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["result"] == "01-xtb/result.json"
    micrograph = Micrograph.read(tmp_path / "run" / "01-xtb" / "multislice.npz")
    assert micrograph.image.shape == (told["rows"], told["columns"])
    assert micrograph.metadata["detector"] == [86, 150]
    assert micrograph.metadata["abtem"] == version("abtem")
    oxygen = SimulationResult.read(tmp_path / "run" / "01-xtb" / "result.json").structure.atoms.positions[1, :2]
    assert brightest(micrograph) == pytest.approx(oxygen, abs=0.3)
    assert (tmp_path / "run" / "01-xtb" / "multislice.png").read_bytes().startswith(b"\x89PNG")
    for wrong in (("--detector", 20, 10), ("--energy", 0), ("--result", "03-none"), ("--phonons", 0), ("--dose", -1)):
        refused = command("multislice", "run", *wrong)
        assert refused.returncode == 2
        assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
