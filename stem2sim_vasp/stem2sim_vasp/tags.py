"""INCAR tags of a task, from the options, the atoms and the ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from ase.units import kB

from stem2sim.engines.poscar import fixed_components
from stem2sim.errors import BadInput
from stem2sim_vasp import incar

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.engines.motion import Bath
    from stem2sim_vasp.incar import Tags
    from stem2sim_vasp.options import VaspOptions

MASS_UNIT = 103.642696
"""amu Å²/fs² in eV."""

PERIOD = 40
"""Time steps in the oscillation of the thermostat that SMASS = 0 means (https://www.vasp.at/wiki/index.php/SMASS)."""

MOMENTS = {"Cr": 6.0, "Mn": 5.0, "Fe": 4.0, "Co": 3.0, "Ni": 2.0, "V": 3.0, "Ti": 2.0, "Si": 0.0, "C": 0.0, "H": 0.0}
"""Initial magnetic moment where the atoms have none: unpaired electrons of the free atom [Bohr magnetons]."""

OWNED = {"NSW": "max_steps (steps of aimd)", "POTIM": "time_step of aimd", "TEBEG": "temperature of aimd",
         "TEEND": "temperature of aimd", "MDALGO": "ensemble and thermostat of aimd", "NBLOCK": "interval of aimd",
         "IBRION": "aimd", "MAGMOM": "the atoms' own initial magnetic moments"}  # fmt: skip
"""Tags that other options set, in dynamics: two settings of one thing would be one too many."""

Kind = Literal["single-point", "relaxation", "dynamics"]


def tags_of(options: VaspOptions, atoms: Atoms, kind: Kind, steps: int, bath: Bath | None) -> Tags:
    """Return the tags of a task, without those that the user sets.

    Args:
        options: of the engine.
        atoms: in the order of the POSCAR.
        kind: of calculation.
        steps: ionic steps.
        bath: of dynamics.

    Raises:
        BadInput: an ensemble that VASP does not have.
    """
    tags: Tags = {"SYSTEM": f"stem2sim {kind} of {atoms.get_chemical_formula('hill')}", **incar.COMMON}
    tags["ENCUT"] = options.encut
    tags["ISPIN"] = 2 if options.spin else 1
    if options.spin:
        tags["LORBIT"] = 11
        own = atoms.get_initial_magnetic_moments()
        moments = own if own.any() else [MOMENTS.get(e, 0.0) for e in atoms.get_chemical_symbols()]
        tags["MAGMOM"] = tuple(float(m) for m in moments)
        if options.unpaired is not None:
            tags["NUPDOWN"] = options.unpaired
    if options.dispersion is not None:
        tags["IVDW"] = {"d3": 11, "d3-bj": 12}[options.dispersion]
    if max(atoms.cell.lengths()) > incar.LONG_CELL:
        tags["AMIN"] = 0.01
    if options.ncore is not None:
        tags["NCORE"] = options.ncore
    if options.kpar is not None:
        tags["KPAR"] = options.kpar
    if kind == "single-point":
        return {**tags, "IBRION": -1, "NSW": 0, "ISIF": 2}
    if bath is None:
        brion = {"cg": 2, "quasi-newton": 1, "damped": 3}[options.optimiser]
        return {
            **tags, "IBRION": brion, "NSW": steps, "POTIM": 0.5, "EDIFFG": -options.fmax,
            "ISIF": 3 if options.relax_cell else 2,
        }  # fmt: skip
    return {**tags, **_dynamics(atoms, steps, bath)}


def _dynamics(atoms: Atoms, steps: int, bath: Bath) -> Tags:
    """Tags of NVT after Nosé (MDALGO = 2) or of NVE; SMASS is always there, because its absence means NVE."""
    nvt = bath.ensemble == "nvt"
    if nvt and bath.thermostat != "nose-hoover":
        raise BadInput(f"vasp does not have our thermostat {bath.thermostat}; use nose-hoover, or native = false")
    if nvt and bath.chain_length not in (None, 1):
        raise BadInput(
            f"VASP's Nosé thermostat (MDALGO = 2) is a single one, not a chain of {bath.chain_length}; remove "
            "chain_length"
        )
    flags = fixed_components(atoms)
    counted = int((~flags).sum()) if flags.any() else 3 * len(atoms) - 3
    # VASP spreads the heat over what it counts
    temperature = bath.temperature * bath.freedom / counted
    tags: Tags = {
        "IBRION": 0, "NSW": steps, "POTIM": bath.time_step, "TEBEG": temperature, "TEEND": temperature,
        "MDALGO": 2 if nvt else 0, "SMASS": -3, "ISIF": 2, "ISYM": 0, "NBLOCK": 1,
    }  # fmt: skip
    if nvt and np.isclose(bath.period, PERIOD * bath.time_step):
        tags["SMASS"] = 0
    elif nvt:
        # Nosé's mass in units of the first vector: 2 f kT (period / 2 pi)²; VASP prints just this for SMASS = 0
        mass = 2 * counted * kB * temperature * (bath.period / (2 * np.pi)) ** 2 / MASS_UNIT
        tags["SMASS"] = float(mass / atoms.cell.lengths()[0] ** 2)
    return tags


def check_owned(kind: Kind, tags: Tags) -> None:
    """Raise BadInput for a tag of the user's that another option sets."""
    for tag in tags:
        if tag in OWNED and (kind == "dynamics" or tag == "MAGMOM"):
            raise BadInput(f"INCAR: {tag} is set by {OWNED[tag]}; remove it from incar")


def check_task(kind: Kind, tags: Tags, atoms: Atoms) -> None:
    """Raise BadInput where tags contradict the task."""
    steps = tags["NSW"]
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise BadInput(f"INCAR: NSW is a number of steps, got {steps!r}")
    if kind != "single-point" and steps < 1:
        raise BadInput(
            f"INCAR: NSW = {steps} moves no atom, and this is a {kind}; use NSW = 1 or more, or task = 'single-point'"
        )
    if kind == "single-point" and steps > 0:
        raise BadInput(f"INCAR: NSW = {steps} moves atoms, and this is a single point; remove it")
    if kind == "relaxation" and tags["IBRION"] not in (1, 2, 3):
        raise BadInput(f"INCAR: IBRION = {tags['IBRION']} is no relaxation; use 1, 2 or 3, or aimd for dynamics")
    if tags["ISIF"] in range(3, 8) and atoms.constraints:
        raise BadInput(
            f"ISIF = {tags['ISIF']} relaxes the cell and every atom in it, but some are fixed; use one or the other"
        )
