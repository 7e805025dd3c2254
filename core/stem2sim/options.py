"""Options of stages: reading them, one line for people where they are wrong, and what their types say of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from stem2sim.errors import BadInput, Mistakes, nearest
from stem2sim.option_paths import with_paths
from stem2sim.registry import installed
from stem2sim.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

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


def _at(place: str, message: str) -> str:
    return f"{place}: {message}" if place else message


def explained(problem: ValidationError, place: str, model: type[BaseModel]) -> str:
    """Return all complaints of pydantic in one line: where, what is wrong, what is accepted."""
    return str(mistakes_in(problem, place, model))


def mistakes_in(problem: ValidationError, place: str, model: type[BaseModel]) -> Mistakes:
    """Return all complaints of pydantic as an error; the arguments are those of `explained`."""
    return Mistakes([line for one in problem.errors() for line in _explained(one, place, model)])


def _explained(mistake: ErrorDetails, place: str, model: type[BaseModel]) -> list[str]:
    """One complaint of pydantic in one line; several where a stage within has several."""
    where = ".".join(filter(None, [place, *(str(step) for step in mistake["loc"])]))
    model, rest = _table_at(model, mistake["loc"])
    who = getattr(model, "name", place)
    options = list(model.model_fields)
    if mistake["type"] == "extra_forbidden":
        wrong = str(mistake["loc"][-1])
        return [f"{where}: unknown option; {who} takes {', '.join(options) or 'none'}{nearest(wrong, options)}"]
    cause = mistake.get("ctx", {}).get("error")
    message = str(cause) if cause is not None else mistake["msg"][:1].lower() + mistake["msg"][1:]
    if mistake["type"] == "missing":
        message = "is needed"
    elif mistake["type"] == "path_type":
        message = f"input should be a path in quotes, got {mistake['input']!r}"
    elif cause is None:
        message += f", got {mistake['input']!r}"
    if isinstance(cause, BadInput):  # of an engine within: it has said all there is to say
        return [f"{where}: {one}" for one in (cause.each if isinstance(cause, Mistakes) else [str(cause)])]
    option = model.model_fields.get(rest[0]) if rest else None
    message += f" ({option.description})" if option and option.description else ""
    if mistake["type"] == "literal_error":
        message += nearest(str(mistake["input"]), re.findall(r"'([^']*)'", mistake.get("ctx", {})["expected"]))
    return [f"{where}: {message}"]


def _table_at(model: type[BaseModel], location: Sequence[int | str]) -> tuple[type[BaseModel], list[str]]:
    """Return the model of the table that an option stands in, such as [recipe], and where in it the option stands."""
    rest = [step for step in location if isinstance(step, str)]
    while len(rest) > 1 and (table := table_of(model.model_fields.get(rest[0]))) is not None:
        model, rest = table, rest[1:]
    return model, rest


def table_of(option: FieldInfo | None) -> type[BaseModel] | None:
    """Return the model of an option that is a table, or a list of tables; None for other options."""
    inner = (option.annotation, *get_args(option.annotation)) if option else ()
    return next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


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
