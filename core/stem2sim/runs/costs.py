"""The cost of every simulation of a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stem2sim.engines.engine import Engine
from stem2sim.errors import BadInput
from stem2sim.runs.estimate import Estimate, duration, estimate
from stem2sim.runs.names import StepName

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stem2sim.config.config import Config
    from stem2sim.structure import Structure


@dataclass(frozen=True)
class Cost:
    """What one simulation of one structure will cost."""

    step: str
    structure: str
    estimate: Estimate
    steps: int
    starts: int
    """Trajectories, relaxations or single points, each with a first step."""
    known: bool
    """Whether the number of steps is given; a relaxation takes what it takes."""

    @property
    def seconds(self) -> float:
        """Time of all steps."""
        return self.starts * self.estimate.first + self.steps * self.estimate.step

    def describe(self) -> str:
        """Return one line."""
        what = f"{self.steps} steps" if self.known else f"every {self.steps} steps"
        what = what if self.steps else f"single points: {self.starts},"
        return f"{self.step} of {self.structure}: {self.estimate.describe()}; {what} {duration(self.seconds)}"

    def summary(self) -> dict[str, Any]:
        """Return the numbers for programs."""
        one = self.estimate
        return {
            "step": self.step,
            "structure": self.structure,
            "atoms": one.atoms,
            "seconds_per_step": one.step,
            "seconds_per_step_between": one.between,
            "steps": self.steps if self.known else None,
            "seconds": self.seconds,
            "memory_bytes": one.memory,
            "probes": [vars(probe) for probe in one.probes],
        }


def costs(config: Config, structures: Sequence[tuple[Path, Structure]]) -> list[Cost]:
    """Return the cost of each simulation, for the structures that the config builds.

    Raises:
        BadInput: no structures, or no simulation that runs an engine.
    """
    if not structures:
        raise BadInput("there is no structure to estimate the cost of: the config has no builders")
    found = []
    # variants differ by an atom or two: one of them is measured for all
    path, structure = max(structures, key=lambda one: len(one[1].atoms))
    for number, simulator in enumerate(config.simulate, start=1):
        workload = simulator.workload()
        if workload is not None and isinstance(workload.engine, Engine):
            measured = estimate(workload.engine, workload.engine.adopt(structure))
            several = f"{len(structures)} structures like {path.name}" if len(structures) > 1 else path.name
            step = StepName("simulate", number, simulator.name).short
            count = len(structures)
            found.append(Cost(step, several, measured, workload.steps * count, workload.starts * count, workload.known))
    if not found:
        raise BadInput("no simulation of this config runs an engine; there is nothing to estimate")
    return found
