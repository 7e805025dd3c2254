"""Our own plugins, and the example in the docs, pass the kit that we ship for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ase import Atoms
from pydantic import Field
from tests.conftest import ROOT, Emt, benzene, flake

from stem2sim.engines.engine_simulator import read_engine
from stem2sim.registry import installed
from stem2sim.stages import Stage
from stem2sim.structure import Structure
from stem2sim.testing import (
    check_builder,
    check_segmenter,
    check_simulator,
    check_stage,
    graphene_image,
    graphene_segmentation,
    graphene_sheet,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("name", "within"), [("peaks", 0.1), ("unet", 0.03)])
def test_segmenters_conform(name: str, within: float) -> None:
    segmenter = installed().find("segmenter", name)()
    found = check_segmenter(segmenter, graphene_image())  # type: ignore[arg-type]
    there = graphene_sheet(26).positions[:, :2] - 3
    known, seen = (int(((xy > 2) & (xy < 18)).all(axis=1).sum()) for xy in (there, found.atoms.positions))
    assert seen == pytest.approx(known, rel=within)


@pytest.mark.parametrize(
    "name", ["place", "calibrate", "merge", "drop", "fill", "patch", "hterm", "cell", "ripple", "constrain"]
)
def test_builders_conform(name: str) -> None:
    builder = installed().find("builder", name)()
    start = Structure.empty() if name == "place" else flake(16)
    check_builder(builder, start, graphene_segmentation(16))  # type: ignore[arg-type]


def test_xtb_conforms(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    check_simulator(read_engine("xtb"), Structure(atoms=benzene()), tmp_path / "work")


def test_aimd_conforms(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    aimd = installed().find("simulator", "aimd").model_validate({"steps": 4, "engine": {"use": "xtb"}})
    check_simulator(aimd, Structure(atoms=benzene()), tmp_path / "work")  # type: ignore[arg-type]


def test_the_example_plugin_is_short_and_installed() -> None:
    """It is found through its own entry point, and fits on one screen."""
    lines = (ROOT / "docs" / "example_plugin" / "stem2sim_peaks.py").read_text().splitlines()
    assert len(lines) < 40
    (offer,) = [o for o in installed().offers if o.stage.name == "peaks"]
    assert offer.distribution == "stem2sim-peaks"


class Wrong(Emt):
    """Forces that do not belong to the energy."""

    slope: float = Field(2.0, description="factor on the forces")

    def calculator(self, structure: Structure, workdir: Path):  # type: ignore[no-untyped-def]
        from contextlib import contextmanager

        from ase.calculators.emt import EMT

        factor = self.slope

        class Off(EMT):  # type: ignore[misc]
            def calculate(self, *args: object, **kwargs: object) -> None:
                super().calculate(*args, **kwargs)
                self.results["forces"] = self.results["forces"] * factor

        @contextmanager
        def lent():  # type: ignore[no-untyped-def]
            yield Off()

        return lent()


def test_the_kit_catches_what_is_wrong(tmp_path: Path) -> None:
    """A kit that passes everything tests nothing."""
    (tmp_path / "work").mkdir()
    cluster = Structure(atoms=Atoms("Cu3", positions=[[0, 0, 0], [2.3, 0, 0], [1, 2.0, 0.2]]))
    check_simulator(Emt(task="single-point"), cluster, tmp_path / "work")
    with pytest.raises(AssertionError, match="but the energy falls by"):
        check_simulator(Wrong(task="single-point"), cluster, tmp_path / "work")

    class Shouting(Emt):
        """Breaks the rule on names."""

        name = "SHOUT"

    with pytest.raises(AssertionError, match="kebab-case"):
        check_stage(Shouting())

    class Mute(Emt):
        """Has an option without a description."""

        loudness: float = 1.0

    with pytest.raises(AssertionError, match="option loudness needs"):
        check_stage(Mute())
    assert Stage.__doc__
