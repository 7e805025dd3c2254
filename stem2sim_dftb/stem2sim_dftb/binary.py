"""The dftb+ binary: where it is and which release it is."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from stem2sim.errors import BadInput

INSTALL = "install DFTB+ (conda install -c conda-forge dftbplus), or set binary = '/path/to/dftb+'"

OLDEST = (24, 1)
"""First release that reads version 14 of the input."""


def find(binary: str) -> Path:
    """Return the path of the binary, given by its path or by its name on PATH.

    Raises:
        BadInput: there is none.
    """
    path = shutil.which(os.path.expanduser(binary))
    if path is None:
        problem = f"no executable at {binary}" if os.sep in binary else f"no '{binary}' on PATH"
        raise BadInput(f"{problem}: {INSTALL}")
    return Path(path).absolute()


def release(binary: str) -> str:
    """Return the release that the banner states, such as '25.1'.

    Raises:
        BadInput: it is not DFTB+, cannot be run, or is too old.
    """
    path = find(binary)
    return _release(path, path.stat().st_mtime)


@cache
def _release(path: Path, changed: float) -> str:
    with tempfile.TemporaryDirectory() as empty:
        try:
            banner = subprocess.run(
                [path], cwd=empty, capture_output=True, text=True, errors="replace", timeout=60, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise BadInput(f"{path} cannot be run ({problem})") from problem
    number = re.search(r"DFTB\+ release (\d+)\.(\d+)\S*", banner)
    if number is None:
        if "DFTB+" not in banner:
            raise BadInput(f"{path} is not DFTB+: it prints no DFTB+ banner")
        build = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        return f"development version, build {build}"
    if (int(number[1]), int(number[2])) < OLDEST:
        raise BadInput(f"{path} is DFTB+ {number[1]}.{number[2]}; stem2sim needs {OLDEST[0]}.{OLDEST[1]} or newer")
    return number[0].removeprefix("DFTB+ release ")
