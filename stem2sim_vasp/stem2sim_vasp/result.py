"""The result of a relaxation or single point: the structure's order of atoms, our names of energies, our judgement."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from stem2sim.engines.poscar import fixed_components
from stem2sim.engines.trajectory import TrajectoryFile
from stem2sim.errors import StageFailed
from stem2sim.progress import track
from stem2sim.simulation import USED, constrained
from stem2sim_vasp.checks import (
    check_fixed,
    describe_unconverged,
    echo_warnings,
    largest_force,
    relaxed,
    unconverged_steps,
)
from stem2sim_vasp.failures import printed_warnings
from stem2sim_vasp.outputs import unwrapped
from stem2sim_vasp.request import REQUESTED

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.engines.engine import Engine
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure
    from stem2sim_vasp.calculation import Calculation
    from stem2sim_vasp.ionic import Ionic
    from stem2sim_vasp.reading import Reading
    from stem2sim_vasp.request import Request

log = logging.getLogger("stem2sim")

TRAJECTORY = "relaxation.traj"

STRETCHED = 0.02
"""Share by which a cell may change before its plane waves are another basis."""


def result_of(engine: Engine, structure: Structure, calculation: Calculation) -> SimulationResult:
    """Run or read a relaxation or single point to its end, and return its result."""
    request = calculation.request
    for warning in request.warnings:
        log.warning("%s: %s", engine.name, warning)
    with track(f"{engine.name}: {request.kind}", request.total) as advance:
        for step in calculation.steps():
            advance(note=f"{step.free:.4f} eV, largest force {largest_force(request, step):.4f} eV/Å")
    reading = calculation.read()
    positions = unwrapped(reading.steps, request.atoms.get_scaled_positions(wrap=False))
    check_fixed(request, positions)
    last = reading.steps[-1]
    if last.forces is None or not np.isfinite(last.forces).all():
        raise StageFailed(f"the last step has no forces: {'; '.join(reading.parts[-1].missing)}")
    atoms = placed(structure, request, last, positions[-1])
    _write_trajectory(calculation.folder / TRAJECTORY, structure, request, reading, positions)
    unconverged = unconverged_steps(reading.parts)
    sound = len(reading.steps) not in unconverged and reading.complete
    done = relaxed(request, reading.steps, reading.reached) if request.kind == "relaxation" else True
    result = engine.result(
        structure,
        atoms,
        last.free,
        constrained(atoms, request.in_order_of_structure(last.forces)),
        _reason(request, reading, done) + _energies(last),
        converged=sound and done,
        trajectory=TRAJECTORY,
        observables=_series(request, reading.steps),
        warnings=warnings_of(request, reading, unconverged),
        seconds=sum(step.seconds for step in reading.steps),
        unfinished=not reading.complete,
    )
    if reading.complete:
        calculation.claim.settle()
    update = {"made_by": provenance_of(engine, reading), "details": details_of(calculation, reading)}
    return result.model_copy(update=update)


def provenance_of(engine: Engine, reading: Reading) -> dict[str, Any]:
    """Return the engine's provenance with the version that VASP states."""
    program = next((part.program for part in reversed(reading.parts) if part.program), "of unknown version")
    return {**engine.provenance(), "engine": f"VASP {program}"}


def details_of(calculation: Calculation, reading: Reading) -> dict[str, Any]:
    """Return the potentials by title and digest, as far as they are known, and all tags."""
    request = calculation.request
    stated = next((part.potentials for part in reversed(reading.parts) if part.potentials), [])
    file = calculation.folder / REQUESTED
    recorded = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {
        "potentials": recorded["potentials"] if recorded.get("potcar") else stated,
        "tags": dict(request.tags),
        "mesh": " ".join(request.mesh.split()[2:]),
        USED: {"kpoints": list(request.kpoints)},
    }


def _reason(request: Request, reading: Reading, done: bool) -> str:
    if not reading.complete:
        return f"unfinished: {len(reading.steps)} of at most {request.total} steps"
    if request.kind == "single-point":
        return "energy and forces of the given structure"
    force = largest_force(request, reading.steps[-1])
    limit = request.tags["EDIFFG"]
    maximum, steps = f"maximum force {force:.4f} eV/Å", len(reading.steps)
    if done:
        return f"converged in {steps} steps; {maximum} (EDIFFG = {limit:g})"
    if steps >= request.total:
        return f"not converged: NSW = {request.total} (max_steps) reached before EDIFFG = {limit:g}, {maximum}"
    return f"not converged: VASP stopped before EDIFFG = {limit:g} after {steps} steps, {maximum}"


def _energies(step: Ionic) -> str:
    others = [f"{name} {value:.4f} eV" for name, value in (("without entropy", step.without_entropy),
              ("for sigma -> 0", step.extrapolated)) if value is not None]  # fmt: skip
    return f"; free energy {step.free:.4f} eV" + (f" ({', '.join(others)})" if others else "")


def warnings_of(request: Request, reading: Reading, unconverged: list[int]) -> tuple[str, ...]:
    """Return what a reader of the numbers should know.

    Args:
        request: that was computed.
        reading: what there is of it.
        unconverged: steps whose electrons are not converged.
    """
    warnings = [*request.warnings]
    if any("STAND-IN" in part.program for part in reading.parts):
        warnings.insert(0, "computed by a stand-in for tests, not by VASP: none of these numbers is VASP's")
    if unconverged:
        warnings.append(describe_unconverged(unconverged, len(reading.steps)))
    for part in reading.parts:
        warnings += [*echo_warnings(request, part), *printed_warnings(part.folder)]
    if reading.complete:
        missing = [text for text in reading.parts[-1].missing if "did not come to its end" not in text]
        warnings += [f"incomplete output: {'; '.join(missing)}"] if missing else []
    if request.tags["ISIF"] in range(3, 8) and reading.steps:
        change = abs(np.linalg.det(reading.steps[-1].cell) / np.linalg.det(np.asarray(request.atoms.cell)) - 1)
        if change > STRETCHED:
            warnings.append(
                f"the cell's volume changed by {100 * change:.1f} %, but its plane waves are those of the initial "
                "cell; relax again from here"
            )
    return tuple(dict.fromkeys(warnings))


def _series(request: Request, steps: list[Ionic]) -> dict[str, list[float]]:
    series = {
        "energy [eV]": [step.free for step in steps],
        "largest force [eV/Å]": [largest_force(request, step) for step in steps],
    }
    for name, values in (
        ("energy without entropy [eV]", [step.without_entropy for step in steps]),
        ("energy for sigma -> 0 [eV]", [step.extrapolated for step in steps]),
    ):
        if None not in values:
            series[name] = [float(value) for value in values if value is not None]
    return series


def placed(structure: Structure, request: Request, step: Ionic, positions: NDArray[np.float64]) -> Atoms:
    """Return the structure's atoms where a step has them; fixed components are where they were, to the last digit."""
    atoms: Atoms = structure.atoms.copy()
    start = request.atoms.get_scaled_positions(wrap=False)
    fixed = fixed_components(request.atoms)
    scaled = np.where(fixed, start, positions @ np.linalg.inv(step.cell))
    still = np.asarray(fixed.all(axis=1))
    moved = np.where(still[:, None], request.atoms.positions, scaled @ step.cell)
    atoms.set_cell(step.cell if not np.allclose(step.cell, atoms.cell, atol=1e-6) else atoms.cell)
    atoms.set_positions(request.in_order_of_structure(moved), apply_constraint=False)
    atoms.set_momenta(None)
    return atoms


def _write_trajectory(
    path: Path, structure: Structure, request: Request, reading: Reading, positions: list[NDArray[np.float64]]
) -> None:
    with TrajectoryFile(path, 0) as file:
        for number, (step, cartesian) in enumerate(zip(reading.steps, positions, strict=True)):
            results: dict[str, Any] = {"energy": step.free}
            if step.forces is not None:
                results["forces"] = request.in_order_of_structure(step.forces)
            stress = step.ase_stress()
            if stress is not None:
                results["stress"] = stress
            file.append(placed(structure, request, step, cartesian), results, step=number)
