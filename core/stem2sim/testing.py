"""The conformance kit for plugin authors: call the check of your kind of stage from a test of yours.

    from stem2sim.testing import check_segmenter, graphene_image

    def test_my_segmenter_conforms():
        check_segmenter(MySegmenter(), graphene_image())

Each check raises AssertionError with the law that was broken.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.build import graphene
from pydantic import ValidationError

from stem2sim.atoms_table import AtomsTable
from stem2sim.engines.engine import Engine
from stem2sim.image import Image
from stem2sim.imaging.forward import Probe, Scan
from stem2sim.lattice import GRAPHENE
from stem2sim.options import without_none
from stem2sim.segmentation import Segmentation
from stem2sim.stages import Builder, Segmenter, Simulator, Stage
from stem2sim.structure import CLOSEST, Structure

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.simulation import SimulationResult


def graphene_sheet(width: float, angle: float = 10.0) -> Atoms:
    """Return flat graphene over a square of that width [Å] at the origin, turned by `angle` [degrees]; no cell."""
    count = int(2 * width / GRAPHENE) + 4
    sheet = graphene(a=GRAPHENE, size=(count, count, 1), vacuum=0)
    sheet.positions -= sheet.positions.mean(axis=0)
    sheet.rotate(angle, "z", center=(0, 0, 0))
    sheet.positions[:, :2] += width / 2
    inside = ((sheet.positions[:, :2] > 0) & (sheet.positions[:, :2] < width)).all(axis=1)
    return Atoms(sheet.symbols[inside], positions=sheet.positions[inside])


def graphene_image(width: float = 20.0, pixel_size: float = 0.1, dose: float = 3000.0, seed: int = 0) -> Image:
    """Return a frame of perfect graphene through the forward model: width [Å], pixel size [Å], dose [1/Å²]."""
    sheet = graphene_sheet(width + 6)
    sheet.positions[:, :2] -= 3
    n = round(width / pixel_size)
    clean = Probe().render(sheet.positions[:, :2], sheet.numbers, pixel_size, (n, n))
    pixels = Scan(dose=dose).expose(clean, pixel_size, np.random.default_rng(seed))
    return Image(pixels=pixels, pixel_size=pixel_size, source="graphene through the forward model")


def segmentation_of(atoms: Atoms) -> Segmentation:
    """Return what a segmenter that is sure of everything gives for these atoms: x, y [Å] and species."""
    return Segmentation(atoms=AtomsTable.of(atoms).model_copy(update={"position_std": np.full(len(atoms), 0.05)}))


def graphene_segmentation(width: float = 16.0) -> Segmentation:
    """Return the atoms of perfect graphene over a square of that width [Å], all certain."""
    return segmentation_of(graphene_sheet(width))


def check_stage(stage: Stage) -> None:
    """Name, one-line summary, described options, frozen, no unknown options, options that make it again."""
    cls = type(stage)
    assert cls.name and cls.name == cls.name.lower() and " " not in cls.name, f"name '{cls.name}' is not kebab-case"
    summary = (inspect.getdoc(cls) or "").partition("\n")[0]
    assert summary and summary != inspect.getdoc(Stage), f"{cls.__name__} needs a docstring; its first line is shown"
    for name, field in cls.model_fields.items():
        assert field.description, f"option {name} needs Field(description='... [unit]')"
    assert cls.model_config.get("frozen"), "a stage is frozen"
    try:
        cls.model_validate({"no-such-option": 1})
    except ValidationError as problem:
        assert any(e["type"] == "extra_forbidden" for e in problem.errors()), "unknown options must be rejected"
    else:
        raise AssertionError("unknown options must be rejected")
    options = stage.model_dump(mode="json")
    assert options.pop("use") == cls.name, "model_dump() starts with the stage's name"
    assert cls.model_validate(options) == stage, "the dumped options must make the same stage again"
    assert cls.model_validate(without_none(options)) == stage, "TOML has no none: only a default may be None"


def check_segmenter(segmenter: Segmenter, image: Image) -> Segmentation:
    """Atoms inside the frame, sane probabilities, same answer twice, image untouched. Returns the segmentation."""
    check_stage(segmenter)
    before = image.pixels.copy()
    found, again = segmenter.segment(image), segmenter.segment(image)
    assert np.array_equal(image.pixels, before), "a segmenter must not change its image"
    atoms = found.atoms
    assert len(atoms) > 0, "no atoms found in an image that has some"
    width, height = image.field_of_view
    slack = 2 * image.pixel_size
    assert (atoms.x > -slack).all() and (atoms.x < width + slack).all(), "x must lie inside the image [Å]"
    assert (atoms.y > -slack).all() and (atoms.y < height + slack).all(), "y must lie inside the image [Å]"
    assert ((atoms.probability >= 0) & (atoms.probability <= 1)).all(), "probabilities must lie in 0 to 1"
    assert not (atoms.position_std < 0).any(), "position_std must not be negative (nan where unknown)"
    assert np.array_equal(atoms.positions, again.atoms.positions), "the same image must give the same atoms"
    if found.mean is not None:
        assert found.mean.shape == (len(found.class_names), *image.shape), "maps are (classes, rows, columns)"
        assert np.allclose(found.mean.sum(axis=0), 1, atol=0.02), "class probabilities must sum to one"
    return found


def check_builder(builder: Builder, structure: Structure, segmentation: Segmentation) -> list[Structure]:
    """At least one structure, no overlapping atoms, history kept, input untouched, same answer twice."""
    check_stage(builder)
    before, arrays = structure.atoms.copy(), set(structure.atoms.arrays)
    made, again = list(builder.build(structure, segmentation)), list(builder.build(structure, segmentation))
    assert structure.atoms == before and set(structure.atoms.arrays) == arrays, "a builder must not change its input"
    assert made, "a builder yields at least one structure"
    for one, other in zip(made, again, strict=True):
        assert len(one.atoms) > 0, "a structure without atoms"
        one.check_distances(CLOSEST)
        assert one.history[: len(structure.history)] == structure.history, "the history of earlier builders must stay"
        assert len(one.history) > len(structure.history), "a builder adds itself to the history: structure.after(...)"
        assert np.array_equal(one.atoms.positions, other.atoms.positions), "the same input must give the same structure"
    return made


def check_simulator(simulator: Simulator, structure: Structure, workdir: Path) -> list[SimulationResult]:
    """Finite energy and forces, same atoms in the same order, a reason, input untouched, nothing outside workdir."""
    check_stage(simulator)
    before = structure.atoms.copy()
    beside = set(workdir.parent.iterdir())
    results = list(simulator.simulate(structure, workdir))
    assert structure.atoms == before, "a simulator must not change its input"
    assert set(workdir.parent.iterdir()) == beside, "a simulator writes only into its workdir"
    assert results, "a simulator yields at least one result"
    labels = [result.label for result in results]
    assert len(set(labels)) == len(labels), f"several results need labels that differ, got {labels}"
    for result in results:
        assert np.isfinite(result.energy) and np.isfinite(result.forces).all(), "energy and forces must be finite"
        assert result.forces.shape == (len(before), 3), "forces are (atoms, 3)"
        same = result.structure.atoms.get_chemical_symbols() == before.get_chemical_symbols()
        assert same, "atoms must keep their order"
        assert result.reason, "a result says in words what was reached"
        assert len({len(values) for values in result.observables.values()}) <= 1, "observables must be equally long"
        if result.trajectory is not None:
            assert (workdir / result.trajectory).is_file(), "the trajectory is a file in workdir"
    if isinstance(simulator, Engine):
        _check_forces(simulator, structure, workdir)
    return results


def _check_forces(engine: Engine, structure: Structure, workdir: Path, step: float = 0.01) -> None:
    """Forces must be minus the slope of the energy: a displacement of `step` [Å] of one atom shows it."""
    atoms = structure.atoms.copy()
    atoms.set_constraint()
    with engine.calculator(structure, workdir) as calculator:
        atoms.calc = calculator
        force = float(atoms.get_forces()[0, 0])
        energies = []
        for sign in (1, -1):
            atoms.positions[0, 0] += sign * step
            energies.append(float(atoms.get_potential_energy()))
            atoms.positions[0, 0] -= sign * step
    slope = (energies[0] - energies[1]) / (2 * step)
    assert abs(force + slope) < 0.05 + 0.01 * abs(force), (
        f"force {force:.4f} eV/Å, but the energy falls by {-slope:.4f}"
    )
