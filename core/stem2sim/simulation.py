"""The result of a simulation: energy, forces, final structure, and whether it converged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stem2sim.errors import BadInput, damaged, nearest
from stem2sim.files import write_text
from stem2sim.noun import Noun, data_frame
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ase import Atoms
    from matplotlib.axes import Axes
    from pandas import DataFrame

USED = "used"
"""Key in `SimulationResult.details` of options whose default depends on the structure, with the values that were used;
those of an engine within a simulator are a table `engine` in it."""


class SimulationResult(Noun):
    """The outcome of one simulation of one structure."""

    not_compared: ClassVar[frozenset[str]] = frozenset({"seconds"})

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

    @property
    def atoms(self) -> Atoms:
        """The final structure as Atoms of ASE."""
        return self.structure.atoms

    def describe(self) -> str:
        """Return simulator, formula, energy, and whether it converged."""
        what = " ".join(filter(None, [str(self.made_by.get("use", "")), self.label]))
        formula = self.atoms.get_chemical_formula("hill")
        done = "complete" if any(name.startswith("time [") for name in self.observables) else "converged"
        ended = done if self.converged else "NOT CONVERGED"
        return f"{what}: {formula}, {self.energy:.4f} eV, {ended}".removeprefix(": ")

    def facts(self) -> dict[str, str]:
        """Return energy, largest force, how it ended, how long it took, and caveats."""
        facts = {
            "simulation": " ".join(filter(None, [str(self.made_by.get("use", "")), self.label])),
            "structure": self.structure.describe(),
            "energy": f"{self.energy:.4f} eV",
            "largest force": f"{self.largest_force:.4f} eV/Å",
            "outcome": self.reason or ("converged" if self.converged else "not converged"),
            "time": f"{self.seconds:.1f} s",
            "observables": ", ".join(self.observables),
            "caveats": "; ".join(self.warnings),
        }
        return {name: text for name, text in facts.items() if text}

    def plot(self, ax: Axes | None = None, observable: str | None = None) -> Axes:
        """Draw the final structure as seen along the beam, or the course of an observable.

        Args:
            ax: axes to draw into; default: new ones.
            observable: name of one, with or without its unit, such as "temperature".

        Raises:
            BadInput: no such observable.
        """
        if observable is None:
            return self.structure.plot(ax)
        from stem2sim.drawing import new_axes

        known = list(self.observables)
        name = next((one for one in known if observable in (one, one.partition(" [")[0])), None)
        if name is None:
            near = nearest(observable, known)
            raise BadInput(f"no observable '{observable}'; observables: {', '.join(known) or 'none'}{near}")
        ax = ax or new_axes()
        time = next((one for one in known if one.startswith("time [")), None)
        values = self.observables[name]
        ax.plot(self.observables[time] if time else range(len(values)), values)
        ax.ticklabel_format(useOffset=False)
        ax.set_xlabel(time or "step")
        ax.set_ylabel(name)
        return ax

    def frames(self) -> list[Atoms]:
        """Return the frames of its trajectory.

        Raises:
            BadInput: it has no trajectory, or its files are gone, or hold another result by now.
        """
        from ase.io import iread

        if self.file is not None and self.file.is_file() and type(self).read(self.file) != self:
            raise BadInput(f"{self.file} holds another result by now, and the trajectory beside it is not of this one")

        path = self.file.parent / self.trajectory if self.file is not None and self.trajectory else None
        if path is None or not path.is_file():
            raise BadInput(f"there is no trajectory{f' at {path}' if path else ''}")
        return list(iread(path, format="traj"))

    def to_pandas(self) -> DataFrame:
        """Return the observables as a DataFrame, one row for each recorded step.

        Raises:
            BadInput: pandas is not installed.
        """
        return data_frame(self.observables)

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
            return cls(**fields).read_from(path)
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
