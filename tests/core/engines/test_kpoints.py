from __future__ import annotations

import pytest
from ase.build import bulk, molecule

from stem2sim.engines.electronic_engine import ElectronicEngine


@pytest.mark.parametrize(
    ("atoms", "kpoints", "warned"),
    [
        (bulk("Si"), (1, 1, 1), True),
        (bulk("Si"), (4, 4, 4), False),
        (bulk("Si"), (4, 4, 1), True),
        (bulk("Si", cubic=True) * (2, 2, 2), (1, 1, 1), False),
        (molecule("CH4", vacuum=3), (1, 1, 1), False),
    ],
)
def test_one_k_point_along_a_short_periodic_vector_is_warned_of(
    atoms: object, kpoints: tuple[int, int, int], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Enough points, a large cell, or a molecule in its box need none."""
    ElectronicEngine.warn_of_few_points(atoms, kpoints)  # type: ignore[arg-type]
    assert bool(caplog.records) == warned
