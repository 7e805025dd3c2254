"""Progress of long work: stages report steps, and whoever runs them decides how they are shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import Console

QUIET = 30.0
"""Shortest time between two lines where no bar can be drawn [s]."""

Advance = Callable[..., None]
Display = Callable[[str, int], "AbstractContextManager[Advance]"]
"""From the name of some work and its number of steps to what is called after each step."""

_display: ContextVar[Display | None] = ContextVar("display", default=None)


@contextmanager
def track(what: str, total: int) -> Iterator[Advance]:
    """Announce `total` steps of work; call the yielded function after each, with a `note` to show if you like."""
    display = _display.get()
    if display is None:
        yield lambda steps=1, note="": None
        return
    with display(what, total) as advance:
        yield advance


@contextmanager
def shown(console: Console) -> Iterator[None]:
    """Show the progress of the work inside: with bars on a terminal, else with a line now and then."""
    with _bars(console) if console.is_terminal else _lines(console) as display:
        token = _display.set(display)
        try:
            yield
        finally:
            _display.reset(token)


@contextmanager
def _bars(console: Console) -> Iterator[Display]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}", markup=False)  # a note may hold brackets, such as a unit
    bars = Progress(text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True)

    @contextmanager
    def display(what: str, total: int) -> Iterator[Advance]:
        bars.start()  # only now: a display without bars would leave an empty line behind
        task = bars.add_task(what, total=total)

        def advance(steps: int = 1, note: str = "") -> None:
            bars.update(task, advance=steps, description=f"{what} {note}".rstrip())

        try:
            yield advance
        finally:
            bars.remove_task(task)
            if not bars.tasks:
                bars.stop()

    try:
        yield display
    finally:
        if bars.live.is_started:
            bars.stop()


@contextmanager
def _lines(console: Console) -> Iterator[Display]:
    """Print a line at most at every tenth of some work, and never two within `QUIET`; short work prints none."""
    last = time.monotonic()

    @contextmanager
    def display(what: str, total: int) -> Iterator[Advance]:
        started, done, tenth = time.monotonic(), 0, 0

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal done, tenth, last
            done += steps
            now = time.monotonic()
            if now - max(last, started) < QUIET or 10 * done // max(total, 1) <= tenth:
                return
            last, tenth = now, 10 * done // max(total, 1)
            parts = [f"{done} of {total}", note, f"{(now - started) / 60:.1f} min"]
            console.print(f"{what}: {', '.join(filter(None, parts))}", markup=False)

        yield advance

    yield display
