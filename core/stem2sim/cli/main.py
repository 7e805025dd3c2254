"""The command line. Commands import what they need when they run: `stem2sim --help` must be instant."""

from __future__ import annotations

import re
import signal
import sys
from typing import Annotated, Any

import typer

from stem2sim import __version__
from stem2sim.cli import installation, pipeline, runs
from stem2sim.cli.completion import typed_command
from stem2sim.cli.console import print_json, quiet_libraries
from stem2sim.engines.deadline import interrupt
from stem2sim.errors import BAD_INPUT, FAILED, INTERRUPTED, BadInput, StageFailed
from stem2sim.packages import CONFIGS

app = typer.Typer(
    help="Turn a STEM image into an atomistic simulation of the imaged structure.",
    no_args_is_help=True,
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

    own = {one.name or getattr(one.callback, "__name__", "") for one in app.registered_commands}
    offered = {point.name: point for point in entry_points(group=PLUGIN_COMMANDS) if point.name not in own}
    if offered:
        app.info.epilog = f"Plugin commands: {', '.join(sorted(offered))}"
    point = offered.pop(command, None)
    if typed_command() is not None:  # the shell completes their names, too
        for name in offered:
            app.command(name)(lambda: None)
    if point is None:
        return app
    try:
        loaded = point.load()
    except Exception as problem:  # a broken plugin must not break the others' commands
        raise BadInput(f"command '{command}' failed to load ({type(problem).__name__}: {problem})") from problem
    if isinstance(loaded, typer.Typer):
        app.add_typer(loaded, name=command)
    else:
        app.command(command, epilog=_config_options(command))(loaded)
    return app


def _config_options(command: str) -> str | None:
    """The options of the config of a command, for its help; None where there is none, or nobody asks for help."""
    from importlib.metadata import entry_points

    if "--help" not in sys.argv or command not in entry_points(group=CONFIGS).names:
        return None
    from stem2sim.config.explain import option_tables

    listed = [f"{table.name}: {', '.join(one.name for one in table.options)}" for table in option_tables(command)]
    return "\n\n".join([f"Options of the config (described by stem2sim explain {command}):", *listed])


def _plain(command: Any) -> None:
    """Make brackets in the help of a command plain text: typer takes [h] for a style, and prints nothing."""
    for one in (command, *command.params):
        for name in ("help", "short_help", "epilog"):
            text = getattr(one, name, None)
            if isinstance(text, str):
                setattr(one, name, re.sub(r"(?<!\\)\[(?=[a-z#/@])", r"\\[", text))
    for inner in getattr(command, "commands", {}).values():
        _plain(inner)


def main() -> None:
    """Entry point: one line per error, and exit codes that scripts can rely on."""
    sys.unraisablehook = _unraisable
    # what a batch system sends before it kills: the engines' processes must end, and the message must be printed
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a job in the background does not listen
        signal.signal(signal.SIGINT, interrupt)
    quiet_libraries()
    arguments = sys.argv[1:] or ["--help"]
    as_json = "--json" in arguments
    try:
        command = typer.main.get_command(_with_plugins(typed_command() or arguments[0]))
        _plain(command)
        code = command.main(arguments, standalone_mode=False)
    except BadInput as problem:
        code = _complain("error: ", problem, BAD_INPUT, as_json)
    except StageFailed as problem:
        code = _complain("failed: ", problem, FAILED, as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as problem:  # of stages it is a failure of theirs; here, a folder or file that cannot be used
        code = _complain("error: ", f"{problem.strerror or problem}: {problem.filename}", BAD_INPUT, as_json)
    except Exception as problem:
        complaint = getattr(problem, "format_message", None)
        if complaint is None:  # not typer's complaint about usage, but a bug
            raise
        code = _complain("error: ", complaint(), BAD_INPUT, as_json)
    if code == INTERRUPTED:
        resumes = "interrupted; the same command resumes, and repeats nothing that was finished"
        _complain("", resumes, INTERRUPTED, as_json)
    sys.exit(code if isinstance(code, int) else 0)


def _unraisable(problem: sys.UnraisableHookArgs) -> None:
    """Print what a destructor raised, unless that is Ctrl-C, which `interrupt` has noted."""
    if not issubclass(problem.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(problem)


def _complain(kind: str, problem: object, code: int, as_json: bool) -> int:
    """Print why a command failed, for people on standard error and for programs on standard output."""
    text = " ".join(str(problem).split())
    typer.echo(f"{kind}{text}", err=True)
    if as_json:
        print_json({"error": text, "code": code})
    return code


if __name__ == "__main__":
    main()
