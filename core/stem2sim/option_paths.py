"""Paths among the options of stages: in their values, and in tables of a config by the types of the options."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Change = Callable[[str], str]
    Inner = Callable[[type[BaseModel], dict[str, Any]], dict[str, Any]]


def leaves(value: Any) -> Iterator[Any]:
    """Yield what the value of an option consists of: whatever is no container; a model counts as one thing."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(key)
            yield from leaves(one)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def absolute(value: Any) -> Any:
    """Return the value of an option with absolute paths, however deep; relative ones count from the working directory.

    A model, such as a stage, is copied if a path in it changes.
    """
    if isinstance(value, Path):
        return value if value.resolve() == value else value.resolve()
    if isinstance(value, BaseModel):
        now = {name: (getattr(value, name), absolute(getattr(value, name))) for name in type(value).model_fields}
        update = {name: new for name, (old, new) in now.items() if new is not old}
        return value.model_copy(update=update) if update else value
    if isinstance(value, dict):
        pairs = [(absolute(key), absolute(one)) for key, one in value.items()]
        same = all(key is k and one is v for (key, one), (k, v) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    if isinstance(value, list | tuple | set | frozenset):
        members = [absolute(one) for one in value]
        if all(new is old for new, old in zip(members, value, strict=True)):
            return value
        return type(value)(*members) if hasattr(value, "_fields") else type(value)(members)
    return value


def with_paths(annotation: Any, value: Any, change: Change, inner: Inner) -> Any:
    """Return the value that a config has for an option, with its paths changed.

    Args:
        annotation: type of the option. A text in `Path | str` is no path, nor is one that a `Literal` beside it lists.
        value: as TOML or JSON has it.
        change: of one path.
        inner: of the table of a model within the option.
    """

    def each(annotation: Any, value: Any) -> Any:
        return with_paths(annotation, value, change, inner)

    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Path:
        return change(value) if isinstance(value, str) and value else value
    if origin is Annotated:
        return each(arguments[0], value)
    if origin in (Union, UnionType):
        if isinstance(value, str) and _is_text(arguments, value):
            return value
        for one in arguments:
            value = each(one, value)
        return value
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return inner(annotation, value) if isinstance(value, dict) else value
    if isinstance(value, dict) and isinstance(origin, type) and issubclass(origin, dict):
        return {each(arguments[0], key): each(arguments[1], one) for key, one in value.items()}
    if isinstance(value, list) and origin in (list, tuple, set, frozenset):
        kinds = arguments if origin is tuple and Ellipsis not in arguments else arguments[:1] * len(value)
        return [each(kind, one) for kind, one in zip(kinds, value, strict=False)] + value[len(kinds) :]
    return value


def _is_text(members: tuple[Any, ...], value: str) -> bool:
    return str in members or any(value in get_args(one) for one in members if get_origin(one) is Literal)
