"""What a terminal shows: brackets as they are, no warnings of libraries, progress, completion, readable options."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from tests.conftest import stem2sim

from stem2sim import progress
from stem2sim.cli.main import _unraisable
from stem2sim.config.explain import commented_toml, options
from stem2sim.progress import shown, track
from stem2sim.registry import installed

if TYPE_CHECKING:
    from pathlib import Path

NOISY = """
import logging, sys, typer, warnings
from stem2sim.cli import main as cli
from stem2sim.cli.console import console

@cli.app.command()
def noisy(wait: float = typer.Option(1.0, help="Time to wait [h]."), verbose: bool = False) -> None:
    '''Wait for a time [h].'''
    with console(verbose):
        warnings.warn("an old call", FutureWarning)
        logging.getLogger("tifffile").warning("an odd tag")
        logging.getLogger("stem2sim").info("waited [h]")

cli.main()
"""


def noisy(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a library that warns."""
    command = [sys.executable, "-c", NOISY, "noisy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"})


def test_warnings_of_libraries_are_for_the_log() -> None:
    assert noisy().stderr == "waited [h]\n"
    loud = noisy("--verbose").stderr
    assert "FutureWarning: an old call" in loud
    assert "tifffile: an odd tag" in loud


def test_brackets_in_help_are_text() -> None:
    helped = noisy("--help").stdout
    assert "Wait for a time [h]." in helped
    assert "Time to wait [h]." in helped


def test_brackets_in_progress_are_text() -> None:
    stream = io.StringIO()
    with shown(Console(file=stream, force_terminal=True, width=100)), track("waiting", 5) as advance:
        advance(2, note="0.5 [h]")
        time.sleep(0.4)  # the bar is drawn a few times a second
    assert "waiting 0.5 [h]" in stream.getvalue()


def test_off_a_terminal_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most one at each tenth, and none sooner than half a minute after the one before."""

    def lines(quiet: float) -> list[str]:
        monkeypatch.setattr(progress, "QUIET", quiet)
        stream = io.StringIO()
        with shown(Console(file=stream, width=100)), track("relaxation", 400) as advance:
            for _ in range(400):
                advance(note="0.1 [eV/Å]")
        return stream.getvalue().splitlines()

    assert len(lines(0.0)) == 10
    assert lines(0.0)[0] == "relaxation: 40 of 400, 0.1 [eV/Å], 0.0 min"
    assert lines(30.0) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "missing.npy"), 2, "no file or folder at missing.npy"),
        (("simulate",), 2, "Missing argument 'input'."),
        (("simulate", "s.xyz", "--simulator", "xtb", "--no-such-flag"), 2, "No such option: --no-such-flag"),
    ],
)
def test_a_failure_is_json_where_json_was_asked_for(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """On standard output, beside the line on standard error; the exit code is the same."""
    done = stem2sim(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == code
    assert json.loads(done.stdout) == {"error": message, "code": code}
    assert done.stderr == f"error: {message}\n"


def test_explain_prints_one_block_per_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, type, unit and default on one line; the description below, no line wider than the terminal."""
    monkeypatch.setenv("COLUMNS", "60")
    lines = stem2sim("explain", "xtb").stdout.splitlines()
    assert max(map(len, lines)) <= 60
    at = lines.index("fmax: number [eV/Å], default: 0.01")
    assert lines[at - 1] == ""
    assert lines[at + 1] == "    convergence criterion: maximum force on any atom"
    assert "engine: engine, required" in stem2sim("explain", "aimd").stdout


def test_init_writes_every_type_in_full() -> None:
    for offer in installed().offers:
        if offer.kind == "builder":
            text = commented_toml("image.npy", None, [offer.stage.name], None, None)
            for option in options(offer.stage):
                lines = [line for line in text.splitlines() if option.description in line]
                assert any(line.split("; ")[-1].startswith(option.type) for line in lines), option


def completed(line: str) -> set[str]:
    """Return what bash would offer at the end of a line."""
    words = {"_STEM2SIM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    command = [sys.executable, "-c", "import sys; sys.argv = ['stem2sim']; from stem2sim.cli.main import main; main()"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **words})
    return set(done.stdout.split())


def test_the_shell_completes_commands_and_stages() -> None:
    """Those of plugins, too."""
    assert completed("stem2sim tra") >= {"track", "train"}
    assert "patch" in completed("stem2sim build a.npy --builder p")
    assert completed("stem2sim run a.npy --segmenter at") == {"atoms-table"}
    assert completed("stem2sim run a.npy --engine xt") == {"xtb"}
    assert "aimd" not in completed("stem2sim run a.npy --engine ")
    assert "close" in completed("stem2sim run a.npy --allow c")


def test_an_interrupt_within_a_destructor_prints_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    """Python prints what a destructor raises, and goes on; Ctrl-C is noted elsewhere, other mistakes must be seen."""

    class Closing:
        def __init__(self, problem: type[BaseException]) -> None:
            self.problem = problem

        def __del__(self) -> None:
            raise self.problem

    before, sys.unraisablehook = sys.unraisablehook, _unraisable
    try:
        Closing(KeyboardInterrupt)
        assert capfd.readouterr().err == ""
        Closing(ValueError)
        assert "ValueError" in capfd.readouterr().err
    finally:
        sys.unraisablehook = before
