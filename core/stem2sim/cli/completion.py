"""What the shell completes: names of stages, and commands that plugins add."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE = "_STEM2SIM_COMPLETE"
"""Set by the shell while it asks for completions."""


def typed_command() -> str | None:
    """Return the command in the line that the shell completes; '' for none yet, None if it does not complete."""
    if VARIABLE not in os.environ:
        return None
    words = (os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or "").split()
    return words[1] if len(words) > 1 else ""


def segmenters(incomplete: str) -> list[str]:
    """Return the segmenters that begin so."""
    return _names(incomplete, "segmenter")


def builders(incomplete: str) -> list[str]:
    """Return the builders that begin so."""
    return _names(incomplete, "builder")


def simulators(incomplete: str) -> list[str]:
    """Return the simulators that begin so."""
    return _names(incomplete, "simulator")


def stages(incomplete: str) -> list[str]:
    """Return the stages of all kinds that begin so."""
    return _names(incomplete, "segmenter", "builder", "simulator")


def engines(incomplete: str) -> list[str]:
    """Return the engines that begin so."""
    from stem2sim.engines.engine import Engine
    from stem2sim.registry import installed

    return _beginning(incomplete, (one.stage.name for one in installed().offers if issubclass(one.stage, Engine)))


def checks(incomplete: str) -> list[str]:
    """Return the checks of structures that begin so."""
    from stem2sim.analysis.validation import CHECKS

    return _beginning(incomplete, CHECKS)


def _names(incomplete: str, *kinds: str) -> list[str]:
    from stem2sim.registry import installed

    return _beginning(incomplete, (name for kind in kinds for name in installed().names(kind)))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
