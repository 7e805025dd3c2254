"""Why an external program ended: what it printed, else its exit status, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

TAIL = 20
"""Last words of the output that are quoted where nothing in it is known."""


class KnownFailure(NamedTuple):
    """A failure that the output of a program shows."""

    meaning: str
    """What it means and what often helps."""
    line: str
    """Where the program printed it."""


def read_output(file: Path) -> str:
    """Return what a program printed into a file; nothing if there is no such file."""
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def known_failure(output: str, meanings: Mapping[str, str]) -> KnownFailure | None:
    """Return the first failure of a table that the output shows, None if it shows none.

    Args:
        output: of the program.
        meanings: words that the program prints -> their meaning, the most specific first.
    """
    for words, meaning in meanings.items():
        if words in output:
            return KnownFailure(meaning, next((line.strip() for line in output.splitlines() if words in line), words))
    return None


def diagnose(
    program: str,
    file: Path,
    status: int | None,
    explanations: Sequence[Callable[[str], str | None]],
    after_signal: str = "",
) -> str:
    """Return in one line why a program ended and where its output is.

    Args:
        program: its name.
        file: with all that it printed, in the folder that it ran in.
        status: its exit status, negative for the number of a signal; None if it is still running.
        explanations: from the output to a reason, or None; the first that has one decides, before the exit status.
        after_signal: what to do about a signal.
    """
    output = read_output(file)
    reason = next((reason for explain in explanations if (reason := explain(output)) is not None), None)
    if reason is None:
        reason = _exit_reason(output, status, after_signal)
    return f"{program}: {reason}; log: {file.parent.name}/{file.name}"


def _exit_reason(output: str, status: int | None, after_signal: str) -> str:
    if status is not None and status < 0:
        memory = ", often because memory ran out" if status == -9 else ""
        return f"it was killed by signal {-status}{memory}" + (f"; {after_signal}" if after_signal else "")
    last_words = " ".join(output.split()[-TAIL:]) or "it printed nothing"
    ended = "it stopped responding" if status is None else f"it ended with exit status {status}"
    return f"{ended}: {last_words}"
