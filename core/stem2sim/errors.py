"""The two ways a run can stop without its result, and what the command line does about each."""

from __future__ import annotations

from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
"""Exit codes; scripts rely on them."""


class BadInput(ValueError):
    """What was given cannot be used; nothing was run with it (exit code 2). The message is for people: one line."""


class Mistakes(BadInput):
    """All mistakes of one config, which can be corrected together; in one line, numbered if there are several."""

    def __init__(self, each: Sequence[str]) -> None:
        self.each = tuple(each)
        several = f"{len(each)} mistakes: " + "; ".join(f"({k}) {one}" for k, one in enumerate(each, start=1))
        super().__init__(several if len(each) > 1 else "".join(each))


@contextmanager
def collected(mistakes: list[str]) -> Iterator[None]:
    """Add what is wrong inside to a list, instead of raising it."""
    try:
        yield
    except BadInput as problem:
        mistakes += problem.each if isinstance(problem, Mistakes) else [str(problem)]


class StageFailed(RuntimeError):
    """A stage ended without its result; earlier results are kept (exit code 1)."""


class NotRun(StageFailed):
    """A simulation that runs elsewhere has nothing to show yet."""


class OutOfTime(StageFailed):
    """The wall-clock limit came first; the same command continues from the last checkpoint."""


def damaged(path: Path) -> str:
    """Return what to say of a file of a run folder that cannot be read."""
    return f"{path} is damaged; delete it, and its step runs again"


def nearest(word: str, known: list[str]) -> str:
    """Return `; did you mean '...'?` for a likely misspelling, else nothing."""
    close = get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
