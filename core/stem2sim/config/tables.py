"""Stages and values from Python as a config has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from stem2sim.stages import Stage


def stage_table(stage: str | Stage, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of a stage, by its name or configured, with these options."""
    if isinstance(stage, Stage):
        return {**stage.model_dump(mode="json"), **plain(options)}
    return {"use": stage, **plain(options)}


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
