"""Laws of averages and their error bars."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tests.core.sheets import sheet

from stem2sim.analysis.averages import averages, block_error, temperature_of
from stem2sim.analysis.evolution import Evolution, evolution
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.rings import rings
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure


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
    assert energy.describe() == "potential energy -1.60 ± 0.50 eV"


def test_results_that_did_not_converge_do_not_count() -> None:
    name, one, evolved = result("300K", -1.0)
    assert averages([(name, one.model_copy(update={"converged": False}), evolved)]) == {}


def test_rings_of_a_defect_are_counted() -> None:
    atoms = sheet()
    del atoms[20]
    assert Counter(len(r) for r in rings(Bonds.of(atoms))) == {6: 22, 12: 1}
