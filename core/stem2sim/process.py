"""Programs of their own that stages run: no shell, a process group each, and none of them is left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

GRACE = 5.0
"""Seconds between asking a program to end and ending it."""


def start(
    command: Sequence[str | Path], folder: Path, log: str, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a program in `folder`, in a process group of its own that ends with this process.

    Args:
        command: the program and its arguments.
        folder: to run in.
        log: name of the file there for all that it prints.
        environment: variables beside those of this process.

    Raises:
        OSError: it cannot be run.
    """
    with (folder / log).open("wb") as file:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


def _die_with_parent() -> None:
    """Linux: when this process is killed, its program must not go on writing into a folder that a new run takes up."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process group when the block does, whatever ended the block."""
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=GRACE)
                break
        # ranks that outlive their launcher are in its group
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
