"""What the tests of several distributions share."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
from ase.calculators.emt import EMT
from hypothesis import HealthCheck, settings

from stem2sim.atoms_table import AtomsTable
from stem2sim.config.config import read_config
from stem2sim.engines.engine import Engine
from stem2sim.segmentation import Segmentation
from stem2sim.structure import Structure
from stem2sim.testing import graphene_image, graphene_sheet
from tests.made_runs import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

    from stem2sim.stages import Builder

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

# one seed for all: a law that fails must fail again on the next run
settings.register_profile(
    "stem2sim", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("stem2sim")
os.environ.setdefault("COLUMNS", "200")


@pytest.fixture(scope="session")
def stem() -> Path:
    """Real micrographs; they lie beside the project, not in it."""
    folder = SHARED / "data" / "stem"
    if not folder.is_dir():
        pytest.skip("no real frames: ../shared/data/stem is absent")
    return folder


class Emt(Engine):
    """Effective-medium theory of metals: real forces in a millisecond."""

    name: ClassVar[str] = "emt"

    @contextmanager
    def calculator(self, structure: Structure, workdir: Path) -> Iterator[EMT]:
        """Lend ASE's EMT."""
        yield EMT()


@pytest.fixture
def emt() -> Emt:
    """Return an engine that costs nothing."""
    return Emt()


def table_of(xy: np.ndarray, species: str = "C", probability: float | np.ndarray = 1.0) -> AtomsTable:
    """Return an atoms table of positions [Å]."""
    n = len(xy)
    return AtomsTable(
        x=xy[:, 0],
        y=xy[:, 1],
        species=np.full(n, species),
        probability=np.broadcast_to(probability, n).astype(float),
        position_std=np.full(n, 0.05),
        entropy=np.zeros(n),
    )


def flake(width: float = 12.0, angle: float = 10.0) -> Structure:
    """Return flat graphene as `place` would leave it."""
    sheet = graphene_sheet(width, angle)
    sheet.set_array("source", np.arange(len(sheet)))
    sheet.set_array("probability", np.ones(len(sheet)))
    sheet.set_array("position_std", np.full(len(sheet), 0.05))
    return Structure(atoms=sheet)


NOTHING = Segmentation(atoms=AtomsTable.empty())


def benzene() -> Atoms:
    """Return C6H6."""
    from ase.build import molecule

    return molecule("C6H6")


def built(structure: Structure, *builders: Builder) -> Structure:
    """Return what a chain of builders that yield one structure each makes of a structure."""
    for builder in builders:
        (structure,) = builder.build(structure, NOTHING)
    return structure


def small_run(base: Path) -> Path:
    """Return a run folder with a frame, a relaxation and a trajectory; the frame's name holds what HTML must escape."""
    np.save(base / "a<b>&c.npy", graphene_image(16.0).pixels)
    config = read_config(
        {
            "image": {"path": str(base / "a<b>&c.npy"), "pixel_size": 0.1},
            "segment": {"use": "peaks"},
            "build": [{"use": "place"}, {"use": "patch", "size": 10}, {"use": "hterm"}],
            "simulate": [{"use": "xtb", "max_steps": 2}, {"use": "aimd", "steps": 6, "engine": {"use": "xtb"}}],
        }
    )
    run(config, base / "run")
    return base / "run"


def stem2sim(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell would."""
    command = [sys.executable, "-m", "stem2sim.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
