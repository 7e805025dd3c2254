"""One calculation in one folder: prepared, run to its end from wherever it is, and read."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stem2sim.engines.checkpoints import Claim
from stem2sim.engines.deadline import check_time, time_left
from stem2sim.errors import BadInput, NotRun, OutOfTime, StageFailed
from stem2sim.files import write_text
from stem2sim.process import ended, start
from stem2sim.progress import track
from stem2sim_vasp import folder as contract
from stem2sim_vasp import job, potcar
from stem2sim_vasp.checks import check_atoms, relaxed
from stem2sim_vasp.failures import failure, is_known
from stem2sim_vasp.folder import POSCAR, STOPCAR
from stem2sim_vasp.outputs import SAID, beginning, counted, ending
from stem2sim_vasp.recovery import Recovery
from stem2sim_vasp.vasprun import VASPRUN, Vasprun

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Generator, Iterator

    from stem2sim.engines.motion import Mode
    from stem2sim_vasp.ionic import Ionic
    from stem2sim_vasp.outputs import Part
    from stem2sim_vasp.request import Request
    from stem2sim_vasp.vasp import Vasp

log = logging.getLogger("stem2sim")

STEM = "vasp"
STARTED = "vasp.checkpoint"
"""There once VASP has left something: from then on, other inputs are refused."""

LONGEST_PAUSE = 0.5
"""Seconds between two looks at what VASP writes."""

MARGIN = 2.0
"""Ionic steps of time that VASP is given to end by itself: it looks for a STOPCAR once in each."""

GRACE = 10.0
"""Seconds before the wall-clock limit at which it is ended if it has not."""

MOST_CORRECTIONS = 5


@dataclass(frozen=True)
class Reading:
    """What there is of a calculation."""

    parts: list[Part]
    steps: list[Ionic]
    complete: bool
    """Whether all that was asked is done; a relaxation that used up its steps is, too."""

    @property
    def reached(self) -> bool:
        """Whether VASP says that the required accuracy was reached."""
        return bool(self.parts) and self.parts[-1].reached


class Calculation:
    """VASP in a folder, for one request."""

    def __init__(
        self, engine: Vasp, request: Request, folder: Path, inputs: dict[str, Any], mode: Mode = "run"
    ) -> None:
        """Take the folder, or go on with what is there.

        Args:
            engine: how to run it.
            request: what to compute.
            folder: for its files alone; made if it is not there.
            inputs: all that decides how it goes, so that nothing else is ever mixed into it.
            mode: whether VASP is run, only prepared, or only read.

        Raises:
            BadInput: the folder holds work that was cut off and was made with other inputs.
        """
        self.engine, self.request, self.folder, self._mode = engine, request, folder, mode
        self._code = 0
        """Exit status of the last launch."""
        self._told_to_stop = False
        if mode != "collect":
            folder.mkdir(parents=True, exist_ok=True)
            if contract.answered(folder):
                (folder / STARTED).touch()
        self.claim = Claim(folder, STEM, inputs, folder / STARTED, mode == "collect", self._set_aside)

    def _set_aside(self) -> None:
        aside = contract.set_aside(self.folder)
        if aside is not None:
            log.warning("%s: the calculation with other inputs that was here is in %s", self.folder.name, aside.name)

    def prepare(self) -> str:
        """Write what VASP reads, and the scripts that run it elsewhere; return where, and what to do next.

        Raises:
            BadInput: there are more steps of dynamics already.
            StageFailed: VASP computed other atoms.
        """
        for warning in self.request.warnings:
            log.warning("%s: %s", self.engine.name, warning)
        return self._prepared(self._read_of_these())

    def _prepared(self, now: Reading) -> str:
        self._write()
        if now.complete:
            self.claim.settle()
            return f"complete in {self.folder}; stem2sim collect reads it"
        return f"prepared in {self.folder}; run it, copy the folder back, then stem2sim collect"

    def _write(self) -> None:
        if not contract.answered(self.folder):
            self.request.write(self.folder)
        job.write(self.engine, self.request, self.folder)
        lacking = self.request.lacking()
        if lacking:
            log.warning(
                "%s: no potential of %s here: %s lists what POTCAR is made of, in order",
                self.folder.name,
                ", ".join(lacking),
                potcar.SPEC,
            )

    def read(self) -> Reading:
        """Read all parts, and see how far they came."""
        parts = contract.parts(self.folder)
        check_atoms(self.request, parts)
        steps = contract.steps_of(parts)
        return Reading(parts, steps, self._complete(parts, steps))

    def _read_of_these(self) -> Reading:
        """Read all parts of as many steps as are asked for."""
        now = self.read()
        if self.request.kind == "dynamics" and len(now.steps) > self.request.total:
            raise BadInput(
                f"{self.folder.name} has {len(now.steps)} steps already; steps = {self.request.total} is less than that"
            )
        return now

    def _complete(self, parts: list[Part], steps: list[Ionic]) -> bool:
        if not parts or not steps:
            return False
        if self.request.kind == "single-point":
            return parts[-1].closed
        if len(steps) >= self.request.total:
            return True
        if self.request.kind == "dynamics" or not parts[-1].closed:
            return False
        return parts[-1].reached or relaxed(self.request, steps, parts[-1].reached)

    def go(self) -> Generator[Ionic, None, None]:
        """Yield the ionic steps in order: those there are, then, where VASP is to be run, the others as they come.

        Raises:
            BadInput: it cannot be run as it is configured.
            NotRun: it was only to be prepared, or nothing is there to be read.
            OutOfTime: the wall-clock limit came first.
            StageFailed: VASP failed.
        """
        now = self._read_of_these()
        if self._mode == "collect":
            if not now.steps:
                what = "; ".join(text for part in now.parts for text in part.missing)
                raise NotRun(f"nothing to collect in {self.folder.name} yet" + (f": {what}" if what else ""))
            yield from now.steps
            return
        if self._mode == "prepare":
            line = self._prepared(now)
            if not now.complete:
                raise NotRun(line)
        else:
            self._write()
        if now.complete:
            yield from now.steps
            return
        if self.engine.launch == "elsewhere":
            yield from self._awaited()
            return
        recovery = Recovery(self.engine, self.request, self.folder)
        given = 0
        while True:
            begin = self._next_part(now)
            yield from now.steps[given:begin]
            given = max(given, begin)
            for number, step in enumerate(self._launched(), start=begin):
                if number == given:  # one that is made again was given already
                    given += 1
                    yield step
            now = self.read()
            if now.complete:
                yield from now.steps[given:]
                return
            self._stop_or_recover(now, recovery)

    def _next_part(self, now: Reading) -> int:
        """Make the folder ready for the next launch; return at which step it begins."""
        folder = self.folder
        _check_alone(folder)
        if contract.present(folder):
            if not now.parts[-1].steps:  # nothing to go on from: the same part again
                for name in (*contract.ANSWERED, contract.RAN):
                    (folder / name).unlink(missing_ok=True)
                return contract.begun_at(folder)
            contract.put_away(folder)
        if not now.steps:
            return 0
        last = contract.earlier(folder)[-1]
        source = contract.whole(last)
        if source is None and self.request.kind == "relaxation":  # which needs positions alone
            self.request.write_geometry(folder, now.steps[-1])
            source = folder / POSCAR
        if source is None:
            for name in contract.ANSWERED:
                (folder / name).unlink(missing_ok=True)
            raise StageFailed(
                f"{last} has steps but no whole CONTCAR, whose velocities dynamics go on from; delete {last}, and the "
                "same command makes that part again"
            )
        begin = beginning(now.steps, *contract.geometry(source.read_text(encoding="utf-8")))
        contract.go_on(folder, source, begin, self.request.total)
        log.info("%s: goes on from step %d of %d", folder.name, begin, self.request.total)
        return begin

    def _launched(self) -> Iterator[Ionic]:
        """Run VASP; yield steps as they come."""
        potcar.check_order(self.folder, self.request.species)
        command = self.engine.command_line()
        check_time(0.0, f"before VASP was started in {self.folder.name}")
        (self.folder / STOPCAR).unlink(missing_ok=True)
        self._told_to_stop = False
        (self.folder / STARTED).touch()
        try:
            process = start(command, self.folder, SAID, {})
        except OSError as problem:
            raise BadInput(f"VASP cannot be run: {command[0]}: {problem.strerror}") from problem
        with ended(process):
            yield from self._watched(process)
        self._code = process.returncode

    def _watched(self, process: subprocess.Popen[bytes]) -> Iterator[Ionic]:
        growing = Growing(self.folder)
        for alive in growing.looks(lambda: process.poll() is None):
            yield from growing.steps()
            if not alive:
                return
            self._mind_the_time(growing)
            if growing.silent() > 60 * self.engine.patience:
                raise StageFailed(
                    f"VASP hangs: nothing was written for {growing.silent() / 60:.3g} min (patience); the same command "
                    f"goes on from its last step; its output: {self.folder.name}/{SAID}"
                )

    def _mind_the_time(self, growing: Growing) -> None:
        if time_left() < MARGIN * growing.longest + GRACE and not self._told_to_stop:
            write_text(self.folder / STOPCAR, "LSTOP = .TRUE.\n")
            self._told_to_stop = True
            log.info("%s: the wall-clock limit is near; VASP is told to stop after its step", self.folder.name)
        if time_left() < min(GRACE, growing.longest):
            raise OutOfTime(f"stopped within step {growing.count + 1}: the same command goes on from the step before")

    def _awaited(self) -> Iterator[Ionic]:
        """Wait until somebody else has run it to its end, in as many parts as that takes; yield all steps."""
        folder, done = self.folder, 0
        looked: list[tuple[str, int, int]] = []
        log.info("%s: waiting for a run that is started elsewhere (sh %s)", folder, job.SCRIPT)
        with track(f"{self.engine.name}: waiting", self.request.total) as advance:
            while True:
                count = sum(counted(part) for part in [*contract.earlier(folder), folder])
                advance(count - done)
                done = count
                seen, looked = looked, self._signature()
                ended_here = ending(folder)[0] or (folder / job.STATUS).is_file()
                now = self.read() if ended_here and looked != seen else None
                if now is not None and now.complete:
                    break
                status = job.status(folder)
                if status not in (None, 0, job.MORE):
                    raise StageFailed(failure(folder, status))
                if time_left() < GRACE:
                    raise OutOfTime("stopped waiting: the run goes on elsewhere, and the same command waits for it")
                time.sleep(LONGEST_PAUSE)
        yield from now.steps

    def _signature(self) -> list[tuple[str, int, int]]:
        """Sizes and times of what says how far VASP is: as long as they stay, there is nothing new to read."""
        folders = [*contract.earlier(self.folder), self.folder]
        files = [folder / name for folder in folders for name in (*contract.ANSWERED, job.STATUS)]
        there = [(file, file.stat()) for file in files if file.is_file()]
        return [(str(file), seen.st_size, seen.st_mtime_ns) for file, seen in there]

    def _stop_or_recover(self, now: Reading, recovery: Recovery) -> None:
        if now.parts and now.parts[-1].closed:
            told = f"stopped after step {len(now.steps)} of {self.request.total}"
            if self._told_to_stop:
                raise OutOfTime(f"{told}: the wall-clock limit leaves no time for more; the same command goes on")
            if not is_known(self.folder):
                raise StageFailed(f"VASP {told} and ended well, as a STOPCAR makes it; the same command goes on")
        if recovery.count >= MOST_CORRECTIONS or not recovery.correct():
            raise StageFailed(failure(self.folder, self._code))


class Growing:
    """What VASP writes while it runs."""

    def __init__(self, folder: Path) -> None:
        """Begin to look."""
        self._folder = folder
        self._vasprun = Vasprun(folder / VASPRUN)
        self._sizes: dict[str, int] = {}
        self._grown = self._stepped = time.monotonic()
        self.count = 0
        """Steps of this part that are complete."""
        self.longest = 0.0
        """[s] that a step took."""

    def looks(self, running: Any) -> Iterator[bool]:
        """Yield whether it runs, once in a while, and once more after its end."""
        pause = 0.02
        while True:
            alive = bool(running())
            yield alive
            if not alive:
                return
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)

    def steps(self) -> Iterator[Ionic]:
        """Yield the steps that have become complete."""
        for step in self._vasprun.more():
            now = time.monotonic()
            self.longest, self._stepped = max(self.longest, now - self._stepped), now
            self.count += 1
            contract.keep(self._folder, len(step.positions))
            yield step

    def silent(self) -> float:
        """Return for how long nothing has been written [s]."""
        files = [self._folder / name for name in contract.ANSWERED if name != contract.KEPT]
        sizes = {file.name: file.stat().st_size for file in files if file.is_file()}
        if sizes != self._sizes:
            self._sizes, self._grown = sizes, time.monotonic()
        return time.monotonic() - self._grown


def _check_alone(folder: Path) -> None:
    """Refuse to start beside a process that writes the answers in this folder (Linux)."""
    ours = {str(folder.resolve() / name) for name in contract.ANSWERED}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        process = link.parent.parent
        writes = False
        with suppress(OSError, ValueError, IndexError):  # another user's, or gone
            if os.readlink(link) in ours:
                flags = (process / "fdinfo" / link.name).read_text(encoding="utf-8").split("flags:")[1].split()[0]
                writes = bool(int(flags, 8) & (os.O_WRONLY | os.O_RDWR))
        if writes:
            raise BadInput(f"process {process.name} writes in {folder} already; wait for it, or kill {process.name}")
