"""Everything that a config needs is checked before any step runs, and steps that are done need nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
from tests.conftest import flake, stem2sim, table_of

from stem2sim.builtin.atoms_table import AtomsTableSegmenter
from stem2sim.config.config import Config
from stem2sim.errors import BadInput
from stem2sim.runs.pipeline import run
from stem2sim.simulation import SimulationResult
from stem2sim.stages import Check, Simulator
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch
from stem2sim_hterm.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from stem2sim.structure import Structure


class Demanding(Simulator):
    """Need a program and, for one element, a file of parameters; count its runs."""

    name: ClassVar[str] = "demanding"
    program: ClassVar[bool] = True
    unknown: ClassVar[str] = ""
    runs: ClassVar[int] = 0
    number: int = 0

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        yield Check("solver", "note", "an old version", "update it")
        if not self.program and self.number:
            yield Check("solver", "missing", "no solver on PATH", "install it")
        for element in elements:
            if element == self.unknown and self.number:
                yield Check("solver", "missing", f"no parameters of {element}", "download them")

    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        type(self).runs += 1
        forces = np.zeros((len(structure.atoms), 3))
        yield SimulationResult(structure=structure, energy=0.0, forces=forces, converged=True, reason="made up")


class Remote(Demanding):
    """The same, by a program that may run on another machine."""

    name: ClassVar[str] = "remote"

    @property
    def external(self) -> bool:
        return True

    def prepare(self, structure: Structure, workdir: Path) -> str:
        return f"prepared in {workdir}"


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins with all that is needed."""
    monkeypatch.setattr(Demanding, "program", True)
    monkeypatch.setattr(Demanding, "unknown", "")
    monkeypatch.setattr(Demanding, "runs", 0)


def config(tmp_path: Path, *simulators: Simulator) -> Config:
    table = tmp_path / "atoms.csv"
    table.write_text(table_of(flake(12).atoms.positions[:, :2]).to_csv())
    build = (Place(), Patch(size=8), Hterm())
    return Config(segment=AtomsTableSegmenter(path=table), build=build, simulate=simulators)


def test_a_missing_program_stops_a_run_before_its_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written, and every missing thing is listed once, with its fix; notes do not count."""
    monkeypatch.setattr(Demanding, "program", False)
    chain = config(tmp_path, Demanding(), Demanding(number=1), Demanding(number=2))
    with pytest.raises(BadInput, match=r"^missing: solver: no solver on PATH \(install it\)$"):
        run(chain, tmp_path / "run")
    assert Demanding.runs == 0
    assert not (tmp_path / "run").exists()
    run(chain, tmp_path / "run", until="build")


def test_parameters_of_elements_are_checked_before_the_first_simulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydrogen comes with a builder: known once the structure is built, before the simulation that does not need it."""
    monkeypatch.setattr(Demanding, "unknown", "H")
    chain = config(tmp_path, Demanding(), Demanding(number=1))
    with pytest.raises(BadInput, match=r"^missing: solver: no parameters of H \(download them\)$"):
        run(chain, tmp_path / "run")
    assert Demanding.runs == 0
    assert (tmp_path / "run" / "structure.extxyz").exists()


def test_a_structure_file_has_its_elements_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Demanding, "unknown", "C")
    flake(8).in_a_cell().write(tmp_path / "s.extxyz")
    with pytest.raises(BadInput, match="no parameters of C"):
        run(Config(structure=tmp_path / "s.extxyz", simulate=(Demanding(number=1),)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_steps_that_are_done_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when a step before them is repeated with the same outcome."""
    chain = config(tmp_path, Demanding(), Demanding(number=1))
    run(chain, tmp_path / "run")
    monkeypatch.setattr(Demanding, "program", False)
    assert set(run(chain, tmp_path / "run").steps.values()) == {"already done"}
    (tmp_path / "run" / "build" / "02-patch.extxyz").unlink()
    assert run(chain, tmp_path / "run").steps["02-demanding"] == "already done"
    longer = chain.model_copy(update={"simulate": (*chain.simulate, Demanding(number=2))})
    with pytest.raises(BadInput, match="no solver on PATH"):
        run(longer, tmp_path / "run")


def test_what_is_only_prepared_is_not_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Preparing says itself what is lacking: VASP's input can be written without its potentials, to be added later."""
    monkeypatch.setattr(Demanding, "program", False)
    monkeypatch.setattr(Demanding, "unknown", "H")
    chain = config(tmp_path, Remote(number=1))
    assert len(run(chain, tmp_path / "run", prepare_only=True).waiting) == 1
    with pytest.raises(BadInput, match="no solver on PATH"):
        run(chain, tmp_path / "third")


def test_the_command_line_relaxes_nothing_for_an_engine_that_is_missing(tmp_path: Path) -> None:
    """`--simulator xtb --simulator dftb` without `dftb+`: one line with all that is missing, and no relaxation."""
    flake(8).in_a_cell().write(tmp_path / "s.extxyz")
    missing = ["--set", "simulate.1.binary=no-dftb", "--set", "simulate.1.slater_koster=/nowhere"]
    done = stem2sim("simulate", tmp_path / "s.extxyz", "--simulator", "xtb", "--simulator", "dftb", *missing,
                    "--out", tmp_path / "run")  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: missing: dftb: no 'no-dftb' on PATH (")
    assert "dftb: slater_koster: no folder at /nowhere (" in line
    assert not (tmp_path / "run").exists()
