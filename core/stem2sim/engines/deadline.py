"""Until when work may continue: the wall-clock limit, and signals to end."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from stem2sim.errors import BadInput, OutOfTime

if TYPE_CHECKING:
    from collections.abc import Iterator

_interrupted = False
"""Whether a signal to end has come."""

_end: ContextVar[float | None] = ContextVar("end", default=None)


@contextmanager
def time_limit(hours: float | None) -> Iterator[None]:
    """Let the work inside end at a checkpoint before this wall-clock time is over [h]; None for no limit.

    Raises:
        BadInput: not a positive time.
    """
    if hours is not None and not hours > 0:
        raise BadInput(f"a wall-clock limit must be positive, got {hours:g} h")
    token = _end.set(None if hours is None else time.monotonic() + 3600 * hours)
    try:
        yield
    finally:
        _end.reset(token)


def interrupt(number: int, frame: object) -> None:
    """Handle a signal to end: now, or, where a destructor swallows the exception, at the next checkpoint."""
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def time_left() -> float:
    """Return how much wall-clock time is left [s]; infinity without a limit."""
    end = _end.get()
    return math.inf if end is None else end - time.monotonic()


def check_time(block: float, where: str) -> None:
    """Stop at this checkpoint if there is no time for another block of work.

    Args:
        block: how long the last one took [s].
        where: how far the work came, for the message: 'after step 20'.

    Raises:
        OutOfTime: the wall-clock limit comes first.
    """
    if _interrupted:
        raise KeyboardInterrupt
    if block > time_left():
        raise OutOfTime(f"stopped {where}: the wall-clock limit leaves no time for more; the same command resumes")
