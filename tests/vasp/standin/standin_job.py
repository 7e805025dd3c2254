"""A job: what the four input files together ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from standin_identity import Identity, Refused
from standin_incar import Settings, read_tags, settle
from standin_kpoints import Mesh, read_kpoints
from standin_poscar import Poscar, read_poscar

if TYPE_CHECKING:
    from collections.abc import Iterator

# importing a package for a handful of masses [u] would double the time to start
MASSES = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "Al": 26.982, "Si": 28.085, "Cr": 51.996, "Cu": 63.546}


@dataclass(frozen=True)
class Potential:
    """The header of one dataset of POTCAR: the mass is in u, the cutoff in eV."""

    title: str
    element: str
    valence: float
    mass: float
    cutoff: float


@dataclass(frozen=True)
class Job:
    """What to compute."""

    identity: Identity
    settings: Settings
    poscar: Poscar
    potentials: tuple[Potential, ...]
    mesh: Mesh

    @cached_property
    def masses(self) -> np.ndarray:
        """One per atom, as a column [u]."""
        pairs = zip(self.potentials, self.poscar.counts, strict=True)
        return np.concatenate([np.full((count, 1), potential.mass) for potential, count in pairs])

    @property
    def electrons(self) -> float:
        return self.settings.real("NELECT")

    @property
    def charge(self) -> float:
        """What the electrons that were asked for leave of the neutral atoms [e]."""
        return valence_electrons(self.poscar, self.potentials) - self.electrons

    @property
    def bands(self) -> int:
        return int(self.electrons / 2 + len(self.poscar) / 2) + 1

    @cached_property
    def unpaired(self) -> int:
        """The number of unpaired electrons: NUPDOWN, else the sum of MAGMOM, made even or odd as the electrons are."""
        if self.settings.integer("ISPIN") != 2:
            return 0
        wanted = self.settings.real("NUPDOWN")
        if wanted < 0:
            wanted = abs(sum(self.moments))
        number = round(wanted)
        if (number - round(self.electrons)) % 2:
            number += 1 if number == 0 else -1
        return number

    @property
    def moments(self) -> list[float]:
        """The moments that were asked for, one per atom [Bohr magnetons]; VASP's default is one."""
        return self.settings.numbers("MAGMOM") or [1.0] * len(self.poscar)

    @property
    def shares(self) -> list[float]:
        """The moments that are reported, one per atom: those asked for, scaled to the number of unpaired electrons."""
        total = sum(self.moments)
        if total == 0:
            return [moment + self.unpaired / len(self.poscar) for moment in self.moments]
        return [moment * self.unpaired / total for moment in self.moments]


def read_job(identity: Identity) -> Iterator[str | Job]:
    """Read the current directory: yield what VASP prints while it does, and at last the job."""
    for name in ("INCAR", "POSCAR", "POTCAR"):
        if not Path(name).exists():
            raise Refused(f"No {name} found, STOPPING")
    given = read_tags(Path("INCAR"))
    poscar = read_poscar(Path("POSCAR"))
    yield f" POSCAR found type information on POSCAR {''.join(f'{s:<3s}' for s in poscar.symbols)}".rstrip()
    yield f" POSCAR found : {len(poscar.symbols):2d} types and {len(poscar):7d} ions"
    potentials = tuple(_potentials(Path("POTCAR").read_text(encoding="utf-8", errors="replace")))
    if len(potentials) != len(poscar.symbols):
        raise Refused(
            "ERROR: number of potentials on File POTCAR incompatible with number of species: "
            f"POTCAR {len(potentials)}, POSCAR {len(poscar.symbols)}"
        )
    elements = tuple(potential.element for potential in potentials)
    if elements != poscar.symbols:
        yield " WARNING: type information on POSCAR and POTCAR are incompatible"
        yield " POTCAR overwrites the type information in POSCAR"
        for number, (old, new) in enumerate(zip(poscar.symbols, elements, strict=True), 1):
            yield f" typ{number:4d} type information: {old:<2s} {new:<2s}"
        poscar = replace(poscar, symbols=elements)
    settings = settle(given, max(p.cutoff for p in potentials), valence_electrons(poscar, potentials))
    moments = settings.numbers("MAGMOM")
    if settings.integer("ISPIN") == 2 and moments and len(moments) != len(poscar):
        raise Refused(f"ERROR: MAGMOM has {len(moments)} entries, but the number of ions is {len(poscar)}")
    spacing = settings.real("KSPACING") if "KSPACING" in given else None
    mesh = read_kpoints(Path("KPOINTS"), poscar.cell, spacing, settings.flag("KGAMMA"))
    yield Job(identity, settings, poscar, potentials, mesh)


def valence_electrons(poscar: Poscar, potentials: tuple[Potential, ...]) -> float:
    """Return the number of valence electrons of the neutral atoms."""
    return float(sum(count * p.valence for count, p in zip(poscar.counts, potentials, strict=True)))


def _potentials(text: str) -> Iterator[Potential]:
    titles = re.findall(r"TITEL\s*=\s*(\S+[^\n]*\S)", text)
    valences = re.findall(r"ZVAL\s*=\s*([\d.]+)", text)
    cutoffs = re.findall(r"ENMAX\s*=\s*([\d.]+)", text)
    masses = re.findall(r"POMASS\s*=\s*([\d.]+)", text)
    if not titles or not len(titles) == len(valences) == len(cutoffs) or any(len(t.split()) < 2 for t in titles):
        raise Refused("ERROR: the POTCAR file is malformed: each dataset needs TITEL, ZVAL and ENMAX")
    for number, title in enumerate(titles):
        element = title.split()[1].split("_")[0]
        mass = float(masses[number]) if len(masses) == len(titles) else MASSES.get(element)
        if mass is None:
            raise Refused(f"ERROR: the POTCAR file is malformed: no POMASS for {element}")
        yield Potential(title, element, float(valences[number]), mass, float(cutoffs[number]))
