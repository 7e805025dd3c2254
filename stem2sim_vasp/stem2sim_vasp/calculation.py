"""One calculation in one folder: prepared, run to its end from wherever it is, and read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from stem2sim.engines.checkpoints import Claim
from stem2sim.errors import BadInput, NotRun, OutOfTime, StageFailed
from stem2sim_vasp import folder as contract
from stem2sim_vasp import job, potcar
from stem2sim_vasp.elsewhere import wait_for
from stem2sim_vasp.failures import failure, is_known
from stem2sim_vasp.outputs import beginning
from stem2sim_vasp.reading import Reading, read_all
from stem2sim_vasp.recovery import Recovery
from stem2sim_vasp.running import VaspProcess, check_alone

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from stem2sim.engines.motion import Mode
    from stem2sim_vasp.ionic import Ionic
    from stem2sim_vasp.launch import Launch
    from stem2sim_vasp.request import Request

log = logging.getLogger("stem2sim")

STEM = "vasp"

MOST_CORRECTIONS = 5


class Calculation:
    """VASP in a folder, for one request."""

    def __init__(
        self, launch: Launch, request: Request, folder: Path, inputs: dict[str, Any], mode: Mode = "run"
    ) -> None:
        """Claim the folder, to start or to resume.

        Args:
            launch: how VASP is launched.
            request: what to compute.
            folder: for its files alone; made if it is not there.
            inputs: everything that decides the outcome, so that nothing else ever mixes with it.
            mode: whether VASP is run, only prepared, or only read.

        Raises:
            BadInput: the folder holds interrupted work with other inputs.
        """
        self.request, self.folder = request, folder
        self._launch, self._mode = launch, mode
        if mode != "collect":
            folder.mkdir(parents=True, exist_ok=True)
            if contract.has_output(folder):
                (folder / contract.STARTED).touch()
        self.claim = Claim(folder, STEM, inputs, folder / contract.STARTED, mode == "collect", self._set_aside)

    def _set_aside(self) -> None:
        aside = contract.set_aside(self.folder)
        if aside is not None:
            log.warning("%s: the earlier calculation with other inputs is now in %s", self.folder.name, aside.name)

    def prepare(self) -> str:
        """Write the input of VASP, and the scripts that run it elsewhere; return where, and what to do next.

        Raises:
            BadInput: there are more steps of dynamics already.
            StageFailed: VASP computed other atoms.
        """
        for warning in self.request.warnings:
            log.warning("vasp: %s", warning)
        return self._prepare(self._read())

    def _prepare(self, reading: Reading) -> str:
        self._write()
        if reading.complete:
            self.claim.settle()
            return f"complete in {self.folder}; stem2sim collect reads it"
        return f"prepared in {self.folder}; run it, copy the folder back, then stem2sim collect"

    def _write(self) -> None:
        if not contract.has_output(self.folder):
            self.request.write(self.folder)
        job.write(self._launch, self.request, self.folder)
        missing = self.request.missing_potentials()
        if missing:
            log.warning(
                "%s: no potential of %s on this machine: put the POTCAR together as %s lists it",
                self.folder.name,
                ", ".join(missing),
                potcar.SPEC,
            )

    def read(self) -> Reading:
        """Read all parts, and judge how far they came."""
        return read_all(self.folder, self.request)

    def _read(self) -> Reading:
        """Read all parts, of no more steps than are requested."""
        reading = self.read()
        if self.request.kind == "dynamics" and len(reading.steps) > self.request.total:
            raise BadInput(
                f"{self.folder.name} has {len(reading.steps)} steps already; steps = {self.request.total} is less than "
                "that"
            )
        return reading

    def steps(self) -> Generator[Ionic, None, None]:
        """Yield the ionic steps in order: those there are, then, where VASP is to be run, the others as they come.

        Raises:
            BadInput: it cannot be run as it is configured.
            NotRun: it was only to be prepared, or there is nothing to collect.
            OutOfTime: the wall-clock limit came first.
            StageFailed: VASP failed.
        """
        reading = self._read()
        if self._mode == "collect":
            if not reading.steps:
                why = "; ".join(text for part in reading.parts for text in part.missing)
                raise NotRun(f"nothing to collect in {self.folder.name} yet" + (f": {why}" if why else ""))
        elif self._mode == "prepare":
            line = self._prepare(reading)
            if not reading.complete:
                raise NotRun(line)
        else:
            self._write()
            if not reading.complete and not self._launch.elsewhere:
                yield from self._run(reading)
                return
            if not reading.complete:
                wait_for(self.folder, self.request.total, lambda: self.read().complete)
                reading = self.read()
        yield from reading.steps

    def _run(self, reading: Reading) -> Generator[Ionic, None, None]:
        """Yield every step once, over as many launches as it takes."""
        recovery = Recovery(self._launch.recovery, self.request, self.folder)
        count = 0
        while True:
            begin = self._next_part(reading)
            yield from reading.steps[count:begin]
            count = max(count, begin)
            process = VaspProcess(self._launch, self.folder)
            for number, step in enumerate(process.steps(self.request.species), start=begin):
                if number == count:  # a recomputed step was yielded already
                    count += 1
                    yield step
            reading = self.read()
            if reading.complete:
                yield from reading.steps[count:]
                return
            self._stop_or_recover(reading, process, recovery)

    def _next_part(self, reading: Reading) -> int:
        """Make the folder ready for the next launch; return at which step it begins."""
        folder = self.folder
        check_alone(folder)
        if contract.has_present_part(folder):
            if not reading.parts[-1].steps:  # nothing to continue from: the same part again
                for name in (*contract.OUTPUTS, contract.RAN):
                    (folder / name).unlink(missing_ok=True)
                return contract.begun_at(folder)
            contract.put_away(folder)
        if not reading.steps:
            return 0
        last = contract.earlier_parts(folder)[-1]
        source = contract.complete_contcar(last)
        if source is None and self.request.kind == "relaxation":  # which needs positions alone
            self.request.write_geometry(folder, reading.steps[-1])
            source = folder / contract.POSCAR
        if source is None:
            for name in contract.OUTPUTS:
                (folder / name).unlink(missing_ok=True)
            raise StageFailed(
                f"{last} has steps but no complete CONTCAR, from whose velocities dynamics continues; delete {last}, "
                "and the same command computes that part again"
            )
        begin = beginning(reading.steps, *contract.geometry(source.read_text(encoding="utf-8")))
        contract.continue_from(folder, source, begin, self.request.total)
        log.info("%s: resumes from step %d of %d", folder.name, begin, self.request.total)
        return begin

    def _stop_or_recover(self, reading: Reading, process: VaspProcess, recovery: Recovery) -> None:
        if reading.parts and reading.parts[-1].closed:
            where = f"stopped after step {len(reading.steps)} of {self.request.total}"
            if process.stopped:
                raise OutOfTime(f"{where}: the wall-clock limit leaves no time for more; the same command resumes")
            if not is_known(self.folder):
                raise StageFailed(f"VASP {where} and ended normally, as after a STOPCAR; the same command resumes")
        if recovery.count >= MOST_CORRECTIONS or not recovery.correct():
            raise StageFailed(failure(self.folder, process.status))
