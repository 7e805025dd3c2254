"""What the tests of VASP share: toy potentials, and a stand-in that is quick."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.vasp.potcars import write_potential

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy potentials, laid out as ASE has them."""
    folder = tmp_path_factory.mktemp("potentials")
    for element in ("H", "C", "Si", "Cr"):
        write_potential(folder, element)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that needs milliseconds, and no wish of this machine's."""
    for name in list(os.environ):
        if name.startswith("VASP_") or name == "ASE_VASP_COMMAND":
            monkeypatch.delenv(name)
    monkeypatch.setenv("VASP_STANDIN_ENGINE", "springs")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
