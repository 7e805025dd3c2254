"""Work that is cut off goes on bit for bit as if it never had been, and nothing else is ever mixed into it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import Field

from stem2sim.engines.deadline import check_time, time_limit
from stem2sim.engines.engine import Engine
from stem2sim.engines.trajectory import frames
from stem2sim.errors import BadInput, OutOfTime, StageFailed
from stem2sim.structure import Structure
from stem2sim.testing import graphene_image
from stem2sim_aimd.aimd import Aimd
from tests.aimd.springs import Springs, crystal
from tests.conftest import stem2sim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ase import Atoms

    from stem2sim.simulation import SimulationResult


class Remembers(Engine):
    """Springs whose answer depends on how often they were asked since they were started, as a wave function does."""

    name: ClassVar[str] = "remembers"
    calls: ClassVar[list[int]] = [0]
    """Since the test began."""
    cut_at: int = Field(-1, description="call at which Ctrl-C is pressed")

    @contextmanager
    def calculator(self, structure: Structure, workdir: Path) -> Iterator[Springs]:
        cut_at = self.cut_at

        class Warm(Springs):
            asked = 0

            def calculate(self, *args: object, **kwargs: object) -> None:
                Remembers.calls[0] += 1
                if Remembers.calls[0] == cut_at:
                    raise KeyboardInterrupt
                self.asked += 1
                super().calculate(*args, **kwargs)  # type: ignore[arg-type]
                self.results["forces"] = self.results["forces"] * (1 + 1e-6 * self.asked)

        yield Warm(crystal())

    def provenance(self) -> dict[str, object]:
        """Leave out when it is cut."""
        return {key: value for key, value in super().provenance().items() if key != "cut_at"}


def copper() -> Atoms:
    atoms = crystal()
    atoms.rattle(0.1, seed=1)
    return atoms


def dynamics(folder: Path, cut_at: int = -1, **options: object) -> list[SimulationResult]:
    Remembers.calls[0] = 0
    folder.mkdir(exist_ok=True)
    given = {"steps": 45, "interval": 4, "checkpoint": 10, "time_step": 2.0, **options}
    aimd = Aimd(engine=Remembers(cut_at=cut_at), **given)  # type: ignore[arg-type]
    return list(aimd.simulate(Structure(atoms=copper()), folder))


def steps_of(path: Path) -> list[tuple[int, bytes]]:
    return [(int(frame.info["step"]), frame.positions.tobytes()) for frame in frames(path)]


@settings(max_examples=12, phases=(Phase.generate,))
@given(
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    thermostat=st.sampled_from(["nose-hoover", "langevin", "csvr"]),
)
def test_dynamics_go_on_bit_for_bit(cuts: list[int], thermostat: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Cut at any calls, with an engine that has a memory: same frames, none doubled or missing, same values."""
    tmp_path = tmp_path_factory.mktemp("cut")
    (whole,) = dynamics(tmp_path / "whole", thermostat=thermostat)
    for cut in cuts:
        try:
            dynamics(tmp_path / "cut", cut, thermostat=thermostat)
        except KeyboardInterrupt:
            continue
    (again,) = dynamics(tmp_path / "cut", thermostat=thermostat)
    steps = steps_of(tmp_path / "cut" / "dynamics-300K.traj")
    assert steps == steps_of(tmp_path / "whole" / "dynamics-300K.traj")
    assert [step for step, _ in steps] == [*range(0, 45, 4), 45]
    assert again.observables == whole.observables
    assert np.array_equal(again.forces, whole.forces)
    assert np.array_equal(again.structure.atoms.get_momenta(), whole.structure.atoms.get_momenta())


@settings(max_examples=6, phases=(Phase.generate,))
@given(cut=st.integers(2, 130), optimiser=st.sampled_from(["bfgs", "lbfgs", "fire"]))
def test_relaxations_go_on_bit_for_bit(cut: int, optimiser: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path = tmp_path_factory.mktemp("cut")

    def relaxed(folder: Path, cut_at: int = -1) -> SimulationResult:
        Remembers.calls[0] = 0
        folder.mkdir(exist_ok=True)
        engine = Remembers(cut_at=cut_at, optimiser=optimiser, fmax=1e-7, max_steps=130)  # type: ignore[arg-type]
        (result,) = engine.simulate(Structure(atoms=copper()), folder)
        return result

    whole = relaxed(tmp_path / "whole")
    count = Remembers.calls[0]
    assert count > 30
    with suppress(KeyboardInterrupt):
        relaxed(tmp_path / "cut", cut)
    again = relaxed(tmp_path / "cut")
    assert Remembers.calls[0] == count - 20 * ((min(cut - 1, count)) // 20)  # what was recorded is not computed again
    assert steps_of(tmp_path / "cut" / "relaxation.traj") == steps_of(tmp_path / "whole" / "relaxation.traj")
    assert again.observables == whole.observables
    assert again.energy == whole.energy


def test_a_longer_run_goes_on_from_the_end_of_a_shorter_one(tmp_path: Path) -> None:
    """A multiple of the checkpoint is the same run; a number of steps that is passed is refused."""
    dynamics(tmp_path / "grown", steps=20)
    (grown,) = dynamics(tmp_path / "grown", steps=45)
    assert Remembers.calls[0] == 25
    (whole,) = dynamics(tmp_path / "whole")
    assert grown.observables == whole.observables
    with pytest.raises(BadInput, match="has 45 steps already; steps = 20 is less"):
        dynamics(tmp_path / "grown", steps=20)


def test_a_ladder_is_independent_trajectories_that_go_on_by_themselves(tmp_path: Path) -> None:
    """Each temperature is the run it would be alone; what was finished is not computed again; replicas differ."""
    with pytest.raises(KeyboardInterrupt):
        dynamics(tmp_path / "ladder", 60, temperature=(300.0, 900.0))
    ladder = dynamics(tmp_path / "ladder", temperature=(300.0, 900.0))
    assert Remembers.calls[0] == 45 - 10  # of the second only, from its checkpoint
    assert [one.label for one in ladder] == ["300K", "900K"]
    (alone,) = dynamics(tmp_path / "alone", temperature=900.0)
    assert ladder[1].observables == alone.observables
    more = dynamics(tmp_path / "ladder", temperature=(300.0, 900.0, 1200.0))
    assert Remembers.calls[0] == 46
    assert more[1].observables == alone.observables
    one, other = dynamics(tmp_path / "replicas", replicas=2)
    assert [one.label, other.label] == ["1", "2"]
    assert one.observables["temperature [K]"] != other.observables["temperature [K]"]


@pytest.mark.parametrize("damage", ["cut", "zeros", "header"])
def test_a_damaged_trajectory_is_mended_and_said_so(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The frames after the checkpoint are dropped and made again; without their beginning the run starts again."""
    dynamics(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        dynamics(tmp_path / "cut", 38)
    path = tmp_path / "cut" / "dynamics-300K.traj"
    raw = bytearray(path.read_bytes())
    if damage == "header":
        raw[:60] = bytes(60)
    else:
        raw[-300:] = b"" if damage == "cut" else bytes(300)
    path.write_bytes(raw)
    dynamics(tmp_path / "cut")
    assert "is damaged, as after an interrupted write; it is discarded and recomputed" in caplog.text
    assert steps_of(path) == steps_of(tmp_path / "whole" / "dynamics-300K.traj")
    assert Remembers.calls[0] == (46 if damage == "header" else 45 - 30)


def test_changed_input_is_refused_by_name(tmp_path: Path) -> None:
    """Only where there is work to lose: not before the first checkpoint, and not once the run is done."""
    with pytest.raises(KeyboardInterrupt):
        dynamics(tmp_path / "run", 5)
    with pytest.raises(KeyboardInterrupt):
        dynamics(tmp_path / "run", 15, seed=1)
    with pytest.raises(BadInput, match=r"an interrupted dynamics-300K made with .*seed was \[1, 0, 300000\], is \[2"):
        dynamics(tmp_path / "run", seed=2)
    with pytest.raises(BadInput, match=r"\(thermostat was nose-hoover, is csvr; relaxation_time was 100.0, is 50.0\)"):
        dynamics(tmp_path / "run", seed=1, thermostat="csvr", relaxation_time=50.0)
    moved = copper()
    moved.positions[0, 0] += 1e-9
    with pytest.raises(BadInput, match="another structure"):
        list(
            Aimd(engine=Remembers(), steps=45, interval=4, checkpoint=10, time_step=2.0, seed=1).simulate(
                Structure(atoms=moved), tmp_path / "run"
            )
        )
    dynamics(tmp_path / "run", seed=1)
    with pytest.raises(KeyboardInterrupt):  # a finished run that is made longer is work to lose again
        dynamics(tmp_path / "run", 20, seed=1, steps=90)
    with pytest.raises(BadInput, match="seed was"):
        dynamics(tmp_path / "run", seed=2)
    dynamics(tmp_path / "run", seed=1, steps=90)
    (other,) = dynamics(tmp_path / "run", seed=2)
    assert other.observables["time [fs]"][-1] == 90


def test_a_relaxation_that_goes_on_for_more_steps_is_protected_again(tmp_path: Path) -> None:
    def relaxed(cut_at: int = -1, **options: object) -> SimulationResult:
        Remembers.calls[0] = 0
        engine = Remembers(cut_at=cut_at, checkpoint=5, fmax=1e-7, **options)  # type: ignore[arg-type]
        (result,) = engine.simulate(Structure(atoms=copper()), tmp_path)
        return result

    assert not relaxed(max_steps=9).converged
    with pytest.raises(KeyboardInterrupt):
        relaxed(8, max_steps=25)
    with pytest.raises(BadInput, match=r"an interrupted relaxation made with .*optimiser was bfgs, is fire"):
        relaxed(optimiser="fire")
    shorter = relaxed(max_steps=12)
    assert "max_steps = 12 reached" in shorter.reason
    assert len(steps_of(tmp_path / "relaxation.traj")) == len(shorter.observables["energy [eV]"]) == 13


def test_a_ladder_can_grow_from_one_trajectory(tmp_path: Path) -> None:
    """More temperatures, or replicas, take up what was there."""
    dynamics(tmp_path)
    dynamics(tmp_path, temperature=(300.0, 500.0))
    assert Remembers.calls[0] == 46
    dynamics(tmp_path, replicas=2)
    assert Remembers.calls[0] == 46


def test_a_blown_up_trajectory_does_not_go_on(tmp_path: Path) -> None:
    """The same command gives the same result again, to the last value; more steps do not revive it."""
    options = {"time_step": 400.0, "force": True, "temperature": 3000.0}
    (first,) = dynamics(tmp_path, **options)
    assert not first.converged
    for steps in (45, 90):
        (again,) = dynamics(tmp_path, steps=steps, **options)
        assert Remembers.calls[0] == 0
        assert (again.reason, again.observables) == (first.reason, first.observables)


def test_a_wall_clock_limit_stops_a_whole_ladder(tmp_path: Path) -> None:
    with time_limit(1e-9), pytest.raises(OutOfTime, match="the wall-clock limit leaves no time"):
        dynamics(tmp_path, temperature=(300.0, 500.0, 700.0))
    assert Remembers.calls[0] <= 11
    with pytest.raises(BadInput, match="a wall-clock limit must be positive, got -1 h"), time_limit(-1):
        pass


def test_a_wall_clock_limit_stops_at_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stem2sim_aimd.trajectory.check_time", lambda block, where: block and check_time(1e9, where))
    with (
        time_limit(1),
        pytest.raises(StageFailed, match="stopped at step 10 of 45: the wall-clock limit"),
    ):
        dynamics(tmp_path / "limited")
    monkeypatch.undo()
    dynamics(tmp_path / "limited")
    assert Remembers.calls[0] == 35
    dynamics(tmp_path / "whole")
    assert steps_of(tmp_path / "limited" / "dynamics-300K.traj") == steps_of(tmp_path / "whole" / "dynamics-300K.traj")


def full_disk(folder: Path, size: int) -> subprocess.CompletedProcess[str]:
    """Run copper in a process whose files may not grow beyond `size` bytes: what a full disk does, for real."""
    script = folder / "run.py"
    script.write_text(
        "import sys, pathlib\n"
        "from ase.build import bulk\n"
        "from tests.conftest import Emt\n"
        "from stem2sim.structure import Structure\n"
        "from stem2sim_aimd.aimd import Aimd\n"
        "aimd = Aimd(engine=Emt(), steps=60, interval=1, checkpoint=10, time_step=2.0)\n"
        "list(aimd.simulate(Structure(atoms=bulk('Cu', cubic=True) * (2, 2, 2)), pathlib.Path(sys.argv[1])))\n"
    )
    root = os.path.dirname(os.path.dirname(__file__))
    return subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": root, "MPLBACKEND": "agg"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """The error says so; with room again, the run goes on and ends as if nothing had been."""
    (tmp_path / "whole").mkdir()
    assert full_disk(tmp_path / "whole", resource.RLIM_INFINITY).returncode == 0
    size = (tmp_path / "whole" / "dynamics-300K.traj").stat().st_size
    failed = full_disk(tmp_path, size // 2)
    assert failed.returncode == 1
    assert "the disk is full: dynamics-300K.traj could not be written; free some space" in failed.stderr
    assert (tmp_path / "dynamics-300K.checkpoint.npz").is_file()
    done = full_disk(tmp_path, resource.RLIM_INFINITY)
    assert done.returncode == 0, done.stderr
    assert steps_of(tmp_path / "dynamics-300K.traj") == steps_of(tmp_path / "whole" / "dynamics-300K.traj")


CONFIG = """
[image]
path = "graphene.npy"
pixel_size = 0.1
[segment]
use = "peaks"
[[build]]
use = "place"
[[build]]
use = "patch"
size = 24
[[build]]
use = "hterm"
[[build]]
use = "ripple"
[[simulate]]
use = "lammps"
optimiser = "fire"
fmax = 1e-6
max_steps = 300
[[simulate]]
use = "aimd"
engine = { use = "lammps" }
thermostat = "langevin"
temperature = [300, 600]
steps = 400
interval = 10
checkpoint = 50
"""

RUN = [sys.executable, "-m", "stem2sim.cli", "simulate"]


@pytest.mark.slow
def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    """Kill -9, from segmentation to dynamics: the run ends with the frames of one that was left alone, to the bit."""
    np.save(tmp_path / "graphene.npy", graphene_image(16.0).pixels)
    config = tmp_path / "run.toml"
    config.write_text(CONFIG)
    started = time.monotonic()
    done = stem2sim("simulate", config, "--out", tmp_path / "whole")
    alone = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    names = ["01-lammps/relaxation.traj", "02-aimd/dynamics-300K.traj", "02-aimd/dynamics-600K.traj"]
    whole = [steps_of(tmp_path / "whole" / name) for name in names]
    assert [len(one) for one in whole][1:] == [41, 41]
    rng = np.random.default_rng(5)
    kills, number, ended = 0, 0, 0
    while kills < 20 or ended == 0:
        out = tmp_path / f"run{number}"
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen([*RUN, str(config), "--out", str(out)], stdout=log, stderr=log)
            try:
                code = process.wait(timeout=rng.uniform(0.25, 0.95) * alone if kills < 20 else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                continue
        assert code == 0, (tmp_path / "log").read_text()
        assert [steps_of(out / name) for name in names] == whole
        assert (out / "atoms.csv").read_text() == (tmp_path / "whole" / "atoms.csv").read_text()
        number, ended = number + 1, ended + 1


def test_an_interrupt_ends_the_command_and_the_next_goes_on(tmp_path: Path) -> None:
    """Ctrl-C and a batch system's SIGTERM: exit code 130, one line; the same command goes on from the checkpoint."""
    structure = Structure(atoms=bulk("C", "diamond", cubic=True) * (2, 2, 2))
    structure.write(tmp_path / "diamond.extxyz")
    options = ["--simulator", "aimd", "--engine", "lammps", "--set", "simulate.0.checkpoint=20"]
    command = [sys.executable, "-m", "stem2sim.cli", "simulate", str(tmp_path / "diamond.extxyz"), *options]
    command += ["--out", str(tmp_path / "run"), "--set", "simulate.0.steps=20000"]
    for number in (signal.SIGINT, signal.SIGTERM):
        # a job in the background ignores Ctrl-C, and its children with it
        listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listens)
        saved = tmp_path / "run" / "01-aimd" / "dynamics-300K.checkpoint.npz"
        while not saved.is_file() and process.poll() is None:
            time.sleep(0.05)
        before = saved.stat().st_mtime_ns
        while saved.stat().st_mtime_ns == before and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        _, output = process.communicate(timeout=60)
        assert process.returncode == 130
        assert output.splitlines()[-1] == "interrupted; the same command resumes, and repeats nothing that was finished"
        assert "Traceback" not in output
    assert "dynamics-300K resumes from step" in output
