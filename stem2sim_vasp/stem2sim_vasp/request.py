"""The input of VASP: tags, k-points, potentials and atoms, written as VASP reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase.io.vasp import write_vasp

from stem2sim.engines.poscar import fixed_components, grouped
from stem2sim.engines.trajectory import disk_full_reported
from stem2sim.errors import BadInput, StageFailed
from stem2sim.files import write_atomically, write_text
from stem2sim_vasp import incar, potcar
from stem2sim_vasp.folder import INCAR, KPOINTS, POSCAR
from stem2sim_vasp.kpoints import mesh_of, warnings_of_mesh
from stem2sim_vasp.tags import MOMENTS, check_owned, check_task, tags_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.engines.motion import Bath
    from stem2sim.structure import Structure
    from stem2sim_vasp.incar import Tags
    from stem2sim_vasp.ionic import Ionic
    from stem2sim_vasp.options import VaspOptions
    from stem2sim_vasp.potcar import Entry
    from stem2sim_vasp.tags import Kind

REQUESTED = "asked.json"
"""Name of the file with what was requested."""


@dataclass(frozen=True)
class Request:
    """One calculation."""

    kind: Kind
    atoms: Atoms
    """In the order of the POSCAR, fixed as it fixes them, with momenta in dynamics."""
    order: NDArray[np.intp]
    """The k-th atom of the POSCAR is atom `order[k]` of the structure."""
    tags: Tags
    scheme: Literal["gamma", "monkhorst-pack"]
    """Of the mesh."""
    kpoints: tuple[int, int, int]
    """Points of the mesh along each reciprocal vector."""
    names: tuple[str, ...]
    """Of the potentials, in order: Cr_pv."""
    potentials: tuple[Entry | None, ...]
    """None where this machine has none."""
    warnings: tuple[str, ...]

    @property
    def mesh(self) -> str:
        """KPOINTS."""
        kind = "Gamma" if self.scheme == "gamma" else "Monkhorst-Pack"
        return f"stem2sim\n0\n{kind}\n{' '.join(map(str, self.kpoints))}\n0 0 0\n"

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
        return [f"{name}: {entry[0].describe()}" if entry else name for name, entry in self._named()]

    def _named(self) -> list[tuple[str, Entry | None]]:
        return list(zip(self.names, self.potentials, strict=True))

    def in_order_of_structure(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values (atoms, ...) in the order of the POSCAR in the order of the structure."""
        out = np.empty_like(values)
        out[self.order] = values
        return out

    def write(self, folder: Path) -> None:
        """Write INCAR, KPOINTS, POSCAR, POTCAR.spec, and the POTCAR where every potential is here."""
        with disk_full_reported(folder / INCAR):
            write_text(folder / INCAR, incar.written(self.tags))
            write_text(folder / KPOINTS, self.mesh)
            with write_atomically(folder / POSCAR) as part:
                write_vasp(part, self.atoms, direct=True)
            _check_flags(folder / POSCAR, self.atoms)
            write_text(folder / potcar.SPEC, "\n".join(self.names) + "\n")
            if not self.missing_potentials():
                with write_atomically(folder / potcar.POTCAR) as part:
                    part.write_bytes(b"".join(text for entry in self.potentials if entry for text in (entry[1],)))
            elif _is_ours(folder):
                (folder / potcar.POTCAR).unlink(missing_ok=True)
            requested = {
                "kind": self.kind, "steps": self.total, "order": self.order.tolist(), "tags": self.tags,
                "potentials": self.made_with, "potcar": not self.missing_potentials(),
            }  # fmt: skip
            write_text(folder / REQUESTED, json.dumps(requested, indent=1))

    def write_geometry(self, folder: Path, step: Ionic) -> None:
        """Write a POSCAR with the positions of a step, with the same fixed components."""
        atoms = self.atoms.copy()
        atoms.set_cell(step.cell)
        atoms.set_positions(step.positions @ step.cell, apply_constraint=False)
        with disk_full_reported(folder / POSCAR), write_atomically(folder / POSCAR) as part:
            write_vasp(part, atoms, direct=True)

    def missing_potentials(self) -> list[str]:
        """Return the names of potentials that this machine does not have."""
        return [name for name, entry in self._named() if entry is None]


def _is_ours(folder: Path) -> bool:
    """Whether the POTCAR in a folder was put there by us, not by hand."""
    file = folder / REQUESTED
    return file.is_file() and bool(json.loads(file.read_text(encoding="utf-8")).get("potcar"))


def _check_flags(path: Path, atoms: Atoms) -> None:
    """Check that fixed components stand in the file: its writer drops some constraints silently."""
    flags = fixed_components(atoms)
    lines = path.read_text(encoding="utf-8").splitlines()
    selective = lines[7].strip().startswith("S")
    there = np.zeros_like(flags)
    if selective:
        there = np.array([[word == "F" for word in line.split()[3:6]] for line in lines[9 : 9 + len(atoms)]])
    if not np.array_equal(there, flags):
        raise StageFailed(f"{path.name} does not fix the components that are fixed; this is an error of stem2sim")


def request_for(
    options: VaspOptions,
    structure: Structure,
    kind: Kind,
    steps: int,
    bath: Bath | None = None,
    *,
    collecting: bool = False,
) -> Request:
    """Return the input of VASP for a structure.

    Args:
        options: of the engine.
        structure: in a cell, with momenta in dynamics.
        kind: of calculation.
        steps: ionic steps.
        bath: of dynamics.
        collecting: whether output is only read: potentials need not be on this machine.

    Raises:
        BadInput: options that contradict each other, constraints that flags cannot express, a charge without
            potentials.
    """
    structure.check_distances()
    atoms, order = grouped(structure.in_a_cell().atoms)
    if atoms.cell.volume > 0 and np.linalg.det(np.asarray(atoms.cell)) < 0:
        raise BadInput("VASP accepts right-handed cells only; exchange two of the vectors")
    atoms.calc, atoms.info = None, {}
    if not atoms.has("momenta") or bath is None:
        atoms.set_momenta(None)
    species = list(dict.fromkeys(atoms.get_chemical_symbols()))
    names = tuple(e + options.setups.get(e, "") for e in species)
    potentials = tuple(
        potcar.read(e, options.setups.get(e, ""), options.potentials, options.potcar_version) for e in species
    )
    tags = tags_of(options, atoms, kind, steps, bath)
    if structure.charge and not (collecting and None in potentials):
        tags["NELECT"] = _electrons(
            structure.charge, atoms.get_chemical_symbols(), dict(zip(species, potentials, strict=True))
        )
    own = {tag.upper(): value for tag, value in options.incar.items()}
    check_owned(kind, own)
    tags |= own
    check_task(kind, tags, atoms)
    warnings = [*incar.unknown_tags(list(own)), *_warnings(tags, set(species), potentials)]
    cell = structure.in_a_cell().atoms
    kpoints = options.kpoints or mesh_of(cell, options.kspacing)
    warnings += warnings_of_mesh(cell, kpoints)
    return Request(kind, atoms, order, tags, options.scheme, kpoints, names, potentials, tuple(warnings))


def _electrons(charge: int, symbols: list[str], potentials: dict[str, Entry | None]) -> float:
    """Number of valence electrons (NELECT)."""
    total = 0.0
    for element, entry in potentials.items():
        if entry is None:
            raise BadInput(
                f"a charge of {charge:+d} e needs the potential of {element} on this machine: NELECT counts its "
                "valence electrons; set potentials = '/folder', or incar = { NELECT = ... } and charge = 0"
            )
        total += symbols.count(element) * entry[0].valence
    return total - charge


def _warnings(tags: Tags, species: set[str], potentials: Sequence[Entry | None]) -> list[str]:
    """What a user should know before it runs."""
    warnings = []
    cutoff = tags["ENCUT"]
    for entry in potentials:
        if entry is None:
            continue
        potential = entry[0]
        if potential.functional not in ("", "PE", "8") and tags["GGA"] == "PE":
            warnings.append(
                f"{potential.title} was made for another functional (LEXCH = {potential.functional}), not for PBE"
            )
        if isinstance(cutoff, int | float) and potential.cutoff > cutoff + 1e-6:
            warnings.append(
                f"ENCUT = {cutoff:g} eV is below the {potential.cutoff:g} eV that {potential.title} was made for"
            )
    magnetic = sorted(e for e in species if MOMENTS.get(e, 0.0))
    if tags["ISPIN"] == 1 and magnetic:
        warnings.append(
            f"not spin-polarised, as in the reference paper, with {', '.join(magnetic)}; preset = 'cr-spin' is"
        )
    if "NPAR" in tags and "NCORE" in tags:
        warnings.append("NPAR and NCORE set the same thing; keep one")
    return warnings
