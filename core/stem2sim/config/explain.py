"""Stages, and configs of commands, in words: their options, and configs with comments."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import tomli_w
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from stem2sim.config.defaults import DEFAULTS, ENGINE
from stem2sim.config.tree import SECTIONS
from stem2sim.engines.engine import Engine
from stem2sim.engines.engine_simulator import read_engine
from stem2sim.errors import BadInput, nearest
from stem2sim.imaging.readers import ImageSource
from stem2sim.mistakes import table_of
from stem2sim.options import without_none
from stem2sim.packages import CONFIGS
from stem2sim.registry import installed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.stages import Stage

PLURALS = {"number": "numbers", "integer": "integers"}
"""Of the words for types that are countable."""


@dataclass(frozen=True)
class Option:
    """One option, in words."""

    name: str
    type: str
    default: str
    unit: str
    description: str


@dataclass(frozen=True)
class OptionTable:
    """The options of a stage, or in one table of the config of a command, in words."""

    name: str
    """A table within a config is named as in TOML, such as [recipe], or [[labelled]] where there may be several."""
    kind: str
    source: str
    """Distribution and version."""
    summary: str
    options: list[Option]


def option_tables(name: str) -> list[OptionTable]:
    """Return the options of the stages of a name, or of the config of a command with all tables in it.

    Raises:
        BadInput: nothing of that name is installed, or it cannot be imported.
    """
    registry = installed()
    tables = [
        OptionTable(name, offer.kind, f"{offer.distribution} {offer.version}", offer.summary, options(offer.stage))
        for offer in registry.offers
        if offer.stage.name == name
    ]
    configs = {point.name: point for point in entry_points(group=CONFIGS)}
    if (point := configs.get(name)) is not None:
        source = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        try:
            tables += _tables(point.load(), name, source)
        except Exception as problem:  # foreign code
            raise BadInput(f"config of '{name}' failed to load ({type(problem).__name__}: {problem})") from problem
    if not tables:
        names = sorted({*configs, *(offer.stage.name for offer in registry.offers)})
        broken = "".join(f"; {one}" for one in registry.broken)
        raise BadInput(f"no stage named '{name}'; installed: {', '.join(names)}{nearest(name, names)}{broken}")
    return tables


def _tables(model: type[BaseModel], name: str, source: str, place: str = "") -> Iterator[OptionTable]:
    """Yield the options of a model, then those of the tables in it."""
    kind = "table" if place else "config"
    yield OptionTable(name, kind, source, (inspect.getdoc(model) or "").partition("\n")[0], options(model))
    for key, option in model.model_fields.items():
        if (inner := table_of(option)) is not None:
            path = f"{place}{key}"
            title = f"[{path}]" if option.annotation is inner else f"[[{path}]]"
            yield from _tables(inner, title, source, f"{path}.")


def options(model: type[BaseModel]) -> list[Option]:
    """Return every option of a model; the unit is what stands in square brackets at the end of its description."""
    out = []
    for name, field in model.model_fields.items():
        text = field.description or ""
        bracket = re.search(r"\s*\[([^\]]+)\]$", text)
        text, unit = (text[: bracket.start()], bracket[1]) if bracket else (text, "")
        default = "required" if field.is_required() else _toml(field.get_default())
        out.append(Option(name, _type(field.annotation), default, unit, text))
    return out


def _type(annotation: Any) -> str:
    choices = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _type(choices[0])
    if isinstance(annotation, type) and not choices:
        if issubclass(annotation, Engine):
            return "engine"
        if issubclass(annotation, BaseModel):
            return "table"
        return {"str": "text", "float": "number", "int": "integer", "bool": "true or false"}.get(
            annotation.__name__, annotation.__name__.lower()
        )
    if str(annotation).startswith("typing.Literal"):
        return " | ".join(f'"{choice}"' for choice in choices)
    inner = [choice for choice in choices if choice is not type(None)]
    if get_origin(annotation) is dict:
        values = _type(inner[1])
        return f"table of {'values' if ' or ' in values else PLURALS.get(values, values)}"
    if get_origin(annotation) is tuple and inner[-1] is Ellipsis:
        return f"[{_type(inner[0])}, ...]"
    if get_origin(annotation) is tuple:
        return f"[{', '.join(_type(one) for one in inner)}]"
    return " or ".join(_type(one) for one in inner)


def _toml(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return "none"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, BaseModel):
        return _toml(without_none(value.model_dump(exclude_defaults=True)))
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml(str(key))} = {_toml(one)}' for key, one in value.items())}}}"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").strip()


def commented_toml(
    image: str, segmenter: str | None, builders: list[str] | None, simulators: list[str] | None, engine: str | None
) -> str:
    """Return a config with every option of the chosen stages: required ones set, the others commented at their default.

    Raises:
        BadInput: a stage or an engine that is not installed.
    """
    if engine is not None:
        read_engine(engine)
    chosen: dict[str, list[str]] = {
        "segment": [segmenter or DEFAULTS["segment"]["use"]],
        "build": builders or [step["use"] for step in DEFAULTS["build"]],
        "simulate": simulators or [step["use"] for step in DEFAULTS["simulate"]],
    }
    lines = ["# stem2sim config; `stem2sim run THIS_FILE` runs it. Options in comments are at their defaults.", ""]
    lines += ["[image]", f"path = {_toml(image)}"]
    lines += _options(ImageSource, skip=("path",))
    for section, names in chosen.items():
        for name in names:
            stage = installed().find(SECTIONS[section], name)
            summary = (inspect.getdoc(stage) or "").partition("\n")[0]
            lines += ["", f"# {summary}", f"[{section}]" if section == "segment" else f"[[{section}]]"]
            lines += [f"use = {_toml(name)}", *_options(stage, engine=engine or ENGINE)]
    return "\n".join(lines) + "\n"


def _options(stage: type[Stage] | type[ImageSource], skip: tuple[str, ...] = (), engine: str = ENGINE) -> list[str]:
    lines = []
    for option in options(stage):
        if option.name in skip:
            continue
        unit = f" [{option.unit}]" if option.unit else ""
        comment = f"  # {option.description}{unit}"
        if option.type == "engine":
            lines.append(f'engine = {{ use = "{engine}" }}{comment}')
        elif option.default == "required":
            lines.append(f'{option.name} = ""{comment}; {option.type}, required')
        else:
            value = "..." if option.default == "none" else option.default
            lines.append(f"# {option.name} = {value}{comment}; {option.type}")
    return lines
