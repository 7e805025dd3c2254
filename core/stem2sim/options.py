"""Options of stages: reading them, one line for people where they are wrong, and what their types say of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from stem2sim.errors import BadInput
from stem2sim.mistakes import mistakes_in
from stem2sim.option_paths import with_paths
from stem2sim.registry import installed
from stem2sim.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[str], str]


def read_stage(kind: str, given: Any, place: str) -> Stage:
    """Build the stage of `{ use = ..., option = ... }` (or of its bare name).

    Args:
        kind: segmenter, builder or simulator.
        given: a table of a config.
        place: where in the config it stands, for messages.

    Raises:
        BadInput: no such stage, or options that it does not take; the message lists all of them, and what would work.
    """
    if isinstance(given, str):
        given = {"use": given}
    if not isinstance(given, dict) or not isinstance(given.get("use"), str):
        message = f'say which {kind} with use = "..."; installed: {", ".join(installed().names(kind))}'
        raise BadInput(_at(place, message))
    options = {key: value for key, value in given.items() if key != "use"}
    try:
        cls = installed().find(kind, given["use"])
    except BadInput as problem:
        raise BadInput(_at(place, str(problem))) from None
    try:
        return cls.model_validate(options)
    except ValidationError as problem:
        raise mistakes_in(problem, place, cls) from problem


def recorded_stage(kind: str, made: dict[str, Any]) -> Stage:
    """Return the stage that made something, as `Stage.provenance` recorded it; versions and the like are left out.

    Args:
        kind: segmenter, builder or simulator.
        made: the record; of a stage among the options too.

    Raises:
        BadInput: a stage that is not installed here, or does not take these options any more.
    """
    return read_stage(kind, _options_only(kind, made), "")


def _options_only(kind: str, made: dict[str, Any]) -> dict[str, Any]:
    fields = installed().find(kind, str(made.get("use"))).model_fields
    return {
        name: _options_only("simulator", value) if isinstance(value, dict) and "use" in value else value
        for name, value in made.items()
        if name == "use" or name in fields
    }


def _at(place: str, message: str) -> str:
    return f"{place}: {message}" if place else message


def stage_with_paths(kind: str, table: Any, change: Change) -> Any:
    """Return the table of a stage with its paths changed, those of stages within it too.

    Args:
        kind: segmenter, builder or simulator.
        table: of a config; one that names no stage that is installed is returned as it is (see `read_stage`).
        change: of one path.
    """
    if not isinstance(table, dict) or not isinstance(table.get("use"), str):
        return table
    try:
        stage = installed().find(kind, table["use"])
    except BadInput:
        return table
    return table_with_paths(stage, table, change)


def table_with_paths(model: type[BaseModel], table: dict[str, Any], change: Change) -> dict[str, Any]:
    """Return the options of a model with their paths changed, those of stages within it too."""

    def inner(model: type[BaseModel], table: dict[str, Any]) -> dict[str, Any]:
        if issubclass(model, Stage):
            changed: dict[str, Any] = stage_with_paths(model.kind, table, change)
            return changed
        return table_with_paths(model, table, change)

    fields = model.model_fields
    return {
        name: with_paths(fields[name].annotation, value, change, inner) if name in fields else value
        for name, value in table.items()
    }


def recorded_paths(kind: str, made: dict[str, Any]) -> list[Path]:
    """Return the files and folders that the recorded options of a stage name, those of stages within it too.

    Args:
        kind: segmenter, builder or simulator.
        made: what `Stage.provenance` gave; one of a stage that is not installed here names none.
    """
    found: list[Path] = []

    def noted(path: str) -> str:
        found.append(Path(path))
        return path

    stage_with_paths(kind, made, noted)
    return found


def without_none(value: Any) -> Any:
    """Return a tree without the entries that are None, which TOML cannot say."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value
