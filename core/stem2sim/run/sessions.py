"""When a run was worked on, and how each time ended: what was cut off shows by having no end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, TypeAdapter, ValidationError

from stem2sim import __version__
from stem2sim.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

SESSIONS = "sessions.json"

LAST = "report.html"
"""Name of the step that ends a run."""

NOW = "under way"
"""Outcome of the session that asks; it is never written."""


class Session(BaseModel):
    """One command that did some of the work; one that finds all done leaves no trace."""

    begun: str
    """UTC, to the second."""
    version: str
    """Of stem2sim."""
    steps: list[str] = []
    """That it began, in turn; the last is the one that it ended in."""
    ended: str = ""
    """UTC; '' where it was cut off without a chance to say so."""
    outcome: str = ""
    """done, interrupted, or what failed."""

    @property
    def failure(self) -> str:
        """Why it did not reach its end; '' where it did."""
        if self.outcome in ("done", NOW) or self.steps[-1:] == [LAST]:  # the report can be had again by itself
            return ""
        if self.outcome not in ("", "interrupted"):
            return self.outcome
        return ("interrupted" if self.ended else "cut off") + (f" in {self.steps[-1]}" if self.steps else "")

    def describe(self) -> str:
        """Return it in words."""
        if self.outcome == "done":
            return f"begun {self.begun}, done {self.ended}"
        if self.outcome == NOW:
            return f"begun {self.begun}, which led to this report"
        where = f" in {self.steps[-1]}" if self.steps else ""
        if not self.ended:
            return f"begun {self.begun}, cut off{where}"
        what = "interrupted" + where if self.outcome == "interrupted" else f"failed: {self.outcome}"
        return f"begun {self.begun}, ended {self.ended}: {what}"


_SESSIONS = TypeAdapter(list[Session])


def sessions(folder: Path) -> list[Session]:
    """Return the sessions of a run folder, the first one first; none where they are not known."""
    try:
        return _SESSIONS.validate_json((folder / SESSIONS).read_bytes())
    except (OSError, ValidationError):
        return []


class Log:
    """Writes the session that is under way, from its first step on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = sessions(folder)
        self._now: Session | None = None

    def begins(self, step: str) -> None:
        """Say that a step begins."""
        if self._now is None:
            self._now = Session(begun=_now(), version=__version__)
        self._now.steps.append(step)
        self._write()

    def ends(self, outcome: str) -> None:
        """Say how it ended, if it did anything."""
        if self._now is not None:
            self._now.ended, self._now.outcome = _now(), outcome
            self._write()

    def _write(self) -> None:
        assert self._now is not None
        write_text(self._folder / SESSIONS, _SESSIONS.dump_json([*self._before, self._now], indent=1).decode())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
