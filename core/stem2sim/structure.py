"""Atoms ready for an engine, with the origin of each and the builders that made them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote, unquote

import numpy as np
from ase import Atoms
from ase.constraints import dict2constraint
from ase.data import atomic_numbers
from ase.io import read, write
from pydantic import BaseModel, ConfigDict, Field

from stem2sim.errors import BadInput
from stem2sim.files import fingerprint, write_atomically
from stem2sim.geometry.bonds import Bonds
from stem2sim.geometry.columns import ADDED
from stem2sim.geometry.pairs import SLACK, describe_pairs, near_pairs
from stem2sim.noun import Noun

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray


CLOSEST = 0.9
"""[Å]; no two atoms of any structure we build or simulate are closer, across any boundary (H-H is 0.74, C-H 1.09)."""

SURFACE, ADSORBATE = "surface", "adsorbate"
"""`Structure.label` of the two references that an adsorption energy needs: the bare surface, and the free adsorbate in
the same box. A builder that places an adsorbate yields both, and one structure for each site under any other label."""

SAMPLE = "sample-"
"""Before the number in the `Structure.label` of structures that were drawn from the uncertainties of one image: their
results are averaged."""

VACUUM = 10.0
"""[Å] on each side of a structure that no builder gave a cell."""

ELEMENTS = frozenset(atomic_numbers) - {"X"}
"""Chemical symbols; ASE's X is no element."""


def extended(atoms: Atoms, added: Atoms) -> Atoms:
    """Return atoms with others that a builder added: certain, not measured, and so without a position error."""
    whole: Atoms = atoms.copy()
    more = added.copy()
    for name, value in (("source", ADDED), ("probability", 1.0), ("position_std", np.nan)):
        if whole.has(name):
            more.set_array(name, np.full(len(more), value))
    whole.extend(more)
    return whole


class Finding(BaseModel):
    """One thing that is, or may be, wrong with a structure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str = Field(description="name of the check, as --allow takes it")
    severity: Literal["error", "warning", "note"]
    text: str
    atoms: tuple[int, ...] = Field((), description="numbers of the atoms concerned")


class Structure(Noun):
    """Atoms in the axes of the image: x along columns, y down rows, z along the beam into the page (right-handed).

    Per-atom arrays: `source` (row of the atoms table, -1 for an added atom), `position_std` [Å], `probability`.
    """

    atoms: Atoms = Field(repr=False)
    charge: int = Field(0, description="total charge [e]")
    history: tuple[dict[str, Any], ...] = Field((), description="builders applied, with their options")
    findings: tuple[str, ...] = Field((), description="what the builders did to the atoms")
    checks: tuple[Finding, ...] = Field((), description="findings of validation, the most severe first")
    label: str = Field("", description="name of a variant, where a builder yields several: e.g. the site of an adatom")

    def describe(self) -> str:
        """Return formula, number of atoms, and the label of a variant."""
        formula = self.atoms.get_chemical_formula("hill") or "empty"
        label = f"{self.label}: " if self.label else ""
        charge = f", charge {self.charge:+d}" if self.charge else ""
        return f"{label}{formula}, {len(self.atoms)} atom{'s' * (len(self.atoms) != 1)}{charge}"

    def facts(self) -> dict[str, str]:
        """Return formula, cell, builders, findings and checks."""
        atoms = self.atoms
        lengths = " × ".join(f"{length:.2f}" for length in atoms.cell.lengths())
        axes = ", ".join(axis for axis, along in zip("abc", atoms.pbc, strict=True) if along)
        periodic = f"periodic along {axes}" if axes else "not periodic"
        facts = {
            "structure": self.describe(),
            "cell": f"{lengths} Å, {periodic}" if atoms.cell.rank else "none",
            "builders": ", ".join(str(builder.get("use", "")) for builder in self.history),
            "findings": "; ".join(self.findings),
            "checks": "; ".join(check.text for check in self.checks),
        }
        return {name: text for name, text in facts.items() if text}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the atoms and bonds as seen along the beam, axes in Å."""
        from stem2sim.drawing import balls, labelled, new_axes

        ax = ax or new_axes()
        balls(ax, self.atoms)
        ax.autoscale_view()
        return labelled(ax)

    @classmethod
    def empty(cls) -> Self:
        """Return the start of every build chain: no atoms yet."""
        return cls(atoms=Atoms())

    def after(self, builder: dict[str, Any], atoms: Atoms, *findings: str) -> Self:
        """Return the structure that a builder (given by its options) made of this one."""
        return self.model_copy(
            update={
                "atoms": atoms,
                "history": (*self.history, builder),
                "findings": (*self.findings, *findings),
            }
        )

    def part(self, kept: NDArray[np.bool_] | NDArray[np.int64] | list[int]) -> Self:
        """Return the structure of a part of the atoms, with their bonds.

        Args:
            kept: a mask (atoms,), or the numbers of the part in ascending order.
        """
        part = self.model_copy(update={"atoms": self.atoms[np.asarray(kept)]})
        part.__dict__["bonds"] = self.bonds.among(np.asarray(kept))
        return part

    @property
    def bonds(self) -> Bonds:
        """The bond graph of the atoms, built when it is first needed and kept as long as the atoms stay as they are."""
        bonds: Bonds | None = self.__dict__.get("bonds")  # copies of a model share it: the atoms may be others there
        if bonds is None or not bonds.match(self.atoms):
            bonds = self.__dict__["bonds"] = Bonds.of(self.atoms)
        return bonds

    @property
    def electrons(self) -> int:
        """Electrons, core ones included: atomic numbers less the charge."""
        return int(self.atoms.numbers.sum()) - self.charge

    @property
    def multiplicity(self) -> int:
        """Lowest spin multiplicity that the electron count allows: 1 when even, 2 when odd."""
        return 1 + self.electrons % 2

    def fingerprint(self) -> str:
        """Return a hash of what an engine sees: elements, positions, cell, constraints, charge."""
        atoms = self.atoms
        arrays = (atoms.numbers, atoms.positions, np.asarray(atoms.cell), atoms.pbc)
        constraints = json.dumps([c.todict() for c in atoms.constraints], default=_plain, sort_keys=True)
        return fingerprint(*(np.ascontiguousarray(a).tobytes().hex() for a in arrays), constraints, str(self.charge))

    def in_a_cell(self) -> Self:
        """Return the structure as it is, or in a vacuum box of 10 Å on each side where it has no cell."""
        if self.atoms.cell.rank == 3:
            return self
        if self.atoms.pbc.any():
            raise BadInput(
                f"the structure is periodic (pbc = {self.atoms.pbc.tolist()}) but its cell has only "
                f"{self.atoms.cell.rank} of three vectors; give it all three, with vacuum where there is no neighbour"
            )
        atoms = self.atoms.copy()
        atoms.center(vacuum=VACUUM)
        atoms.pbc = False
        return self.model_copy(update={"atoms": atoms})

    def check_distances(self, closest: float = CLOSEST, advice: str = "check positions, scale and cell") -> None:
        """Raise BadInput with the closest pairs of atoms, and advice, if any pair is closer than `closest` [Å]."""
        close = near_pairs(self.atoms, closest - SLACK)
        close = close.chosen(close.i <= close.j)
        if len(close.i) == 0:
            return
        pairs = sorted(zip(close.lengths.tolist(), close.i.tolist(), close.j.tolist(), strict=True))
        raise BadInput(f"atoms closer than {closest:g} Å: {describe_pairs(self.atoms, pairs)}; {advice}")

    def write(self, path: Path) -> None:
        """Write an extended XYZ file that holds all of it, atomically."""
        atoms = self.atoms.copy()
        atoms.calc = None
        notes = {
            "charge": self.charge,
            "label": self.label,
            "history": list(self.history),
            "findings": list(self.findings),
            "checks": [check.model_dump() for check in self.checks],
            "constraints": [c.todict() for c in atoms.constraints],
        }
        atoms.set_constraint()
        # ASE's extended XYZ loses backslashes and stumbles over quotes: percent-encode them
        atoms.info = {
            "stem2sim": quote(json.dumps(notes, default=_plain, ensure_ascii=False), safe=" {}[]:,.()=-+/<>_")
        }
        with write_atomically(path) as part:
            write(part, atoms, format="extxyz")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a structure from any file that ASE reads; from our own, with all that `write` put there.

        Raises:
            BadInput: missing or unreadable file.
        """
        if not path.is_file():
            raise BadInput(f"no structure file at {path}")
        return cls._read(path, str(path))

    @classmethod
    def parse(cls, content: bytes, path: Path) -> Self:
        """Return the structure that an extended XYZ file holds, by its content; the path is for messages.

        Raises:
            BadInput: a damaged file.
        """
        return cls._read(path, io.StringIO(content.decode(errors="replace")), "extxyz")

    @classmethod
    def _read(cls, path: Path, source: str | io.StringIO, format: str | None = None) -> Self:
        try:
            atoms = read(source, format=format, do_not_split_by_at_sign=True)
        except Exception as problem:  # ASE's readers raise whatever the format's parser does
            raise BadInput(f"cannot read a structure from {path.name}: {' '.join(str(problem).split())}") from problem
        if not isinstance(atoms, Atoms) or len(atoms) == 0:
            raise BadInput(f"no atoms in {path.name}")
        if (atoms.numbers == 0).any():
            raise BadInput(f"{path.name} has an atom of unknown species ('X')")
        if not np.isfinite(atoms.positions).all():
            raise BadInput(f"{path.name} has positions that are not finite")
        atoms.calc = None
        own = str(atoms.info.pop("stem2sim", "{}"))
        atoms.info = {}
        try:
            notes = json.loads(unquote(own))
            if "constraints" in notes:
                atoms.set_constraint([dict2constraint(c) for c in notes.pop("constraints")])
            return cls(
                atoms=atoms,
                **{name: notes[name] for name in ("charge", "label", "history", "findings", "checks") if name in notes},
            ).read_from(path)
        except (ValueError, TypeError, KeyError) as problem:
            raise BadInput(
                f"the stem2sim record in {path.name} is damaged; remove stem2sim=... from its comment line"
            ) from problem


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
