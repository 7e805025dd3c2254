"""Where a command has written, and the command that follows, on standard error: standard output is for scripts."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.runs.outcome import Outcome


def announce(folder: Path, following: str) -> None:
    """Print the run folder, and what to do next.

    Args:
        folder: the run folder.
        following: what is next, with {folder} for the folder as the shell takes it.
    """
    typer.echo(f"run folder: {folder}", err=True)
    suggest(following, folder)


def suggest(following: str, folder: Path) -> None:
    """Print what to do next, with {folder} for a folder or file as the shell takes it."""
    typer.echo(f"next: {following.format(folder=shlex.quote(str(folder)))}", err=True)


def after(outcome: Outcome, verb: str) -> str:
    """Return what follows a command that ran the pipeline up to a stage, for `announce`."""
    if outcome.waiting:
        return "stem2sim collect {folder}, once the results of the external program are there"
    if outcome.report is not None:
        return after_report(outcome.report)
    following = {"segment": "stem2sim build {folder}", "build": "stem2sim simulate {folder}"}
    return following.get(verb, "stem2sim report {folder}")


def after_report(report: Path) -> str:
    """Return what follows a report, for `announce`."""
    return f"open {{folder}}/{report.name} in a browser, or stem2sim export {{folder}} structure.vasp"


def after_movie(report: Path | None) -> str:
    """Return what follows the tracks of a movie, for `announce`."""
    opened = f"open {{folder}}/{report.name} in a browser, or " if report else ""
    return f"{opened}stem2sim export {{folder}} tracks.zip"
