"""Input of DFTB+: a tree to HSD, its human-friendly structured data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARSER_VERSION = 14
"""Of releases 24.1 and 25.1; keywords mean what they mean in that version."""


class Words(list[str]):
    """Texts beside each other, each in quotes."""


class HsdBlock(NamedTuple):
    """A value with a name: `GeometryOptimisation { ... }`."""

    name: str
    content: Mapping[str, Any]


class Rows(NamedTuple):
    """Numbers in rows, written in full precision."""

    values: NDArray[Any]


def dumps(tree: Mapping[str, Any], depth: int = 0) -> str:
    """Return a tree as HSD text.

    Keys carry their unit: `"TimeStep [fs]"`. Values are texts, `Words`, numbers, truth values, lists of numbers, `Rows`
    (without a name where the key is empty), a `HsdBlock`, or another tree.
    """
    lines = []
    pad = "  " * depth
    for key, value in tree.items():
        if isinstance(value, HsdBlock):
            lines.append(f"{pad}{key} = {value.name} {{\n{dumps(value.content, depth + 1)}{pad}}}")
        elif isinstance(value, Rows):
            head = f"{key} = {{\n" if key else ""
            rows = "\n".join(pad + "  " + " ".join(_number(v) for v in row) for row in value.values)
            lines.append(f"{pad}{head}{rows}\n{pad}}}" if key else rows)
        elif isinstance(value, Mapping):
            lines.append(f"{pad}{key} {{\n{dumps(value, depth + 1)}{pad}}}")
        else:
            lines.append(f"{pad}{key} = {_plain(value)}")
    return "\n".join(lines) + "\n" if lines else ""


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, str):
        if any(c in value for c in '"\n{}'):
            raise ValueError(f"HSD cannot hold the text {value!r}")
        return f'"{value}"'
    if isinstance(value, Words):
        return " ".join(_plain(word) for word in value)
    if isinstance(value, Sequence):
        return " ".join(_number(v) for v in value)
    return _number(value)


def _number(value: Any) -> str:
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(int(value))
