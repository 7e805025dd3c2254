"""The command line. Commands import what they need when they run: `stem2sim --help` must be instant."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from stem2sim import __version__
from stem2sim.cli import installation, pipeline, runs
from stem2sim.engines.deadline import interrupt
from stem2sim.errors import BAD_INPUT, FAILED, INTERRUPTED, BadInput, StageFailed

app = typer.Typer(
    help="Turn a STEM image into an atomistic simulation of the imaged structure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PLUGIN_COMMANDS = "stem2sim.commands"
"""Entry-point group of commands that plugins add: each a function for typer, or a typer app of several."""


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


for _command in (*pipeline.COMMANDS, *runs.COMMANDS, *installation.COMMANDS):
    app.command()(_command)
app.command(hidden=True)(pipeline.step)


def _with_plugins(command: str) -> typer.Typer:
    """The commands, with this one where a plugin brings it; listing the others imports nothing."""
    from importlib.metadata import entry_points

    offered = {point.name: point for point in entry_points(group=PLUGIN_COMMANDS)}
    if offered:
        app.info.epilog = f"Plugin commands: {', '.join(sorted(offered))}"
    point = offered.get(command)
    if point is None or command in {
        own.name or getattr(own.callback, "__name__", "") for own in app.registered_commands
    }:
        return app
    try:
        loaded = point.load()
    except Exception as problem:  # a broken plugin must not break the others' commands
        raise BadInput(f"command '{command}' failed to load ({type(problem).__name__}: {problem})") from problem
    if isinstance(loaded, typer.Typer):
        app.add_typer(loaded, name=command)
    else:
        app.command(command)(loaded)
    return app


def main() -> None:
    """Entry point: one line per error, and exit codes that scripts can rely on."""
    # what a batch system sends before it kills: the engines' processes must end, and the message must be printed
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a job in the background does not listen
        signal.signal(signal.SIGINT, interrupt)
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = _with_plugins(arguments[0])(arguments, standalone_mode=False)
    except BadInput as problem:
        code = _complain(f"error: {problem}", BAD_INPUT)
    except StageFailed as problem:
        code = _complain(f"failed: {problem}", FAILED)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as problem:  # of stages it is a failure of theirs; here, a folder or file that cannot be used
        code = _complain(f"error: {problem.strerror or problem}: {problem.filename}", BAD_INPUT)
    except Exception as problem:
        complaint = getattr(problem, "format_message", None)
        if complaint is None:  # not typer's complaint about usage, but a bug
            raise
        code = _complain(f"error: {complaint()}", BAD_INPUT)
    if code == INTERRUPTED:
        _complain("interrupted; the same command resumes, and repeats nothing that was finished", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(text: str, code: int) -> int:
    typer.echo(" ".join(text.split()), err=True)
    return code


if __name__ == "__main__":
    main()
