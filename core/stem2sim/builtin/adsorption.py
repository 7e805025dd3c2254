"""Adsorption energies, by one definition, all terms of which are computed alike.

`Structure.label` distinguishes the terms: `SURFACE` and `ADSORBATE` are the two references, any other label a site
(see `stem2sim.structure`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from stem2sim.engines.engine_simulator import EngineSimulator
from stem2sim.errors import BadInput, StageFailed
from stem2sim.simulation import with_used
from stem2sim.structure import ADSORBATE, SURFACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from stem2sim.engines.engine import Engine
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure

log = logging.getLogger("stem2sim")

CONVENTION = "E_ads = E_surface + E_adsorbate - E_total; positive: binding"

SPINS = 4
"""Multiplicities that are tried: the lowest and the next three; chromium by itself has six unpaired electrons."""


class Adsorption(EngineSimulator):
    """Adsorption energies: all structures of `adsorb` and both references, relaxed with the same settings."""

    name: ClassVar[str] = "adsorption"

    spin: bool = Field(
        False, description="spin-polarised calculation of all terms, each at its lowest-energy multiplicity"
    )

    def methods(self) -> str:
        """Return it for a methods section."""
        spin = ", with spin polarisation and the multiplicity of lowest energy" if self.spin else ""
        return (
            f"Adsorption energies ({CONVENTION}) were computed from structures that were all relaxed with the same "
            f"settings{spin}. " + self.engine.methods()
        )

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Relax one member; the pipeline takes the differences once all are there.

        Raises:
            BadInput: a structure without a label, or an engine without spin that is asked for it.
        """
        _check_label(structure)
        engine, spin = self._settled(structure, workdir)
        for result in engine.simulate(structure, workdir):
            yield self._own(result, spin)

    def prepare(self, structure: Structure, workdir: Path) -> str:
        """Write what the engine needs for one member; the search for a spin needs the engine here."""
        _check_label(structure)
        return super().prepare(structure, workdir) if self.spin else self.engine.prepare(structure, workdir)

    def collect(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Yield what the engine has left of one member."""
        _check_label(structure)
        results = super().collect(structure, workdir) if self.spin else self.engine.collect(structure, workdir)
        return (self._own(result, "") for result in results)

    def _own(self, result: SimulationResult, spin: str) -> SimulationResult:
        made_by = self.provenance() | {"engine": result.made_by}
        update = {"made_by": made_by, "details": with_used(result.details), "reason": result.reason + spin}
        return result.model_copy(update=update)

    def _settled(self, structure: Structure, workdir: Path) -> tuple[Engine, str]:
        """The engine for this member, with the spin of lowest energy where spin counts."""
        if not self.spin:
            return self.engine, ""
        lowest = self.engine.adopt(structure).multiplicity
        tried: dict[int, float] = {}
        problems: list[BadInput | StageFailed] = []
        for multiplicity in range(lowest, lowest + 2 * SPINS, 2):
            engine = self.engine.with_spin(multiplicity)
            try:
                with engine.calculator(structure, workdir) as calculator:
                    atoms = structure.atoms.copy()
                    atoms.calc = calculator
                    tried[multiplicity] = float(atoms.get_potential_energy())
            except (BadInput, StageFailed) as problem:  # more unpaired electrons than there are
                log.debug("%s: multiplicity %d: %s", structure.label, multiplicity, problem)
                problems.append(problem)
        if not tried:
            raise problems[0]
        best = min(tried, key=lambda m: tried[m])
        return self.engine.with_spin(best), f"; multiplicity {best}, the lowest of {', '.join(map(str, tried))}"


def _check_label(structure: Structure) -> None:
    if not structure.label:
        raise BadInput(
            f"adsorption needs labelled structures: '{SURFACE}', '{ADSORBATE}' and one for each site; end the build "
            "with a builder that makes them, such as adsorb"
        )


@dataclass(frozen=True)
class AdsorptionEnergy:
    """One adsorption energy, or why there is none."""

    value: float | None
    """[eV]; None where a member did not converge."""
    unconverged: tuple[str, ...] = ()
    """Members that did not."""

    def __str__(self) -> str:
        return (
            f"{self.value:.3f} eV" if self.value is not None else f"none: {', '.join(self.unconverged)} not converged"
        )


def adsorption_energies(results: Iterable[tuple[str, SimulationResult]]) -> dict[str, AdsorptionEnergy]:
    """Return the adsorption energy at each site, the most stable first; empty without both references.

    Args:
        results: of one simulation, all made with the same settings, and the name of each: the label of its structure,
            behind that of the surface (such as patch-2-hollow) where there are several surfaces.

    E_ads = E_surface + E_adsorbate - E_total; a positive energy means binding. A surface with two results for one
    label, or without its references, is left out. What did not converge enters no difference.
    """
    surfaces: dict[str, dict[str, SimulationResult]] = {}
    twice = set()
    for name, result in results:
        label = result.structure.label
        if label and name.endswith(label):
            surface = name.removesuffix(label)
            members = surfaces.setdefault(surface, {})
            twice |= {surface} if label in members else set()
            members[label] = result
    found: dict[str, AdsorptionEnergy] = {}
    for surface, members in surfaces.items():
        if SURFACE in members and ADSORBATE in members and surface not in twice:
            bare, free = members.pop(SURFACE), members.pop(ADSORBATE)
            for site, one in members.items():
                terms = {SURFACE: bare, ADSORBATE: free, site: one}
                failed = tuple(name for name, term in terms.items() if not term.converged)
                value = None if failed else bare.energy + free.energy - one.energy
                found[surface + site] = AdsorptionEnergy(value, failed)
    return dict(sorted(found.items(), key=lambda one: (one[1].value is None, -(one[1].value or 0.0))))
