"""Results and motion out of what VASP computed: our order of the atoms, our names of the energies, our judgement."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import fs

from stem2sim.engines.motion import Account, BlownUp, Motion
from stem2sim.engines.poscar import fixed_components
from stem2sim.engines.trajectory import TrajectoryFile
from stem2sim.errors import StageFailed
from stem2sim.progress import track
from stem2sim.simulation import constrained
from stem2sim_vasp import folder as contract
from stem2sim_vasp.checks import check_held, echoed, electrons, electrons_told, largest_force, relaxed
from stem2sim_vasp.failures import printed_warnings
from stem2sim_vasp.outputs import DOUBLED, unwrapped
from stem2sim_vasp.request import ASKED

if TYPE_CHECKING:
    from collections.abc import Generator

    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure
    from stem2sim_vasp.calculation import Calculation, Reading
    from stem2sim_vasp.ionic import Ionic
    from stem2sim_vasp.request import Request
    from stem2sim_vasp.vasp import Vasp

log = logging.getLogger("stem2sim")

TRAJECTORY = "relaxation.traj"

KILOBAR = 1602.1766208
"""eV/Å³ in kB."""

STRETCHED = 0.02
"""Share by which a cell may change before its plane waves are another basis."""


def settled(engine: Vasp, structure: Structure, calculation: Calculation) -> SimulationResult:
    """Run or read a relaxation or single point to its end, and return its result."""
    request = calculation.request
    for warning in request.warnings:
        log.warning("%s: %s", engine.name, warning)
    with track(f"{engine.name}: {request.kind}", request.total) as advance:
        for step in calculation.go():
            advance(note=f"{step.free:.4f} eV, largest force {largest_force(request, step):.4f} eV/Å")
    now = calculation.read()
    places = unwrapped(now.steps, request.atoms.get_scaled_positions(wrap=False))
    check_held(request, places)
    last = now.steps[-1]
    if last.forces is None or not np.isfinite(last.forces).all():
        raise StageFailed(f"the last step has no forces: {'; '.join(now.parts[-1].missing)}")
    atoms = placed(structure, request, last, places[-1])
    _write_trajectory(calculation, structure, now, places)
    unconverged = electrons(now.parts)
    moved = request.kind == "relaxation"
    sound = len(now.steps) not in unconverged and now.complete
    done = relaxed(request, now.steps, now.reached) if moved else True
    result = engine.result(
        structure,
        atoms,
        last.free,
        constrained(atoms, undone(request, last.forces)),
        _reason(calculation, now, done) + _energies_told(last),
        converged=sound and done,
        trajectory=TRAJECTORY,
        observables=_series(request, now.steps),
        warnings=_warnings(calculation, now, unconverged),
        seconds=sum(step.seconds for step in now.steps),
        unfinished=not now.complete,
    )
    if now.complete:
        calculation.claim.settle()
    return result.model_copy(update={"made_by": made_by(engine, now), "details": details(calculation, now)})


def made_by(engine: Vasp, now: Reading) -> dict[str, Any]:
    """Return provenance with the version that VASP states."""
    program = next((part.program for part in reversed(now.parts) if part.program), "of unknown version")
    return {**engine.provenance(), "engine": f"VASP {program}"}


def details(calculation: Calculation, now: Reading) -> dict[str, Any]:
    """Return the potentials by title and digest, as far as they are known, and all that VASP was asked."""
    request = calculation.request
    stated = next((part.potentials for part in reversed(now.parts) if part.potentials), [])
    file = calculation.folder / ASKED
    recorded = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {
        "potentials": recorded["potentials"] if recorded.get("potcar") else stated,
        "tags": dict(request.tags),
        "mesh": " ".join(request.mesh.split()[2:]),
    }


def _reason(calculation: Calculation, now: Reading, done: bool) -> str:
    request = calculation.request
    if not now.complete:
        return f"unfinished: {len(now.steps)} of at most {request.total} steps"
    if request.kind == "single-point":
        return "energy and forces of the given structure"
    force = largest_force(request, now.steps[-1])
    limit = request.tags["EDIFFG"]
    if done:
        ending = f"within EDIFFG = {limit:g}"
    elif len(now.steps) >= request.total:
        ending = f"not converged: NSW = {request.total} (max_steps) reached before EDIFFG = {limit:g}"
    else:
        ending = f"not converged: VASP stopped before EDIFFG = {limit:g}"
    return f"largest force {force:.4f} eV/Å after {len(now.steps)} steps, {ending}"


def _energies_told(step: Ionic) -> str:
    beside = [f"{name} {value:.4f} eV" for name, value in (("without entropy", step.without_entropy),
              ("for sigma -> 0", step.extrapolated)) if value is not None]  # fmt: skip
    return f"; free energy {step.free:.4f} eV" + (f" ({', '.join(beside)})" if beside else "")


def _warnings(calculation: Calculation, now: Reading, unconverged: list[int]) -> tuple[str, ...]:
    request = calculation.request
    found = [*request.warnings]
    if any("STAND-IN" in part.program for part in now.parts):
        found.insert(0, "computed by a stand-in for tests, not by VASP: none of these numbers is VASP's")
    told = electrons_told(unconverged, len(now.steps))
    found += [told] if told else []
    for part in now.parts:
        found += [*echoed(request, part), *printed_warnings(part.folder)]
    if now.complete:
        lacking = [text for text in now.parts[-1].missing if "did not come to its end" not in text]
        found += [f"read without: {'; '.join(lacking)}"] if lacking else []
    if request.tags["ISIF"] in range(3, 8) and now.steps:
        change = abs(np.linalg.det(now.steps[-1].cell) / np.linalg.det(np.asarray(request.atoms.cell)) - 1)
        if change > STRETCHED:
            found.append(
                f"the cell's volume changed by {100 * change:.1f} %, and its plane waves are those of the start; relax "
                "again from here"
            )
    return tuple(dict.fromkeys(found))


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


def undone(request: Request, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values of atoms, in the order of the POSCAR, in the order of the structure."""
    out = np.empty_like(values)
    out[request.order] = values
    return out


def placed(structure: Structure, request: Request, step: Ionic, positions: NDArray[np.float64]) -> Atoms:
    """Return the structure's atoms where a step has them; what is held is where it was, to the last digit."""
    atoms: Atoms = structure.atoms.copy()
    start = request.atoms.get_scaled_positions(wrap=False)
    scaled = np.where(fixed_components(request.atoms), start, positions @ np.linalg.inv(step.cell))
    still = np.asarray(fixed_components(request.atoms).all(axis=1))
    fixed = np.where(still[:, None], request.atoms.positions, scaled @ step.cell)
    atoms.set_cell(step.cell if not np.allclose(step.cell, atoms.cell, atol=1e-6) else atoms.cell)
    atoms.set_positions(undone(request, fixed), apply_constraint=False)
    atoms.set_momenta(None)
    return atoms


def _write_trajectory(
    calculation: Calculation, structure: Structure, now: Reading, places: list[NDArray[np.float64]]
) -> None:
    request = calculation.request
    with TrajectoryFile(calculation.folder / TRAJECTORY, 0) as frames:
        for number, (step, positions) in enumerate(zip(now.steps, places, strict=True)):
            found: dict[str, Any] = {"energy": step.free}
            if step.forces is not None:
                found["forces"] = undone(request, step.forces)
            if step.stress is not None:
                found["stress"] = -step.stress / KILOBAR
            frames.append(placed(structure, request, step, positions), found, step=number)


def moves(engine: Vasp, calculation: Calculation) -> Generator[Motion, None, Account]:
    """Yield the steps of dynamics as they come, the start first.

    VASP does not print velocities: momenta are central differences of the positions, one-sided at both ends, and so
    somewhat small where a bond vibrates in few time steps. Kinetic energies are VASP's own.
    """
    request = calculation.request
    for warning in request.warnings:
        log.warning("vasp: %s", warning)
    place = request.atoms.get_scaled_positions(wrap=False)
    before: NDArray[np.float64] | None = None
    waiting: tuple[Ionic, NDArray[np.float64]] | None = None
    steps = calculation.go()
    blown = False
    try:
        for step in steps:
            (now,) = unwrapped([step], place)
            place = now @ np.linalg.inv(step.cell)
            if waiting is not None:
                yield _motion(request, waiting, before, now)
                before = waiting[1]
            waiting = (step, now)
    except BlownUp:
        steps.close()
        blown = True
    reading = calculation.read()
    if waiting is not None and not blown:
        check_held(request, [waiting[1]])
        yield _motion(request, waiting, before, _following(reading, place))
    if reading.complete or blown:
        calculation.claim.settle()
    unconverged = electrons(reading.parts)
    return Account(
        made_by=made_by(engine, reading),
        details=details(calculation, reading),
        unfinished=not reading.complete and not blown,
        sound=not unconverged,
        warnings=_warnings(calculation, reading, unconverged),
        seconds=sum(step.seconds for step in reading.steps),
    )


def _following(now: Reading, place: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Where the atoms would be in the step after the last: CONTCAR says so."""
    source = contract.whole(now.parts[-1].folder) if now.parts else None
    if source is None:
        return None
    cell, scaled = contract.geometry(source.read_text(encoding="utf-8"))
    apart = scaled - place
    if np.abs(apart - np.round(apart)).max() < DOUBLED:  # it is still where the last step was
        return None
    return np.asarray((place + apart - np.round(apart)) @ cell)


def _motion(
    request: Request,
    now: tuple[Ionic, NDArray[np.float64]],
    before: NDArray[np.float64] | None,
    after: NDArray[np.float64] | None,
) -> Motion:
    step, positions = now
    first = positions if before is None else before
    last = positions if after is None else after
    count = (before is not None) + (after is not None)
    duration = max(1, count) * float(request.tags["POTIM"]) * fs  # type: ignore[arg-type]  # of aimd, a number
    velocities = (last - first) / duration
    return Motion(
        positions=undone(request, positions),
        momenta=undone(request, velocities * request.atoms.get_masses()[:, None]),
        potential=step.free,
        forces=None if step.forces is None else undone(request, step.forces),
        kinetic=step.kinetic,
        conserved=step.conserved,
    )
