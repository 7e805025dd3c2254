"""Messages of the log on a console, as people read them."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console


@contextmanager
def messages(
    console: Console, level: int = logging.INFO, tracebacks: bool = False, known: set[str] | None = None
) -> Iterator[None]:
    """Print messages of this level and above, warnings marked, for as long as the work lasts.

    Args:
        console: to print on.
        level: of the least important message that is printed, as in `logging`.
        tracebacks: whether those of errors are printed, too.
        known: texts that are not printed again; those that are printed are added.
    """
    printed = set() if known is None else known

    class Messages(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned = record.levelno >= logging.WARNING
            text = f"warning: {record.getMessage()}" if warned else record.getMessage()
            if text in printed:
                return
            if known is not None:
                printed.add(text)
            console.print(text, style="yellow" if warned else None, markup=False)
            if tracebacks and record.exc_info:
                console.print_exception()

    handler = Messages(level)
    log = logging.getLogger("stem2sim")
    log.addHandler(handler)
    before = log.level
    log.setLevel(min(level, before or level))
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)
