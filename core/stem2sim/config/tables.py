"""Stages and values from Python as a config has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from stem2sim.errors import BadInput
from stem2sim.stages import Stage


def stage_table(stage: object, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the table of a stage.

    Args:
        stage: its name, its name with a table of options, or a configured stage.
        options: more of them.

    Raises:
        BadInput: none of these.
    """
    match stage:
        case (name, Mapping() as own):
            stage, options = name, {**own, **(options or {})}
    if "use" in (options or {}):
        raise BadInput("'use' is not an option; it names the stage")
    if isinstance(stage, Stage):
        return {**stage.model_dump(mode="json"), **plain(options or {})}
    if isinstance(stage, str):
        return {"use": stage, **plain(options or {})}
    raise BadInput(
        f'a stage is given by its name, by its name and options such as ("patch", {{"size": 60}}), or configured, '
        f"not as {stage!r}"
    )


def plain(value: Any) -> Any:
    """Return the value of an option as a config has it: arrays as lists, paths as text, stages as tables."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value) if isinstance(value, Path) else value
