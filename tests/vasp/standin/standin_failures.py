"""Failures on demand: VASP_STANDIN_FAIL=kind@step[;kind@step], each once per directory so that a retry succeeds."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path

KINDS = ("zhegv", "zbrent", "brmix", "nelm", "kill", "hang", "refuse", "segv", "full")

ZHEGV = "Error EDDDAV: Call to ZHEGV failed. Returncode =  14 1  15"
ZBRENT = (
    " ZBRENT: fatal error in bracketing\n     please rerun with smaller EDIFF, or copy CONTCAR\n"
    "     to POSCAR and continue"
)
BRMIX = "BRMIX: very serious problems\n the old and the new charge density differ"
SEGV = "forrtl: severe (174): SIGSEGV, segmentation fault occurred"


class Crashed(Exception):
    """The run ends here, its files left as they are, with an exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Failures:
    """What is to fail, and at which ionic step."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}
        always = bool(os.environ.get("VASP_STANDIN_FAIL_ALWAYS"))
        for part in filter(None, os.environ.get("VASP_STANDIN_FAIL", "").split(";")):
            kind, _, step = part.strip().partition("@")
            if kind not in KINDS:
                raise SystemExit(f"STAND-IN: no failure {kind!r}; there are {KINDS}")
            if always or not _marker(kind).exists():
                self._steps[kind] = int(step or 0)

    def fires(self, kind: str, step: int = 0) -> bool:
        """Return whether a failure happens now, and remember in the directory that it did."""
        if self._steps.get(kind) != step:
            return False
        _marker(kind).touch()
        return True


def _marker(kind: str) -> Path:
    return Path(f".standin_{kind}")


def hang() -> None:
    """Do nothing, for ever."""
    while True:
        time.sleep(3600)


def die() -> None:
    """Vanish as if the kernel ran out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def segfault() -> Crashed:
    """Say what Intel's runtime says when memory is violated."""
    print(SEGV, file=sys.stderr, flush=True)
    return Crashed(174)


def no_space() -> OSError:
    """Return what a write to a full disk raises."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "vasprun.xml")


def is_full(error: OSError) -> bool:
    """Return whether an error means that nothing more can be written."""
    return error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def die_of_full_disk(error: OSError) -> None:
    """Say what Intel's runtime says, and leave without another attempt to write what is still buffered."""
    reason = "No space left on device" if error.errno != errno.EFBIG else "File too large"
    text = f"forrtl: {reason}\nforrtl: severe (38): error during write, unit 20, file {error.filename or 'unknown'}\n"
    os.write(2, text.encode())
    os._exit(38)
