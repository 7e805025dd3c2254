"""Laws of what samples say together."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule

from stem2sim.analysis.samples import sample_statistics
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure


def result(label: str, energy: float, name: str = "C6H6", converged: bool = True) -> SimulationResult:
    atoms = molecule(name)
    return SimulationResult(
        structure=Structure(atoms=atoms, label=label), energy=energy, forces=np.zeros((len(atoms), 3)),
        converged=converged, reason="", made_by={"use": "xtb"},
    )  # fmt: skip


def test_samples_of_one_composition_give_a_mean_and_a_spread() -> None:
    """Others have their own; what did not converge counts nowhere, and is named; one sample has no spread."""
    samples = [result(f"sample-{k}", energy) for k, energy in enumerate((-1.0, -2.0, -3.0), start=1)]
    samples += [result("sample-4", -50.0, "C2H4"), result("sample-5", 99.0, converged=False)]
    named = [(f"patch-1-{one.structure.label}", one) for one in samples]
    (found,) = sample_statistics(named).values()
    assert set(sample_statistics(named)) == {"patch-1-samples"}
    assert found["number"] == "5, 1 not converged"
    assert found["energy of C6H6"] == "-2.000 ± 1.000 eV (3)"
    assert found["energy of C2H4"] == "-50.000 eV (1)"
    mean, error = (float(part.split()[0]) for part in found["C-C bonds, mean"].split(" ± "))
    lengths = [1.395] * 3 + [1.331]
    assert mean == pytest.approx(np.mean(lengths), abs=0.005)
    assert error == pytest.approx(np.std(lengths, ddof=1), abs=0.005)
    assert sample_statistics(named[:1]) == {}
    assert sample_statistics([("surface", result("surface", 0.0))] * 2) == {}
