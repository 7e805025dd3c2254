"""Configs as trees of tables: read from TOML, paths resolved, single options set."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from stem2sim.errors import BadInput, nearest
from stem2sim.imaging.readers import ImageSource
from stem2sim.options import stage_with_paths, table_with_paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECTIONS = {"segment": "segmenter", "build": "builder", "simulate": "simulator"}
"""Section -> kind of the stages in it."""


def tree_of(text: str, file: Path) -> dict[str, Any]:
    """Return the tree of a config's text.

    Args:
        text: TOML.
        file: where it comes from, for messages.

    Raises:
        BadInput: not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BadInput(f"{file.name} is not valid TOML: {problem}") from problem
    except RecursionError as problem:
        raise BadInput(f"{file.name} is nested too deeply") from problem


def read_toml(file: Path) -> dict[str, Any]:
    """Read a config file; relative paths in it count from its own folder.

    Raises:
        BadInput: missing file, or not TOML.
    """
    if not file.is_file():
        raise BadInput(f"no config file at {file}")
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise BadInput(f"{file.name} is not valid TOML: {problem}") from problem
    tree = tree_of(text, file)
    count_paths_from(file.parent, tree)
    return tree


def count_paths_from(folder: Path, tree: dict[str, Any]) -> None:
    """Make the relative paths of a config absolute, in place; which options are paths, their types say.

    Raises:
        BadInput: a text that cannot be a path.
    """

    def counted(path: str) -> str:
        return str((folder / path).resolve())

    try:
        if isinstance(tree.get("structure"), str):
            tree["structure"] = counted(tree["structure"])
        if isinstance(tree.get("image"), dict):
            tree["image"] = table_with_paths(ImageSource, tree["image"], counted)
        for section, kind in SECTIONS.items():
            given = tree.get(section)
            if isinstance(given, list):
                tree[section] = [stage_with_paths(kind, table, counted) for table in given]
            elif given is not None:
                tree[section] = stage_with_paths(kind, given, counted)
    except (OSError, RuntimeError, ValueError) as problem:  # RuntimeError: of a loop of links
        raise BadInput(f"a path in the config cannot be one: {problem}") from problem


def set_option(tree: dict[str, Any], assignment: str) -> None:
    """Apply one `dotted.key=value` to a config tree; the value is TOML, or text where it is not.

    A stage in a list is addressed by its number from 0, or by its name where only one stage of the list has it.

    Raises:
        BadInput: no '=', or a stage that is not there; the message lists those that are.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set takes dotted.key=value, got '{assignment}'")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    here: Any = tree
    for depth, step in enumerate(parents):
        here = _inside(here, step, parents[: depth + 1])
    if isinstance(here, list):
        here[_index(here, last, [*parents, last])] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise BadInput(f"--set {key.strip()}: '{'.'.join(parents)}' is a value, not a section")


def _inside(here: Any, step: str, place: list[str]) -> Any:
    if isinstance(here, list):
        number = _index(here, step, place)
        if isinstance(here[number], str) and place[0] in SECTIONS:  # a stage given by its name alone
            here[number] = {"use": here[number]}
        return here[number]
    if isinstance(here, dict):
        return here.setdefault(step, {})
    raise BadInput(f"--set {'.'.join(place)}: '{'.'.join(place[:-1])}' is a value, not a section")


def _index(here: list[Any], step: str, place: list[str]) -> int:
    """The place of one of a list, by its number or, for stages, by a name that only one of them has."""
    if step.isdecimal() and int(step) < len(here):
        return int(step)
    key = f"--set {'.'.join(place)}"
    if len(place) != 2 or place[0] not in SECTIONS:
        raise BadInput(f"{key}: there are {len(here)} of these, numbered from 0")
    names = [str(one.get("use", "")) if isinstance(one, dict) else str(one) for one in here]
    if names.count(step) == 1:
        return names.index(step)
    listed = ", ".join(f"{place[0]}.{number} is {name}" for number, name in enumerate(names))
    if not listed:
        raise BadInput(f"{key}: the config has no stage in {place[0]}")
    which = "several stages have this name" if step in names else f"there is no {place[0]}.{step}"
    raise BadInput(f"{key}: {which}; {listed}{'' if step in names else nearest(step, names)}")


def settings(tree: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every option of a tree by its dotted key, as `set_option` takes it; a list of values is one value."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from settings(value, f"{at}.{key}" if at else str(key))
    elif isinstance(tree, list | tuple) and any(isinstance(one, dict) for one in tree):
        for number, value in enumerate(tree):
            yield from settings(value, f"{at}.{number}")
    else:
        yield at, tree
