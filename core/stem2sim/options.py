"""Options of stages: reading them, with one line for people where they are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from stem2sim.errors import BadInput, nearest
from stem2sim.registry import installed

if TYPE_CHECKING:
    from stem2sim.stages import Stage


def read_stage(kind: str, given: Any, place: str) -> Stage:
    """Build the stage of `{ use = ..., option = ... }` (or of its bare name).

    Args:
        kind: segmenter, builder or simulator.
        given: a table of a config.
        place: where in the config it stands, for messages.

    Raises:
        BadInput: no such stage, or an option that it does not take; the message says what would work.
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
        raise BadInput(explained(problem, place, cls)) from problem


def _at(place: str, message: str) -> str:
    return f"{place}: {message}" if place else message


def explained(problem: ValidationError, place: str, model: type[BaseModel]) -> str:
    """Return the first complaint of pydantic in one line: where, what is wrong, what is accepted."""
    first = problem.errors()[0]
    where = ".".join(filter(None, [place, *(str(step) for step in first["loc"])]))
    who = getattr(model, "name", place)
    options = list(model.model_fields)
    if first["type"] == "extra_forbidden":
        wrong = str(first["loc"][-1])
        return f"{where}: unknown option; {who} takes {', '.join(options) or 'none'}{nearest(wrong, options)}"
    cause = first.get("ctx", {}).get("error")
    message = str(cause) if cause is not None else first["msg"][:1].lower() + first["msg"][1:]
    if first["type"] == "missing":
        message = "is needed"
    elif first["type"] == "path_type":
        message = f"input should be a path in quotes, got {first['input']!r}"
    elif cause is None:
        message += f", got {first['input']!r}"
    if isinstance(cause, BadInput):  # of an engine within: it has said all there is to say
        return f"{where}: {message}"
    option = model.model_fields.get(str(first["loc"][0])) if first["loc"] else None
    return f"{where}: {message}" + (f" ({option.description})" if option and option.description else "")


def without_none(value: Any) -> Any:
    """Return a tree without the entries that are None, which TOML cannot say."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return [without_none(item) for item in value] if isinstance(value, list) else value
