"""What is asked of programs that may run elsewhere: to be run, to be prepared only, or only to be read."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Verb = Literal["run", "prepare", "collect"]

_asked: ContextVar[Verb] = ContextVar("asked", default="run")


@contextmanager
def only(verb: Verb) -> Iterator[None]:
    """Ask external simulators for this alone while the block lasts."""
    token = _asked.set(verb)
    try:
        yield
    finally:
        _asked.reset(token)


def asked() -> Verb:
    """Return what is asked of an external simulator now."""
    return _asked.get()
