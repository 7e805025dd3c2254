"""Extended tight binding through tblite, in this process."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from ctypes.util import find_library
from importlib.metadata import files, version
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from ase.calculators.calculator import CalculationFailed, Calculator
from ase.data import atomic_numbers
from pydantic import Field, model_validator
from tblite.ase import TBLite

from stem2sim.engines.electronic_engine import ElectronicEngine
from stem2sim.errors import BadInput, StageFailed
from stem2sim.stages import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from stem2sim.structure import Structure


FORCE_NOISE = 5e-4
"""[eV/Å] between warm and cold starts, per unit of accuracy; 3e-4 measured at accuracy 1, 5e-5 at 0.1, 7e-7 at 0.01."""

HEAVIEST = 86
"""Last atomic number of the GFN parametrisations (Rn)."""


class Xtb(ElectronicEngine):
    """GFN1-xTB or GFN2-xTB tight binding through tblite, in-process."""

    name: ClassVar[str] = "xtb"

    method: Literal["GFN1-xTB", "GFN2-xTB"] = Field("GFN1-xTB", description="xTB parametrisation")
    multiplicity: int | None = Field(None, ge=1, description="spin multiplicity; default: the lowest possible")
    spin_polarization: float | None = Field(
        None,
        gt=0,
        description="scaling factor of the spin-polarisation energy; 1: published value; default: no spin polarisation",
    )
    electronic_temperature: float = Field(300.0, gt=0, description="electronic temperature (Fermi smearing) [K]")
    accuracy: float | None = Field(
        None,
        gt=0,
        le=10,
        description="numerical accuracy setting of tblite; smaller is more accurate; default: chosen from fmax",
    )
    max_iterations: int = Field(250, ge=1, description="maximum number of SCC iterations per step")

    @model_validator(mode="after")
    def _accurate_enough(self) -> Self:
        if FORCE_NOISE * self.settled_accuracy > 1.01 * self.fmax / 10:  # the advice below, rounded, is accepted
            raise ValueError(
                f"accuracy {self.accuracy} gives a force noise of {FORCE_NOISE * self.settled_accuracy:.1e} eV/Å, too "
                f"high for fmax = {self.fmax} eV/Å; use accuracy <= {self.fmax / 10 / FORCE_NOISE:.3g}"
            )
        return self

    @property
    def settled_accuracy(self) -> float:
        """The given accuracy, or one that keeps the force noise below a hundredth of fmax, at most 0.1."""
        return self.accuracy if self.accuracy is not None else min(0.1, 10 * self.fmax)

    def theory(self) -> str:
        """Return the parametrisation."""
        paper = self.cited()[0]
        return (
            f"the {self.method} tight-binding method [{paper}], as implemented in tblite [tblite], at an electronic "
            f"temperature of {self.electronic_temperature:g} K"
        )

    def cited(self) -> tuple[str, ...]:
        """Return the papers of the method and of tblite."""
        return ("grimme2017gfn1" if self.method == "GFN1-xTB" else "bannwarth2019gfn2", "tblite")

    def with_spin(self, multiplicity: int) -> Xtb:
        """Return this engine with spin polarisation, as published, and that multiplicity."""
        return self.model_copy(
            update={"spin_polarization": self.spin_polarization or 1.0, "multiplicity": multiplicity}
        )

    def calculator(self, structure: Structure, workdir: Path) -> AbstractContextManager[Calculator]:
        """Return a tblite calculator; it keeps its wave function between steps.

        Raises:
            BadInput: elements beyond Rn, a cell periodic along some axes only, an impossible multiplicity.
        """
        atoms = structure.atoms
        heavy = sorted({a.symbol for a in atoms if a.number > HEAVIEST})
        if heavy:
            raise BadInput(f"{self.method} has no parameters for {', '.join(heavy)}; it covers the elements up to Rn")
        self.check_periodic(atoms)
        self.warn_of_few_points(atoms)
        structure = self.adopt(structure)
        charge, electrons = structure.charge, structure.electrons
        multiplicity = structure.multiplicity if self.multiplicity is None else self.multiplicity
        if (electrons - multiplicity) % 2 == 0 or multiplicity > electrons + 1:
            raise BadInput(
                f"multiplicity {multiplicity} is impossible with {electrons} electrons (charge {charge}); "
                f"use {1 + electrons % 2}, {3 + electrons % 2}, ..."
            )
        settings: dict[str, Any] = {
            "method": self.method,
            "charge": charge,
            "multiplicity": multiplicity,
            "electronic_temperature": self.electronic_temperature,
            "accuracy": self.settled_accuracy,
            "max_iterations": self.max_iterations,
            "verbosity": 0,
        }
        if self.spin_polarization is not None:
            settings["spin_polarization"] = self.spin_polarization
        unknown = set(settings) - set(TBLite.default_parameters)
        if unknown:  # tblite silently ignores unknown keywords
            raise StageFailed(f"this version of tblite lacks the options {', '.join(sorted(unknown))}")
        return _explained_failures(TBLite(**settings))

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield whether the method covers the elements, and which BLAS tblite uses."""
        heavy = [e for e in elements if atomic_numbers[e] > HEAVIEST]
        if heavy:
            yield Check(
                "xtb",
                "missing",
                f"{self.method} has no parameters for {', '.join(heavy)}",
                "use vasp for these elements",
            )
        else:
            yield Check("xtb", "ok", f"tblite {version('tblite')}; {self.method} covers {', '.join(elements)}")
        bundled = [file.name for file in files("tblite") or () if file.name.startswith(("libblas", "libopenblas"))]
        if any(name.startswith("libblas") for name in bundled):
            faster = find_library("openblas")
            fix = f"LD_PRELOAD={faster} stem2sim ..." if faster else "install OpenBLAS, then LD_PRELOAD=libopenblas.so"
            yield Check(
                "xtb", "note", "this tblite uses the reference BLAS; OpenBLAS is faster for 100 atoms or more", fix
            )

    def provenance(self) -> dict[str, object]:
        """Return name, options, and the versions of this plugin and of tblite."""
        return {**super().provenance(), "engine": f"tblite {version('tblite')}"}


@contextmanager
def _explained_failures(calculator: Calculator) -> Iterator[Calculator]:
    try:
        yield calculator
    except CalculationFailed as problem:
        raise StageFailed(
            f"the self-consistent field calculation failed ({' '.join(str(problem).split())}); a higher "
            "electronic_temperature [K] or another multiplicity often helps"
        ) from problem
