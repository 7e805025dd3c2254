"""Results side by side, so that engines and temperatures can be compared."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.rings import LARGEST_RING, rings
from stem2sim.geometry.superposition import moved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ase import Atoms

    from stem2sim.engines.trajectory import Trajectory
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure

MOST_FRAMES = 40
"""Of a trajectory, evenly spaced; more would not change a mean bond length."""


@dataclass(frozen=True)
class Row:
    """One result in numbers."""

    step: str
    label: str
    engine: str
    formula: str
    energy: float
    """[eV]."""
    relative: float | None
    """Above the lowest result of the same atoms by the same simulation [eV]; None where there is no other."""
    bonds: dict[str, float]
    """Mean length by kind [Å]; over the second half of a trajectory at a temperature."""
    rings: dict[int, int]
    """Size -> count, at the end, without holes."""
    broken: int | None
    """Bonds of the start that the end lacks; None where the start is not known."""
    formed: int | None
    moved: float | None
    """Root mean square displacement [Å], rigid motion removed."""
    converged: bool
    seconds: float
    stale: str = ""
    """Why the present config of its run would not make it; '' where it would."""

    def cells(self) -> dict[str, str]:
        """Return what a table shows, by column."""
        notes = ", ".join(["stale"] * bool(self.stale) + ["not converged"] * (not self.converged))
        name = f"{self.step} {self.label}".strip() + (f" ({notes})" if notes else "")
        changed = "" if self.broken is None else f"{self.broken} / {self.formed}"
        return {
            "result": name,
            "engine": self.engine,
            "energy [eV]": f"{self.energy:.4f}",
            "relative [eV]": "" if self.relative is None else f"{self.relative:.3f}",
            **{f"{kind} [Å]": f"{value:.3f}" for kind, value in self.bonds.items()},
            "rings": ", ".join(f"{count} of {size}" for size, count in self.rings.items()),
            "bonds broken / formed": changed,
            "moved [Å]": "" if self.moved is None else f"{self.moved:.3f}",
            "time [s]": f"{self.seconds:.1f}",
        }

    def describe(self) -> str:
        """Return bonds and rings in words."""
        bonds = ", ".join(f"{kind} {value:.3f} Å" for kind, value in self.bonds.items())
        changed = "" if self.broken is None else f"; bonds broken {self.broken}, formed {self.formed}"
        listed = ", ".join(f"{count} of {size}" for size, count in self.rings.items()) or "none"
        return f"{bonds}; rings {listed}{changed}"

    def summary(self) -> dict[str, Any]:
        """Return all of it for programs."""
        return {
            "engine": self.engine,
            "relative_energy_eV": self.relative,
            "mean_bonds_A": self.bonds,
            "rings": self.rings,
            "bonds_broken": self.broken,
            "bonds_formed": self.formed,
            "moved_A": self.moved,
            "seconds": self.seconds,
            "stale": self.stale,
        }


def row(step: str, result: SimulationResult, start: Structure | None, trajectory: Trajectory | None = None) -> Row:
    """Return the numbers of one result.

    Args:
        step: name of the step's folder.
        result: of it.
        start: what it started from, where that is known.
        trajectory: of it, where that is known.
    """
    atoms = result.structure.atoms
    known = start is not None and len(start.atoms) == len(atoms)
    before = _bonded(start.bonds) if start is not None and known else set()
    after = _bonded(result.structure.bonds)
    return Row(
        step=step,
        label=result.label,
        engine=engine_of(result),
        formula=str(atoms.get_chemical_formula("hill")),
        energy=result.energy,
        relative=None,
        bonds=_lengths(result, trajectory),
        rings=dict(sorted(Counter(len(r) for r in rings(result.structure.bonds) if len(r) <= LARGEST_RING).items())),
        broken=len(before - after) if known else None,
        formed=len(after - before) if known else None,
        moved=displacement(start.atoms, atoms) if start is not None and known else None,
        converged=result.converged,
        seconds=result.seconds,
    )


def compared(rows: Sequence[tuple[Row, SimulationResult]]) -> list[Row]:
    """Return the rows with energies relative to the lowest of the same atoms by the same simulation.

    Results that did not converge take no part.
    """
    lowest: dict[str, list[float]] = {}
    for entry, result in rows:
        if entry.converged and "temperature [K]" not in result.observables:
            lowest.setdefault(_protocol(entry, result), []).append(entry.energy)
    out = []
    for entry, result in rows:
        energies = lowest.get(_protocol(entry, result), [])
        # the energy of a trajectory's last frame is one of many
        comparable = entry.converged and "temperature [K]" not in result.observables and len(energies) > 1
        out.append(replace(entry, relative=entry.energy - min(energies)) if comparable else entry)
    return out


def _protocol(entry: Row, result: SimulationResult) -> str:
    return json.dumps([entry.formula, result.structure.charge, result.made_by], sort_keys=True, default=str)


def engine_of(result: SimulationResult) -> str:
    """Return which engine computed a result, and its version."""
    made = result.made_by
    inner = made.get("engine")
    if isinstance(inner, dict):
        return str(inner.get("engine") or inner.get("version") or inner.get("use", ""))
    return str(inner or made.get("version", ""))


def table(rows: Iterable[Row]) -> tuple[list[str], list[list[str]]]:
    """Return the columns that are not empty, and the cells of each row."""
    cells = [entry.cells() for entry in rows]
    order = ["result", "engine", "energy [eV]", "relative [eV]"]
    tail = ["rings", "bonds broken / formed", "moved [Å]", "time [s]"]
    kinds = sorted({name for row in cells for name in row} - {*order, *tail})
    columns = [name for name in (*order, *kinds, *tail) if any(row.get(name) for row in cells)]
    return columns, [[row.get(name, "") for name in columns] for row in cells]


def _lengths(result: SimulationResult, trajectory: Trajectory | None) -> dict[str, float]:
    images = [result.structure.bonds]
    if trajectory is not None and "temperature [K]" in result.observables:
        images = [Bonds.of(atoms) for atoms in trajectory.second_half(MOST_FRAMES)] or images
    kinds: dict[str, list[float]] = {}
    for bonds in images:
        for kind, lengths in bonds.lengths().items():
            kinds.setdefault(kind, []).extend(lengths.tolist())
    return {kind: float(np.mean(lengths)) for kind, lengths in sorted(kinds.items())}


def _bonded(bonds: Bonds) -> set[tuple[int, int]]:
    i, j, _ = bonds.once
    return set(zip(i.tolist(), j.tolist(), strict=True))


def displacement(before: Atoms, after: Atoms) -> float:
    """Return the root mean square displacement [Å], rigid motion removed, in a periodic cell drift only."""
    return float(np.sqrt((moved(before, after) ** 2).sum(axis=1).mean()))
