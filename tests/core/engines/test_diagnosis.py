"""Why an external program ended, from its output and its exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stem2sim.engines.diagnosis import diagnose, known_failure

if TYPE_CHECKING:
    from pathlib import Path

MEANINGS = {"matrix": "the matrix is singular", "stopped": "it stopped early"}


def test_the_first_failure_of_the_table_decides_and_its_line_is_quoted() -> None:
    failure = known_failure("all well\n  stopped here: the matrix\n", MEANINGS)
    assert failure is not None
    assert failure.meaning == "the matrix is singular"
    assert failure.line == "stopped here: the matrix"
    assert known_failure("all well", MEANINGS) is None


@pytest.mark.parametrize(
    ("output", "status", "reason"),
    [
        ("box stopped", -9, "first"),
        ("stopped", -9, "it stopped early"),
        ("one two", -9, "it was killed by signal 9, often because memory ran out; run it again"),
        ("one two", -11, "it was killed by signal 11; run it again"),
        (" ".join(str(k) for k in range(22)), 3, f"it ended with exit status 3: {' '.join(map(str, range(2, 22)))}"),
        (None, 127, "it ended with exit status 127: it printed nothing"),
        ("step 5", None, "it stopped responding: step 5"),
    ],
)
def test_what_was_printed_comes_before_the_exit_status(
    output: str | None, status: int | None, reason: str, tmp_path: Path
) -> None:
    """Explanations in their order, then the signal, then the last words; one line, and where the log is."""
    if output is not None:
        (tmp_path / "out").write_text(output)

    def box(text: str) -> str | None:
        return "first" if "box" in text else None

    def table(text: str) -> str | None:
        failure = known_failure(text, MEANINGS)
        return failure.meaning if failure else None

    message = diagnose("solver", tmp_path / "out", status, (box, table), after_signal="run it again")
    assert message == f"solver: {reason}; log: {tmp_path.name}/out"
