"""What VASP is asked: the tags of a task, k-points, potentials and atoms, written as VASP reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase.io.vasp import write_vasp
from ase.units import kB

from stem2sim.engines.poscar import fixed_components, grouped
from stem2sim.engines.trajectory import disk_full_reported
from stem2sim.errors import BadInput, StageFailed
from stem2sim.files import write_atomically, write_text
from stem2sim_vasp import incar, potcar
from stem2sim_vasp.folder import INCAR, KPOINTS, POSCAR

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.engines.motion import Bath
    from stem2sim.structure import Structure
    from stem2sim_vasp.incar import Tags
    from stem2sim_vasp.ionic import Ionic
    from stem2sim_vasp.potcar import Potential
    from stem2sim_vasp.vasp import Vasp

ASKED = "asked.json"

MASS_UNIT = 103.642696
"""amu Å²/fs² in eV."""

PERIOD = 40
"""Time steps in the oscillation of the thermostat that SMASS = 0 means (https://www.vasp.at/wiki/index.php/SMASS)."""

MOMENTS = {"Cr": 6.0, "Mn": 5.0, "Fe": 4.0, "Co": 3.0, "Ni": 2.0, "V": 3.0, "Ti": 2.0, "Si": 0.0, "C": 0.0, "H": 0.0}
"""First magnetic moment where the atoms have none: unpaired electrons of the free atom [Bohr magnetons]."""

OWNED = {"NSW": "max_steps (steps of aimd)", "POTIM": "time_step of aimd", "TEBEG": "temperature of aimd",
         "TEEND": "temperature of aimd", "MDALGO": "ensemble and thermostat of aimd", "NBLOCK": "interval of aimd",
         "IBRION": "aimd", "MAGMOM": "the atoms' own initial magnetic moments"}  # fmt: skip
"""Tags of dynamics that options say: two answers to one question would be one too many."""

Kind = Literal["single-point", "relaxation", "dynamics"]


@dataclass(frozen=True)
class Request:
    """One calculation."""

    kind: Kind
    atoms: Atoms
    """In the order of the POSCAR, held as it holds, with momenta in dynamics."""
    order: NDArray[np.intp]
    """The k-th atom of the POSCAR is atom `order[k]` of the structure."""
    tags: Tags
    mesh: str
    """KPOINTS."""
    names: tuple[str, ...]
    """Of the potentials, in order: Cr_pv."""
    potentials: tuple[tuple[Potential, bytes] | None, ...]
    """None where there is none here."""
    warnings: tuple[str, ...]

    @property
    def total(self) -> int:
        """Ionic steps in all."""
        return max(1, int(self.tags["NSW"]))  # type: ignore[arg-type]  # a number, by the check below

    @property
    def species(self) -> list[str]:
        """Elements in the order of the POSCAR."""
        return list(dict.fromkeys(self.atoms.get_chemical_symbols()))

    @property
    def made_with(self) -> list[str]:
        """What is recorded of the potentials."""
        return [f"{name}: {found[0].describe()}" if found else name for name, found in self._named()]

    def _named(self) -> list[tuple[str, tuple[Potential, bytes] | None]]:
        return list(zip(self.names, self.potentials, strict=True))

    def write(self, folder: Path) -> None:
        """Write INCAR, KPOINTS, POSCAR, POTCAR.spec, and the POTCAR where every potential is here."""
        with disk_full_reported(folder / INCAR):
            write_text(folder / INCAR, incar.written(self.tags))
            write_text(folder / KPOINTS, self.mesh)
            with write_atomically(folder / POSCAR) as part:
                write_vasp(part, self.atoms, direct=True)
            _check_flags(folder / POSCAR, self.atoms)
            write_text(folder / potcar.SPEC, "\n".join(self.names) + "\n")
            if not self.lacking():
                with write_atomically(folder / potcar.POTCAR) as part:
                    part.write_bytes(b"".join(text for found in self.potentials if found for text in (found[1],)))
            elif _ours(folder):
                (folder / potcar.POTCAR).unlink(missing_ok=True)
            wanted = {
                "kind": self.kind, "steps": self.total, "order": self.order.tolist(), "tags": self.tags,
                "potentials": self.made_with, "potcar": not self.lacking(),
            }  # fmt: skip
            write_text(folder / ASKED, json.dumps(wanted, indent=1))

    def write_geometry(self, folder: Path, step: Ionic) -> None:
        """Write a POSCAR with the positions of a step, held as before."""
        atoms = self.atoms.copy()
        atoms.set_cell(step.cell)
        atoms.set_positions(step.positions @ step.cell, apply_constraint=False)
        with disk_full_reported(folder / POSCAR), write_atomically(folder / POSCAR) as part:
            write_vasp(part, atoms, direct=True)

    def lacking(self) -> list[str]:
        """Return the names of potentials that are not here."""
        return [name for name, found in self._named() if found is None]


def _ours(folder: Path) -> bool:
    """Whether the POTCAR in a folder was put there by us, not by hand."""
    file = folder / ASKED
    return file.is_file() and bool(json.loads(file.read_text(encoding="utf-8")).get("potcar"))


def _check_flags(path: Path, atoms: Atoms) -> None:
    """What is held must stand in the file: some constraints are dropped without a word by those who write it."""
    flags = fixed_components(atoms)
    lines = path.read_text(encoding="utf-8").splitlines()
    selective = lines[7].strip().startswith("S")
    there = np.zeros_like(flags)
    if selective:
        there = np.array([[word == "F" for word in line.split()[3:6]] for line in lines[9 : 9 + len(atoms)]])
    if not np.array_equal(there, flags):
        raise StageFailed(f"{path.name} does not hold what is held in place; this is an error of stem2sim's")


def ask(
    engine: Vasp, structure: Structure, kind: Kind, steps: int, bath: Bath | None = None, *, collecting: bool = False
) -> Request:
    """Return what VASP is asked for a structure.

    Args:
        engine: whose options.
        structure: in a cell, with momenta in dynamics.
        kind: of calculation.
        steps: ionic steps.
        bath: of dynamics.
        collecting: whether output is only read: potentials need not be here.

    Raises:
        BadInput: options that contradict each other, constraints that flags cannot say, a charge without potentials.
    """
    structure.check_distances()
    atoms, order = grouped(structure.in_a_cell().atoms)
    if atoms.cell.volume > 0 and np.linalg.det(np.asarray(atoms.cell)) < 0:
        raise BadInput("VASP takes right-handed cells only; exchange two of the vectors")
    atoms.calc, atoms.info = None, {}
    if not atoms.has("momenta") or bath is None:
        atoms.set_momenta(None)
    species = list(dict.fromkeys(atoms.get_chemical_symbols()))
    names = tuple(e + engine.setups.get(e, "") for e in species)
    potentials = tuple(
        potcar.read(e, engine.setups.get(e, ""), engine.potentials, engine.potcar_version) for e in species
    )
    tags = _tags(engine, atoms, kind, steps, bath)
    electrons = None
    if structure.charge and not (collecting and None in potentials):
        electrons = _electrons(structure, species, atoms, potentials)
    if electrons is not None:
        tags["NELECT"] = electrons
    given = {tag.upper(): value for tag, value in engine.incar.items()}
    for tag in given:
        if tag in OWNED and (kind == "dynamics" or tag == "MAGMOM"):
            raise BadInput(f"INCAR: {tag} is what {OWNED[tag]} says; leave it out of incar")
    tags |= given
    _check(kind, tags, atoms)
    warnings = [*incar.unknown(list(given)), *_describe(engine, tags, atoms, potentials)]
    text = f"stem2sim\n0\n{'Gamma' if engine.scheme == 'gamma' else 'Monkhorst-Pack'}\n"
    text += " ".join(map(str, engine.kpoints)) + "\n0 0 0\n"
    return Request(kind, atoms, order, tags, text, names, potentials, tuple(warnings))


def _tags(engine: Vasp, atoms: Atoms, kind: Kind, steps: int, bath: Bath | None) -> Tags:
    tags: Tags = {"SYSTEM": f"stem2sim {kind} of {atoms.get_chemical_formula('hill')}", **incar.COMMON}
    tags["ENCUT"] = engine.encut
    tags["ISPIN"] = 2 if engine.spin else 1
    if engine.spin:
        tags["LORBIT"] = 11
        own = atoms.get_initial_magnetic_moments()
        moments = own if own.any() else [MOMENTS.get(e, 0.0) for e in atoms.get_chemical_symbols()]
        tags["MAGMOM"] = tuple(float(m) for m in moments)
        if engine.unpaired is not None:
            tags["NUPDOWN"] = engine.unpaired
    if engine.dispersion is not None:
        tags["IVDW"] = {"d3": 11, "d3-bj": 12}[engine.dispersion]
    if max(atoms.cell.lengths()) > incar.LONG_CELL:
        tags["AMIN"] = 0.01
    if engine.ncore is not None:
        tags["NCORE"] = engine.ncore
    if engine.kpar is not None:
        tags["KPAR"] = engine.kpar
    if kind == "single-point":
        return {**tags, "IBRION": -1, "NSW": 0, "ISIF": 2}
    if bath is None:
        brion = {"cg": 2, "quasi-newton": 1, "damped": 3}[engine.optimiser]
        return {
            **tags, "IBRION": brion, "NSW": steps, "POTIM": 0.5, "EDIFFG": -engine.fmax,
            "ISIF": 3 if engine.relax_cell else 2,
        }  # fmt: skip
    return {**tags, **_dynamics(atoms, steps, bath)}


def _dynamics(atoms: Atoms, steps: int, bath: Bath) -> Tags:
    """Tags of NVT after Nosé (MDALGO = 2) or of NVE; SMASS is always there, because leaving it out means NVE."""
    nvt = bath.ensemble == "nvt"
    if nvt and bath.thermostat != "nose-hoover":
        raise BadInput(f"vasp has no thermostat {bath.thermostat} of ours; use nose-hoover, or native = false")
    if nvt and bath.chain_length not in (None, 1):
        raise BadInput(f"VASP's Nosé thermostat (MDALGO = 2) is one, not {bath.chain_length} in a chain; leave it out")
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


def _electrons(
    structure: Structure, species: list[str], atoms: Atoms, potentials: tuple[tuple[Potential, bytes] | None, ...]
) -> float:
    symbols = atoms.get_chemical_symbols()
    total = 0.0
    for element, found in zip(species, potentials, strict=True):
        if found is None:
            raise BadInput(
                f"a charge of {structure.charge:+d} e needs the potential of {element} here: NELECT counts the valence "
                "electrons in it; give potentials = '/folder', or set incar = { NELECT = ... } and charge = 0"
            )
        total += symbols.count(element) * found[0].valence
    return total - structure.charge


def _check(kind: Kind, tags: Tags, atoms: Atoms) -> None:
    """Raise BadInput where tags contradict the task."""
    steps = tags["NSW"]
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise BadInput(f"INCAR: NSW is a number of steps, got {steps!r}")
    if kind != "single-point" and steps < 1:
        raise BadInput(
            f"INCAR: NSW = {steps} moves no atom, and this is a {kind}; use NSW = 1 or more, or task = 'single-point'"
        )
    if kind == "single-point" and steps > 0:
        raise BadInput(f"INCAR: NSW = {steps} moves atoms, and this is a single point; leave it out")
    if kind == "relaxation" and tags["IBRION"] not in (1, 2, 3):
        raise BadInput(f"INCAR: IBRION = {tags['IBRION']} is no relaxation; 1, 2 or 3 are, and dynamics is aimd")
    if tags["ISIF"] in range(3, 8) and atoms.constraints:
        raise BadInput(
            f"ISIF = {tags['ISIF']} relaxes the cell and every atom in it, but some are held in place; leave one out"
        )


def _describe(
    engine: Vasp, tags: Tags, atoms: Atoms, potentials: tuple[tuple[Potential, bytes] | None, ...]
) -> list[str]:
    """What a user should know before it runs."""
    found = []
    cutoff = tags["ENCUT"]
    for one in potentials:
        if one is not None and one[0].functional not in ("", "PE", "8") and tags["GGA"] == "PE":
            found.append(f"{one[0].title} was made for another functional (LEXCH = {one[0].functional}), not for PBE")
        if one is not None and isinstance(cutoff, int | float) and one[0].cutoff > cutoff + 1e-6:
            found.append(f"ENCUT = {cutoff:g} eV is below the {one[0].cutoff:g} eV that {one[0].title} was made for")
    if tags["ISPIN"] == 1 and any(MOMENTS.get(e, 0.0) for e in set(atoms.get_chemical_symbols())):
        magnetic = sorted(e for e in set(atoms.get_chemical_symbols()) if MOMENTS.get(e, 0.0))
        found.append(f"not spin-polarised, as in the paper, with {', '.join(magnetic)}; preset = 'cr-spin' is")
    if "NPAR" in tags and "NCORE" in tags:
        found.append("NPAR and NCORE say the same thing twice; keep one")
    return found
