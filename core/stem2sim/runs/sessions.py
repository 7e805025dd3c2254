"""When a run was worked on, and how each session ended; one that stopped abruptly has no end."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, TypeAdapter, ValidationError

from stem2sim import __version__
from stem2sim.errors import BadInput, StageFailed
from stem2sim.files import write_text
from stem2sim.runs.names import REPORT, SESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DONE, STOPPED = "done", "interrupted"

UNDER_WAY = "under way"
"""Outcome of the session that is asking; it is never written."""


class Session(BaseModel):
    """One command that did some of the work; one that finds everything done leaves no trace."""

    begun: str
    """UTC, to the second."""
    version: str
    """Of stem2sim."""
    steps: list[str] = []
    """That it began, in turn; the last is the one that it ended in."""
    ended: str = ""
    """UTC; '' where the process stopped before it could write this."""
    outcome: str = ""
    """done, interrupted, or what failed."""

    @property
    def failure(self) -> str:
        """Why it did not reach its end; '' where it did."""
        if self.outcome in (DONE, UNDER_WAY) or self.steps[-1:] == [
            REPORT
        ]:  # the report can be written again by itself
            return ""
        if self.outcome not in ("", STOPPED):
            return self.outcome
        return ("interrupted" if self.ended else "stopped abruptly") + self._where

    @property
    def _where(self) -> str:
        return f" in {self.steps[-1]}" if self.steps else ""

    def describe(self) -> str:
        """Return it in words."""
        if self.outcome == DONE:
            return f"started {self.begun}, finished {self.ended}"
        if self.outcome == UNDER_WAY:
            return f"started {self.begun}, which wrote this report"
        if not self.ended:
            return f"started {self.begun}, stopped abruptly{self._where}"
        what = f"interrupted{self._where}" if self.outcome == STOPPED else f"failed: {self.outcome}"
        return f"started {self.begun}, ended {self.ended}: {what}"


_SESSIONS = TypeAdapter(list[Session])


class SessionLog:
    """The sessions of a run folder, read once; the one under way is written from its first step on."""

    def __init__(self, folder: Path) -> None:
        """Read `sessions.json`; a damaged one counts as none."""
        self._folder = folder
        try:
            self._before = _SESSIONS.validate_json((folder / SESSIONS).read_bytes())
        except (OSError, ValidationError):
            self._before = []
        self._now: Session | None = None

    @property
    def sessions(self) -> list[Session]:
        """All sessions, the first one first, the one under way last."""
        return [*self._before, self._now] if self._now else list(self._before)

    def begin(self, step: str) -> None:
        """Record that a step begins."""
        if self._now is None:
            self._now = Session(begun=_now(), version=__version__)
        self._now.steps.append(step)
        self._write()

    def end(self, outcome: str) -> None:
        """Record how the session ended, if it did anything."""
        if self._now is not None:
            self._now.ended, self._now.outcome = _now(), outcome
            self._write()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record how the work inside ended."""
        try:
            yield
        except (BadInput, StageFailed) as problem:
            self.end(str(problem))
            raise
        except BaseException:
            self.end(STOPPED)
            raise
        self.end(DONE)

    def _write(self) -> None:
        write_text(self._folder / SESSIONS, _SESSIONS.dump_json(self.sessions, indent=1).decode())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
