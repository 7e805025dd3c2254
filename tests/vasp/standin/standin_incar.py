"""INCAR, and what VASP makes of the tags that are not in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from standin_identity import Refused

Value = bool | int | float | str | list[float]

INTEGERS: dict[str, int | None] = {
    "NELM": 60, "NELMIN": 2, "NSW": 0, "IBRION": None, "ISIF": 2, "ISPIN": 1, "ISMEAR": 1, "ISYM": 2, "ISTART": None,
    "ICHARG": None, "MDALGO": 0, "NBLOCK": 1, "KBLOCK": None, "NWRITE": 2, "LORBIT": 0, "IVDW": 0, "KPAR": 1,
    "NCORE": 1, "NPAR": None, "NSIM": 4, "MAXMIX": -45,
}  # fmt: skip
REALS: dict[str, float | None] = {
    "EDIFF": 1e-4, "EDIFFG": None, "ENCUT": None, "POTIM": 0.5, "SMASS": -3.0, "TEBEG": 0.0, "TEEND": None,
    "SIGMA": 0.2, "PSTRESS": 0.0, "NELECT": None, "NUPDOWN": -1.0, "KSPACING": None, "AMIN": 0.1, "AMIX": 0.4,
    "BMIX": 1.0,
}  # fmt: skip
TEXTS = {"ALGO": "Normal", "PREC": "Normal", "GGA": "--", "LREAL": ".FALSE.", "SYSTEM": "unknown system"}
FLAGS = {
    "LWAVE": True, "LCHARG": True, "KGAMMA": True, "LASPH": False, "ADDGRID": False, "LPLANE": True,
    "LSTOP": False, "LABORT": False,
}  # fmt: skip
LISTS = ("MAGMOM", "LANGEVIN_GAMMA", "RANDOM_SEED")


def read_tags(path: Path) -> dict[str, Value]:
    """Return the tags of a file that is written like INCAR; of a tag given twice VASP takes the first."""
    tags: dict[str, Value] = {}
    text = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
    for line in text.splitlines():
        for part in re.split(r"[!#]", line)[0].split(";"):
            name, equals, value = part.partition("=")
            name = name.strip().upper()
            if equals and name and name not in tags:
                tags[name] = _value(name, value.strip())
    return tags


def _value(name: str, text: str) -> Value:
    try:
        if name in FLAGS:
            return _flag(text)
        if name in INTEGERS:
            return int(text.split()[0])
        if name in REALS:
            return _real(text.split()[0])
        if name in LISTS:
            return _numbers(text)
    except (ValueError, IndexError):
        raise Refused(f"Error reading item {name} from file INCAR.  Error code was IERR= 5 ... .") from None
    return text


def _flag(text: str) -> bool:
    letter = text.lstrip(".")[:1].upper()
    if letter not in ("T", "F"):
        raise ValueError(text)
    return letter == "T"


def _real(text: str) -> float:
    return float(text.upper().replace("D", "E"))


def _numbers(text: str) -> list[float]:
    numbers: list[float] = []
    for word in text.split():
        count, _, value = word.rpartition("*")
        numbers += [_real(value)] * (int(count) if count else 1)
    return numbers


@dataclass(frozen=True)
class Settings:
    """The tags with VASP's defaults for those that were not given; `given` is what was."""

    given: dict[str, Value]
    values: dict[str, Value]

    def integer(self, tag: str) -> int:
        value = self.values[tag]
        assert isinstance(value, int)
        return value

    def real(self, tag: str) -> float:
        value = self.values[tag]
        assert isinstance(value, float)
        return value

    def text(self, tag: str) -> str:
        return str(self.values[tag])

    def flag(self, tag: str) -> bool:
        return bool(self.values[tag])

    def numbers(self, tag: str) -> list[float]:
        value = self.given.get(tag, [])
        assert isinstance(value, list)
        return value


def settle(given: dict[str, Value], cutoff: float, electrons: float) -> Settings:
    """Return the settings of a run.

    Args:
        given: The tags of INCAR.
        cutoff: The largest ENMAX of the potentials [eV].
        electrons: The number of valence electrons of the neutral atoms.
    """
    values: dict[str, Value] = {k: v for k, v in (INTEGERS | REALS | TEXTS | FLAGS).items() if v is not None}
    values |= given
    still = values["NSW"] in (-1, 0)
    values.setdefault("IBRION", -1 if still else 0)
    dynamics = values["IBRION"] == 0 and not still
    if dynamics and "POTIM" not in given:
        raise Refused("ERROR: IBRION=0, but POTIM is not set in the INCAR file: for molecular dynamics it must be.")
    if dynamics and "ISIF" not in given:
        values["ISIF"] = 0
    wavefunctions = Path("WAVECAR")
    values.setdefault("ISTART", int(wavefunctions.exists() and wavefunctions.stat().st_size > 0))
    values.setdefault("ICHARG", 0 if values["ISTART"] else 2)
    values.setdefault("EDIFFG", 10 * float(values["EDIFF"]))  # type: ignore[arg-type]
    values.setdefault("TEEND", values["TEBEG"])
    values.setdefault("ENCUT", cutoff)
    values.setdefault("NELECT", electrons)
    values.setdefault("KBLOCK", max(int(values["NSW"]), 1))  # type: ignore[arg-type]
    return Settings(given, values)
