"""What pydantic finds wrong with options or data, in lines for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel

from stem2sim.errors import BadInput, Mistakes, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails


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
