"""Steps of VASP's own dynamics, with momenta from its positions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from ase.units import fs

from stem2sim.engines.motion import Account, BlownUp, Motion
from stem2sim_vasp import folder as contract
from stem2sim_vasp.checks import check_fixed, unconverged_steps
from stem2sim_vasp.outputs import DOUBLED, unwrapped
from stem2sim_vasp.result import details_of, provenance_of, warnings_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from stem2sim.engines.engine import Engine
    from stem2sim_vasp.calculation import Calculation
    from stem2sim_vasp.ionic import Ionic
    from stem2sim_vasp.reading import Reading
    from stem2sim_vasp.request import Request

log = logging.getLogger("stem2sim")


def motions_of(engine: Engine, calculation: Calculation) -> Generator[Motion, None, Account]:
    """Yield the steps of dynamics as they come, the start first.

    VASP does not print velocities: momenta are central differences of the positions, one-sided at both ends, and so
    somewhat small where a bond vibrates in few time steps. Kinetic energies are VASP's own.
    """
    request = calculation.request
    for warning in request.warnings:
        log.warning("%s: %s", engine.name, warning)
    scaled = request.atoms.get_scaled_positions(wrap=False)
    before: NDArray[np.float64] | None = None
    current: tuple[Ionic, NDArray[np.float64]] | None = None
    steps = calculation.steps()
    blown_up = False
    try:
        for step in steps:
            (positions,) = unwrapped([step], scaled)
            scaled = positions @ np.linalg.inv(step.cell)
            if current is not None:
                yield _motion(request, current, before, positions)
                before = current[1]
            current = (step, positions)
    except BlownUp:
        steps.close()
        blown_up = True
    reading = calculation.read()
    if current is not None and not blown_up:
        check_fixed(request, [current[1]])
        yield _motion(request, current, before, _next_positions(reading, scaled))
    if reading.complete or blown_up:
        calculation.claim.settle()
    unconverged = unconverged_steps(reading.parts)
    return Account(
        made_by=provenance_of(engine, reading),
        details=details_of(calculation, reading),
        unfinished=not reading.complete and not blown_up,
        sound=not unconverged,
        warnings=warnings_of(request, reading, unconverged),
        seconds=sum(step.seconds for step in reading.steps),
    )


def _next_positions(reading: Reading, scaled: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Positions in the step after the last, from the CONTCAR [Å]; None where there are none."""
    source = contract.complete_contcar(reading.parts[-1].folder) if reading.parts else None
    if source is None:
        return None
    cell, positions = contract.geometry(source.read_text(encoding="utf-8"))
    apart = positions - scaled
    if np.abs(apart - np.round(apart)).max() < DOUBLED:  # it still is that of the last step
        return None
    return np.asarray((scaled + apart - np.round(apart)) @ cell)


def _motion(
    request: Request,
    current: tuple[Ionic, NDArray[np.float64]],
    before: NDArray[np.float64] | None,
    after: NDArray[np.float64] | None,
) -> Motion:
    step, positions = current
    first = positions if before is None else before
    last = positions if after is None else after
    count = (before is not None) + (after is not None)
    duration = max(1, count) * float(request.tags["POTIM"]) * fs  # type: ignore[arg-type]  # of aimd, a number
    velocities = (last - first) / duration
    return Motion(
        positions=request.in_order_of_structure(positions),
        momenta=request.in_order_of_structure(velocities * request.atoms.get_masses()[:, None]),
        potential=step.free,
        forces=None if step.forces is None else request.in_order_of_structure(step.forces),
        kinetic=step.kinetic,
        conserved=step.conserved,
    )
