"""INCAR: common tags, how tags are written and read, and which do not exist."""

from __future__ import annotations

import math
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

from stem2sim.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value = bool | int | float | str | tuple[float, ...]
Tags = dict[str, Value]

COMMON: Tags = {
    "GGA": "PE",
    "PREC": "Accurate",
    "EDIFF": 1e-6,
    "ISMEAR": 0,
    "SIGMA": 0.05,
    "ISYM": 0,
    "ALGO": "Normal",
    "NELM": 100,
    "NELMIN": 5,
    "LREAL": False,
    "LASPH": True,
    "LWAVE": False,
    "LCHARG": False,
    "NWRITE": 2,
}
"""Of every task. PBE is the paper's; smearing, EDIFF, PREC and symmetry, which it does not state, are our choice."""

CHEAPER: Tags = {
    "PREC": "Normal",
    "ALGO": "Fast",
    "LREAL": "Auto",
    "EDIFF": 1e-5,
    "NELMIN": 4,
    "MAXMIX": 40,
}
"""For thousands of steps of dynamics: still well below the forces that heat makes."""

LONG_CELL = 50.0
"""[Å]; beyond it VASP recommends a smaller AMIN (https://www.vasp.at/wiki/index.php/AMIN)."""

RECENT = {"NHC_NCHAINS", "NHC_PERIOD", "NHC_NRESPA", "NHC_NS", "CSVR_PERIOD", "ML_LMLFF", "ML_MODE", "KGAMMA"}
"""Tags newer than ASE's lists."""

PHYSICS = ("GGA", "ENCUT", "ISPIN", "IVDW", "IBRION", "ISIF", "POTIM", "TEBEG", "TEEND", "MDALGO", "SMASS", "NELECT",
           "EDIFFG", "NBLOCK", "NUPDOWN")  # fmt: skip
"""Tags that define what is computed: only the user changes them."""


def written(tags: Mapping[str, Value]) -> str:
    """Return the text of an INCAR."""
    return "".join(f"{tag} = {_text(value)}\n" for tag, value in tags.items())


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    if isinstance(value, float):
        return f"{value:.10G}"
    if isinstance(value, tuple | list):  # many times the same: 56*0
        runs = [(len(list(run)), number) for number, run in groupby(value)]
        return " ".join(f"{count}*{number:g}" if count > 1 else f"{number:g}" for count, number in runs)
    return str(value)


def read(text: str) -> dict[str, str]:
    """Return the tags of an INCAR as they stand there; of a tag given twice VASP takes the first."""
    tags: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        for part in line.partition("#")[0].partition("!")[0].split(";"):
            tag, equals, value = part.partition("=")
            if equals:
                tags.setdefault(tag.strip().upper(), value.strip())
    return tags


def with_value(text: str, tag: str, value: Value) -> str:
    """Return the text of an INCAR with one tag changed."""
    lines = [line for line in text.splitlines() if line.partition("=")[0].strip().upper() != tag]
    return "\n".join([*lines, f"{tag} = {_text(value)}"]) + "\n"


@cache
def existing_tags() -> frozenset[str]:
    """Return the names of the tags that exist, from ASE's lists and ours."""
    from ase.calculators.vasp import create_input

    lists = ("bool_keys", "exp_keys", "float_keys", "int_keys", "list_bool_keys", "list_float_keys", "list_int_keys",
             "string_keys", "special_keys", "dict_keys")  # fmt: skip
    return frozenset(key.upper() for name in lists for key in getattr(create_input, name)) | RECENT


def unknown_tags(tags: Sequence[str]) -> list[str]:
    """Return a warning for each tag that does not exist, with the nearest that does."""
    return [
        f"INCAR: {tag} is not a known tag of VASP{nearest(tag, sorted(existing_tags()))}"
        for tag in tags
        if tag not in existing_tags()
    ]


def same(requested: Value, echoed: Any) -> bool:
    """Return whether VASP understood a value as it was requested."""
    if isinstance(requested, bool):
        return str(echoed).strip(". ").upper().startswith("T" if requested else "F")
    if isinstance(requested, int | float):
        try:  # vasprun.xml has eight digits behind the point
            return math.isclose(float(requested), float(echoed), rel_tol=1e-4, abs_tol=5e-9)
        except (TypeError, ValueError):
            return False
    if isinstance(requested, tuple | list):
        try:
            return len(requested) == len(echoed) and all(same(a, e) for a, e in zip(requested, echoed, strict=True))
        except TypeError:
            return False
    # VASP knows words by their first letters, and may echo no more of them
    mine, theirs = str(requested).strip(" .").upper(), str(echoed).strip(" .").upper()
    return bool(mine and theirs) and (mine.startswith(theirs) or theirs.startswith(mine))


def parsed(text: str) -> Value:
    """Return the number or truth value that a text stands for, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    truth = {".TRUE.": True, "T": True, ".FALSE.": False, "F": False}
    return truth.get(text.strip().upper(), text)
