"""The result of a simulation: energy, forces, final structure, and whether it converged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from stem2sim.errors import BadInput, damaged
from stem2sim.files import write_text
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ase import Atoms

USED = "used"
"""Key in `SimulationResult.details` of options whose default depends on the structure, with the values that were used;
those of an engine within a simulator are a table `engine` in it."""


class SimulationResult(BaseModel):
    """The outcome of one simulation of one structure."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    structure: Structure = Field(description="the final structure", repr=False)
    energy: float = Field(description="energy of the final structure [eV]")
    forces: NDArray[np.float64] = Field(description="(atoms, 3) on the final structure, constraints applied [eV/Å]")
    converged: bool = Field(description="whether the simulation converged, or reached its number of steps")
    reason: str = Field("", description="in words: the criterion that was reached, or why it was not")
    trajectory: str | None = Field(None, description="ASE trajectory, relative to the simulation's folder")
    observables: dict[str, list[float]] = Field(
        default_factory=dict, description="equally long series over the run, names end in their unit", repr=False
    )
    made_by: dict[str, Any] = Field(default_factory=dict, description="simulator, its options, and engine versions")
    details: dict[str, Any] = Field(
        default_factory=dict, description="other inputs of the calculation than options: potentials, tags"
    )
    warnings: tuple[str, ...] = Field((), description="caveats")
    seconds: float = Field(0.0, ge=0, description="wall-clock time it took, resumed work counted once [s]")
    started_from: str = Field("", description="file of the structure it started from, relative to the run folder")
    unfinished: bool = Field(False, description="whether it is a partial result of a simulation that may continue")
    label: str = Field("", description="name of the result, where a simulation has several, such as '300K'")

    @property
    def options(self) -> dict[str, Any]:
        """`made_by`, with the values of the options that were decided while it ran (see `USED`)."""
        return _merged(self.made_by, self.details.get(USED, {}))

    @property
    def record(self) -> dict[str, Any]:
        """Everything that it was made with: `options` and the other details."""
        return {**self.options, **{key: value for key, value in self.details.items() if key != USED}}

    @property
    def largest_force(self) -> float:
        """Largest force on one atom [eV/Å]."""
        return float(np.linalg.norm(self.forces, axis=1).max(initial=0.0))

    def write(self, folder: Path, stem: str = "result") -> None:
        """Write `<stem>.extxyz` (final structure), then `<stem>.json` (the rest): the second marks it complete."""
        self.structure.write(folder / f"{stem}.extxyz")
        record = self.model_dump(exclude={"structure", "forces"})
        record |= {"structure": f"{stem}.extxyz", "forces": self.forces.round(8).tolist()}
        write_text(folder / f"{stem}.json", json.dumps(record, indent=1, default=str))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the `<stem>.json` that `write` left.

        Raises:
            BadInput: missing or damaged file.
        """
        try:
            return cls.parse(path.read_bytes(), path, Structure.read)
        except OSError as problem:
            raise BadInput(damaged(path)) from problem

    @classmethod
    def parse(cls, content: bytes, path: Path, read_structure: Callable[[Path], Structure]) -> Self:
        """Return the result that a file holds, by its content.

        Args:
            content: of the `<stem>.json`.
            path: of it, beside which the structure lies.
            read_structure: reads that.

        Raises:
            BadInput: a damaged file.
        """
        try:
            record = json.loads(content)
            fields = {name: record[name] for name in cls.model_fields if name in record}
            fields["structure"] = read_structure(path.parent / record["structure"])
            fields["forces"] = np.array(record["forces"], dtype=float).reshape(-1, 3)
            return cls(**fields)
        except BadInput as problem:  # the structure
            raise BadInput(f"{problem} (it belongs to {path}; delete that, and its step runs again)") from problem
        except (OSError, KeyError, TypeError, ValueError) as problem:
            raise BadInput(damaged(path)) from problem


def with_used(details: dict[str, Any], **used: Any) -> dict[str, Any]:
    """Return the details of a simulator, from those of its engine and the values of its own options that were decided.

    Args:
        details: of the engine's calculation.
        used: option -> value.
    """
    within = {"engine": details[USED]} if USED in details else {}
    return {**details, USED: {**used, **within}} if used or within else details


def _merged(made: dict[str, Any], used: dict[str, Any]) -> dict[str, Any]:
    within = {key: _merged(made[key], value) for key, value in used.items() if isinstance(made.get(key), dict)}
    return {**made, **used, **within}


def constrained(atoms: Atoms, forces: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the constraints of atoms leave of forces (atoms, 3) [eV/Å]."""
    left = forces.copy()
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, left)
    return left
