"""What commands show: progress and messages on standard error, JSON on standard output."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stem2sim.config.explain import Option


def print_json(value: Any) -> None:
    """Print a value for programs."""
    import json

    typer.echo(json.dumps(value, indent=1, default=str, ensure_ascii=False))


def quiet_libraries() -> None:
    """Send warnings and messages of libraries to our log, where they are debugging messages: `--verbose` shows them."""
    import logging

    class LibraryMessages(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.partition(".")[0] != "stem2sim":
                text = " ".join(record.getMessage().split())
                logging.getLogger("stem2sim").debug("%s: %s", record.name, text)

    logging.captureWarnings(True)
    logging.getLogger().addHandler(LibraryMessages(logging.WARNING))


@contextmanager
def console(verbose: bool) -> Iterator[None]:
    """Show progress bars and messages on standard error, for as long as the work lasts."""
    import logging

    from rich.console import Console

    from stem2sim.messages import messages
    from stem2sim.progress import shown

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with messages(console, logging.DEBUG if verbose else logging.INFO, tracebacks=verbose), shown(console):
        yield


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]], wide: bool = False) -> None:
    """Print a table on standard output; every cell is plain text: a type such as [number, number] is no markup.

    Args:
        columns: their titles.
        rows: cells of each; a pair is a text and its style.
        wide: whether lines may be wider than the terminal, so that they do not wrap.
    """
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(Text(title)) for title in columns), box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(*cell) if isinstance(cell, tuple) else Text(cell) for cell in row))
    table.columns[0].no_wrap, table.columns[0].overflow = True, "fold"
    console = Console()
    (Console(width=max(200, console.width)) if wide else console).print(table)


def print_options(title: str, summary: str, options: Sequence[Option]) -> None:
    """Print options on standard output, one block each: name, type, unit and default; the description below them."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(title, "bold"))
    console.print(Text(summary))
    for one in options:
        unit = f" [{one.unit}]" if one.unit else ""
        default = {"none": "", "required": ", required"}.get(one.default, f", default: {one.default}")
        console.print(Text.assemble("\n", (one.name, "bold"), f": {one.type}{unit}{default}"))
        console.print(Padding(Text(one.description), (0, 0, 0, 4), expand=False))
    if not options:
        console.print("no options")
