"""What computes energies and forces in VASP's place; packages are imported only where their engine is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from standin_identity import Refused
from standin_springs import Springs

if TYPE_CHECKING:
    from collections.abc import Callable

    from standin_job import Job

BOLTZMANN = 8.617333262e-5  # [eV/K]
HARTREE = 27.211386245988  # [eV]
BOHR = 0.529177210903  # [Å]


@dataclass(frozen=True)
class Point:
    """A point of the energy surface.

    Attributes:
        energy: The free energy, whose slope the forces are [eV].
        forces: One row per atom, of held components too [eV/Å].
        stress: Positive under tension, as ASE has it [eV/Å³].
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray


class Engine(Protocol):
    """Anything that computes a point from fractional positions and a cell [Å]."""

    def point(self, fractional: np.ndarray, cell: np.ndarray) -> Point: ...


def engine_of(job: Job) -> Engine:
    """Return the engine that a job names."""
    makers: dict[str, Callable[[Job], Engine]] = {"tblite": Tblite, "springs": SpringEngine, "emt": emt, "lj": lj}
    try:
        return makers[job.identity.engine](job)
    except (ImportError, ValueError) as error:
        raise Refused(f"the engine of the stand-in does not start: {error}") from error


class SpringEngine:
    """Morse springs."""

    def __init__(self, job: Job) -> None:
        self._springs = Springs(job.poscar.elements)

    def point(self, fractional: np.ndarray, cell: np.ndarray) -> Point:
        return Point(*self._springs.compute(fractional, cell))


class Tblite:
    """GFN1-xTB, spin-polarised where the job is."""

    def __init__(self, job: Job) -> None:
        from tblite.interface import symbols_to_numbers

        self._job = job
        self._numbers = np.array(symbols_to_numbers(job.poscar.elements))
        self._calculator: Any = None
        self._result: Any = None

    def point(self, fractional: np.ndarray, cell: np.ndarray) -> Point:
        positions, lattice = fractional @ cell / BOHR, cell / BOHR
        if self._calculator is None:
            self._calculator = self._start(positions, lattice)
        else:
            self._calculator.update(positions=positions, lattice=lattice)
        self._result = result = self._calculator.singlepoint(self._result)
        volume = abs(np.linalg.det(cell))
        return Point(
            energy=float(result["energy"]) * HARTREE,
            forces=-np.array(result["gradient"]) * HARTREE / BOHR,
            stress=np.array(result["virial"]) * HARTREE / volume,
        )

    def _start(self, positions: np.ndarray, lattice: np.ndarray) -> Any:
        from tblite.interface import Calculator

        job = self._job
        periodic = np.array([True, True, True])
        calculator = Calculator(
            "GFN1-xTB",
            self._numbers,
            positions,
            charge=job.charge,
            uhf=job.unpaired,
            lattice=lattice,
            periodic=periodic,
        )
        # the default accuracy leaves 3e-4 eV/Å of noise on the forces
        calculator.set("accuracy", 0.05)
        calculator.set("max-iter", 500)
        calculator.set("verbosity", 0)
        # half of SIGMA, the smearing of a Gaussian being wider than that of Fermi at the same parameter
        width = max(0.5 * abs(job.settings.real("SIGMA")), 50 * BOLTZMANN)
        calculator.set("temperature", width / HARTREE)
        if job.settings.integer("ISPIN") == 2:
            calculator.add("spin-polarization", 1.0)
        return calculator


class AseEngine:
    """Any calculator of ASE."""

    def __init__(self, job: Job, calculator: object) -> None:
        from ase import Atoms

        self._atoms = Atoms(
            job.poscar.elements, positions=np.zeros((len(job.poscar), 3)), pbc=True, calculator=calculator
        )

    def point(self, fractional: np.ndarray, cell: np.ndarray) -> Point:
        self._atoms.set_cell(cell)
        self._atoms.positions = fractional @ cell
        energy = float(self._atoms.get_potential_energy())
        return Point(energy, self._atoms.get_forces(), self._atoms.get_stress(voigt=False))


def emt(job: Job) -> AseEngine:
    """Return effective-medium theory of metals."""
    from ase.calculators.emt import EMT

    return AseEngine(job, EMT())


def lj(job: Job) -> AseEngine:
    """Return a Lennard-Jones solid, the same for all elements."""
    from ase.calculators.lj import LennardJones

    return AseEngine(job, LennardJones(sigma=1.2, epsilon=0.3, rc=4.0, smooth=True))
