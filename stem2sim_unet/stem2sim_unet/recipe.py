"""The contents of training frames: the material, its defects and the ranges of microscope and detector."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stem2sim_unet.material import Material, column_atoms

Share = Annotated[float, Field(ge=0, le=1)]


def _ordered(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError(f"a range runs from the smaller to the larger number, got {span[0]} to {span[1]}")
    return span


Span = Annotated[tuple[float, float], AfterValidator(_ordered)]


def _column(name: str) -> str:
    column_atoms(name)
    return name


def _material(name: str) -> str:
    Material.named(name)
    return name


class Impurity(BaseModel):
    """Impurity atoms in the sheet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "impurities"

    species: Annotated[str, AfterValidator(_column)] = Field(description="element, or a column such as S2")
    on: str | None = Field(None, description="column that it replaces; default: any column of the material")
    mean: float = Field(1.0, ge=0, description="mean number per image")
    merged: Share = Field(
        0.0, description="fraction that replaces two neighbouring columns of one kind (in a divacancy) instead of one"
    )
    clustered: Share = Field(
        0.0, description="fraction of images in which the first has neighbours of the same species"
    )
    adatoms: float = Field(0.0, ge=0, description="mean number of adatoms on the sheet, anywhere")


class Recipe(BaseModel):
    """Ranges that training frames are drawn from; the defaults are graphene with Si and Cr."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = "recipe"

    material: Annotated[str, AfterValidator(_material)] = Field(
        "graphene", description="graphene, MoS2, or a structure file readable by ASE (CIF, ...)"
    )
    impurities: tuple[Impurity, ...] = Field(
        (
            Impurity(species="Si", mean=1.5, merged=0.35, clustered=0.35, adatoms=0.1),
            Impurity(species="Cr", mean=0.35, merged=0.35, adatoms=0.25),
        ),
        description="impurity species, each a separate class",
    )
    pristine: Share = Field(0.2, description="fraction of images without point defects")
    empty: Share = Field(0.04, description="fraction of images without atoms: vacuum, noise, contamination")
    grain_boundaries: Share = Field(0.25, description="fraction of images with two grains")
    vacancies: float = Field(2.0, ge=0, description="mean number of missing columns per image")
    holes: Share = Field(0.35, description="fraction of images with a hole or the edge of the sheet")
    thermal: float = Field(0.04, ge=0, description="standard deviation of the displacement of each column [Å]")
    strain: float = Field(0.025, ge=0, description="standard deviation of each component of strain, shear and rotation")
    pixel_size: Span = Field((0.06, 0.22), description="pixel size of the scan, before resampling [Å]")
    fwhm: Span = Field((0.85, 1.6), description="full width at half maximum of the probe, source size included [Å]")
    tail_weight: Span = Field((0.0, 0.5), description="fraction of the probe intensity in its tail")
    scattering_exponent: Span = Field(
        (1.5, 2.05), description="n in Z^n; 1.6 for collection from 35 mrad, 2.0 from 86 mrad"
    )
    dose: Span = Field((40.0, 6000.0), description="counts per area at the peak of one carbon atom [1/Å²]")
    contamination: Share = Field(0.35, description="fraction of images with contamination")

    @cached_property
    def sheet_of(self) -> Material:
        """The material, read once."""
        return Material.named(self.material)

    @cached_property
    def species(self) -> tuple[str, ...]:
        """Classes of atoms: the material's columns, then the impurities."""
        return tuple(dict.fromkeys((*self.sheet_of.columns, *(i.species for i in self.impurities))))

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class, background last."""
        return (*self.species, "background")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for impurity in self.impurities:
            if impurity.on is not None and impurity.on not in self.sheet_of.columns:
                columns = ", ".join(dict.fromkeys(self.sheet_of.columns))
                raise ValueError(f"impurity {impurity.species}: '{impurity.on}' is not in {columns}")
        return self


GRAPHENE_SILICON_CHROMIUM = Recipe()
"""What the bundled ensemble was trained on."""
