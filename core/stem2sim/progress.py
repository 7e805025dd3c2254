"""Progress of long work: stages report steps, and whoever runs them decides whether a bar is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_display: ContextVar[Progress | None] = ContextVar("display", default=None)

Advance = Callable[..., None]


@contextmanager
def track(what: str, total: int) -> Iterator[Advance]:
    """Announce `total` steps of work; call the yielded function after each, with a `note` to show if you like."""
    display = _display.get()
    if display is None:
        yield lambda steps=1, note="": None
        return
    display.start()  # only now: a display without bars would leave an empty line behind
    task = display.add_task(what, total=total)

    def advance(steps: int = 1, note: str = "") -> None:
        display.update(task, advance=steps, description=f"{what} {note}".rstrip())

    try:
        yield advance
    finally:
        display.remove_task(task)
        if not display.tasks:
            display.stop()


@contextmanager
def shown(console: Console) -> Iterator[None]:
    """Draw bars on this console for the work inside."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    display = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)
        if display.live.is_started:
            display.stop()
