"""The dftb+ binary: where it is, which release, how it is run and what its failures mean."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from stem2sim import process
from stem2sim.errors import BadInput, StageFailed

if TYPE_CHECKING:
    from collections.abc import Callable

INPUT, LOG = "dftb_in.hsd", "dftb.out"

INSTALL = "install DFTB+ (conda install -c conda-forge dftbplus), or give binary = '/path/to/dftb+'"

OLDEST = (24, 1)
"""First release that reads version 14 of the input."""

FAILURES = {
    "SCC is NOT converged": "the self-consistent charges did not converge; a higher electronic_temperature [K], more "
    "max_iterations, another mixer or a smaller mixing often helps",
    "SK file with generated name": "a Slater-Koster file is missing",
    "unable to complete Cholesky": "the overlap matrix is not positive: atoms too close to each other",
    "without support for s-dftd3": "this dftb+ was built without s-dftd3; use dispersion = 'd4', or another build",
    "tblite library": "this dftb+ was built without tblite: it has no xTB; use the engine xtb, or another build",
    "Not compiled with ELSI": "this dftb+ was built without ELSI; use solver = 'divide-and-conquer'",
    "node(s) have been ignored": "dftb+ does not know part of the input that stem2sim wrote; it needs release 24.1 or "
    "newer",
    "charge data": "the charges of an earlier try cannot be read",
    "MAGMA": "this dftb+ was built without a GPU solver; use solver = 'divide-and-conquer'",
}
"""What dftb+ prints -> what it means."""


SPOILT = (FAILURES["SCC is NOT converged"], FAILURES["charge data"])
"""Failures after which the charges that were saved are of no use."""


def find(binary: str) -> Path:
    """Return the binary, by name on PATH or by its path.

    Raises:
        BadInput: there is none.
    """
    found = shutil.which(os.path.expanduser(binary))
    if found is None:
        where = f"no file to run at {binary}" if os.sep in binary else f"no '{binary}' on PATH"
        raise BadInput(f"{where}: {INSTALL}")
    return Path(found).absolute()


def release(binary: str) -> str:
    """Return what the banner says, such as '25.1'.

    Raises:
        BadInput: it is not DFTB+, cannot be run, or is too old.
    """
    path = find(binary)
    return _release(path, path.stat().st_mtime)


@cache
def _release(path: Path, changed: float) -> str:
    with tempfile.TemporaryDirectory() as empty:
        try:
            said = subprocess.run(
                [path], cwd=empty, capture_output=True, text=True, errors="replace", timeout=60, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise BadInput(f"{path} cannot be run ({problem})") from problem
    number = re.search(r"DFTB\+ release (\d+)\.(\d+)\S*", said)
    if number is None:
        if "DFTB+" not in said:
            raise BadInput(f"{path} is not DFTB+: it prints no banner")
        build = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        return f"development version, build {build}"
    if (int(number[1]), int(number[2])) < OLDEST:
        raise BadInput(f"{path} is DFTB+ {number[1]}.{number[2]}; stem2sim needs {OLDEST[0]}.{OLDEST[1]} or newer")
    return number[0].removeprefix("DFTB+ release ")


def start(binary: Path, folder: Path, threads: int | None) -> subprocess.Popen[bytes]:
    """Start dftb+ on the input in `folder`."""
    # unbuffered, or its log stays empty for minutes
    environment = {"OMP_STACKSIZE": "64M", "GFORTRAN_UNBUFFERED_PRECONNECTED": "y"}
    environment = {name: value for name, value in environment.items() if name not in os.environ}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    return process.start([binary], folder, LOG, environment)


def run(binary: Path, folder: Path, threads: int | None, watch: Callable[[], None] | None = None) -> str:
    """Run dftb+ to its end; return what it printed.

    Args:
        binary: to run.
        folder: with the input.
        threads: of OpenMP; None for what the environment says.
        watch: called a few times a second while it runs.

    Raises:
        StageFailed: it failed; its own words and where its log is.
    """
    running = start(binary, folder, threads)
    pause = 0.002
    with process.ended(running):
        while running.poll() is None:
            time.sleep(pause)
            pause = min(2 * pause, 0.2)
            if watch is not None and pause == 0.2:
                watch()
        code = running.returncode
    said = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    if code != 0 or "ERROR!" in said:
        raise StageFailed(failure(folder, code))
    return said


def failure(folder: Path, code: int | None) -> str:
    """Return in one line why dftb+ ended, from its log in `folder` and its exit status."""
    log = folder / LOG
    said = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    where = f"its log: {folder.name}/{LOG}"
    for words, meaning in FAILURES.items():
        if words in said:
            named = re.search(r"generated name '([^']+)'|ignored by the parser[^\n]*\n\s*(.+)", said)
            return f"DFTB+: {meaning}" + (f" ({(named[1] or named[2]).strip()})" if named else "") + f"; {where}"
    block = said.rpartition("ERROR!")[2] if "ERROR!" in said else ""
    lines = [line.strip().removeprefix("->").strip() for line in block.splitlines() if line.strip()][:3]
    if lines:
        return f"DFTB+ says: {' '.join(lines)}; {where}"
    if code is not None and code < 0:
        more = ", as happens when memory runs out (stem2sim estimate tells how much it needs)" if code == -9 else ""
        return f"DFTB+ was ended by signal {-code}{more}; {where}"
    tail = " ".join(said.split()[-20:])
    return f"DFTB+ ended with status {code}: {tail or 'it printed nothing'}; {where}"
