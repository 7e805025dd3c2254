"""Options of the vasp engine, and the presets of the reference paper."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from stem2sim.engines.electronic_engine import ElectronicEngine
from stem2sim.structure import ELEMENTS
from stem2sim_vasp.incar import CHEAPER, Value, parsed
from stem2sim_vasp.kpoints import SPACING

PAPER: dict[str, Any] = {"encut": 400.0, "kpoints": (2, 2, 2), "scheme": "monkhorst-pack", "fmax": 1e-3}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": PAPER,
    "paper-relax": PAPER,
    "paper-md": {**PAPER, "incar": dict(CHEAPER)},
    "cr-spin": {**PAPER, "spin": True},
}
"""What Ghosh et al., npj Comput. Mater. 8, 74 (2022), used; cr-spin adds the spin that they did not include."""

WHERE_AND_HOW = ("max_steps", "command", "potentials", "ncore", "kpar", "launch", "recovery", "patience", "job",
                 "job_hours", "job_margin", "checkpoint")  # fmt: skip
"""Options that do not decide the outcome."""


class VaspOptions(ElectronicEngine):
    """What a user may set of a calculation with VASP."""

    name: ClassVar[str] = "vasp"
    keeps_steps: ClassVar[bool] = True
    optimisers: ClassVar[dict[str, str]] = {
        "cg": "conjugate-gradient",
        "quasi-newton": "quasi-Newton",
        "damped": "damped-dynamics",
    }

    preset: Literal["paper", "paper-relax", "paper-md", "cr-spin"] | None = Field(
        None,
        description="settings of the reference paper; paper-md: reduced settings for molecular dynamics; "
        "cr-spin: spin-polarised",
    )
    command: tuple[str, ...] | None = Field(
        None, description="command that runs VASP, e.g. mpirun -n 16 vasp_std; default: $VASP_COMMAND"
    )
    launch: Literal["here", "elsewhere"] = Field(
        "here", description="run VASP locally, or wait for a run that is started on another machine in the same folder"
    )
    potentials: Path | None = Field(
        None, description="folder of the PAW potentials; default: as configured for ASE and pymatgen"
    )
    potcar_version: Literal["", "52", "54", "64"] = Field(
        "", description="version of the PBE set; default: the unnumbered set"
    )
    setups: dict[str, str] = Field({}, description="suffix of the potential of each element: { Cr = '_pv' }")
    encut: float = Field(400.0, gt=0, description="plane-wave cut-off energy [eV]")
    kpoints: tuple[int, int, int] | None = Field(None, description="k-point mesh; default: chosen by kspacing")
    kspacing: float = Field(
        SPACING,
        gt=0,
        description="largest distance between k-points along periodic directions, including 2π; one point along "
        "directions with vacuum [1/Å]",
    )
    scheme: Literal["gamma", "monkhorst-pack"] = Field(
        "gamma", description="type of k-point mesh; an even Monkhorst–Pack mesh does not include the Γ point"
    )
    optimiser: Literal["cg", "quasi-newton", "damped"] = Field(  # type: ignore[assignment]  # VASP's, not ASE's
        "cg", description="VASP optimiser: conjugate gradients, RMM-DIIS, or damped dynamics (IBRION 2, 1, 3)"
    )
    spin: bool = Field(
        False, description="spin-polarised, from the magnetic moments in the structure or from free-atom moments"
    )
    unpaired: int | None = Field(None, ge=0, description="fixed number of unpaired electrons (NUPDOWN); default: free")
    dispersion: Literal["d3", "d3-bj"] | None = Field(None, description="Grimme dispersion correction (IVDW 11, 12)")
    incar: dict[str, Value] = Field({}, description="additional or overriding INCAR tags: { ALGO = 'All' }")
    ncore: int | None = Field(None, ge=1, description="cores per band (NCORE)")
    kpar: int | None = Field(None, ge=1, description="k-point groups run in parallel (KPAR)")
    recovery: bool | None = Field(None, description="use custodian to correct errors; default: on if installed")
    patience: float = Field(360.0, gt=0, description="time without output after which VASP is considered hung [min]")
    job: Path | None = Field(None, description="template of a batch job that runs run-vasp.sh; default: a Slurm job")
    job_hours: float = Field(24.0, gt=0, description="wall-clock time requested for the batch job [h]")
    job_margin: float = Field(
        10.0,
        gt=0,
        description="time before the end of the batch job at which VASP is stopped; longer than an ionic step [min]",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_preset(cls, options: Any) -> Any:
        preset = PRESETS.get(str(options.get("preset"))) if isinstance(options, dict) else None
        if preset is None:
            return options
        own = options.get("incar", {})
        tags = {**preset.get("incar", {}), **own} if isinstance(own, dict) else own
        return {**preset, **options, "incar": tags}

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        try:
            return tuple(shlex.split(value)) or None if isinstance(value, str) else value
        except ValueError as problem:
            raise ValueError(f"not a command: {problem}") from None

    @field_validator("kpoints")
    @classmethod
    def _positive(cls, value: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if value is not None and min(value) < 1:
            raise ValueError(f"a mesh has at least one point along each vector, got {value}")
        return value

    @field_validator("incar")
    @classmethod
    def _in_capitals(cls, value: dict[str, Value]) -> dict[str, Value]:
        for tag, setting in value.items():
            if not re.fullmatch(r"\w+", tag, re.ASCII):
                raise ValueError(f"{tag!r} is not the name of a tag")
            if isinstance(setting, str) and (any(c in setting for c in "\n\r;#!") or setting.endswith("\\")):
                raise ValueError(f"the value of {tag} would end its line of the INCAR, or swallow the next")
        tags = {tag.upper(): parsed(setting) if isinstance(setting, str) else setting for tag, setting in value.items()}
        if len(tags) < len(value):
            raise ValueError(f"a tag is given twice: {', '.join(value)}")
        return tags

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        unknown = sorted(set(self.setups) - ELEMENTS)
        if unknown:
            raise ValueError(f"setups: no element '{unknown[0]}'; use symbols, as in {{ Cr = '_pv' }}")
        if self.unpaired is not None and not self.spin:
            raise ValueError("unpaired electrons need spin = true")
        return self
