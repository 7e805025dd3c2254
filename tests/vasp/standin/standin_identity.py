"""What the stand-in calls itself, and how it says no."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass

LABEL = "STAND-IN"

ENGINES = {
    "tblite": "GFN1-xTB by tblite",
    "emt": "EMT by ASE",
    "lj": "Lennard-Jones by ASE",
    "springs": "Morse springs",
}


class Refused(Exception):
    """The input is such that VASP would not start."""


@dataclass(frozen=True)
class Identity:
    """The VASP that is imitated and the engine that computes in its place."""

    flavour: int
    engine: str

    @property
    def version(self) -> str:
        return "6.4.2" if self.flavour == 6 else "5.4.4.18Apr17"

    @property
    def subversion(self) -> str:
        build = f"(build {LABEL}, not VASP: {ENGINES[self.engine]}) complex"
        return f"20Jul23 {build}" if self.flavour == 6 else build

    @property
    def banner(self) -> str:
        """The first line of OUTCAR and of the standard output."""
        return f" vasp.{self.version} {self.subversion}"


def identity_of_environment() -> Identity:
    """Return what the environment asks for."""
    flavour = os.environ.get("VASP_STANDIN_FLAVOUR", "6")
    engine = os.environ.get("VASP_STANDIN_ENGINE", "tblite")
    if flavour not in ("5", "6") or engine not in ENGINES:
        raise SystemExit(f"{LABEL}: no flavour {flavour!r} or no engine {engine!r}; there are 5, 6 and {list(ENGINES)}")
    return Identity(int(flavour), engine)


def labelled(comment: str) -> str:
    """Return a comment of at most 40 characters that ends with the label, once however often it is continued."""
    text = comment.strip().removesuffix(LABEL).strip()
    return f"{text[: 39 - len(LABEL)].rstrip()} {LABEL}"


def box(title: list[str], message: str, ending: str = "") -> str:
    """Return a message framed as VASP 6 frames its warnings and errors."""
    rule = " " + "-" * 77
    empty = "|" + " " * 77 + "|"
    lines = [f"|{line:^77s}|" for line in title]
    lines += [empty, *(f"|     {line:<72s}|" for line in textwrap.wrap(message, 69)), empty]
    if ending:
        lines += [f"|{ending:^77s}|", empty]
    return "\n".join([rule, empty, *lines, rule])


def refusal(message: str, flavour: int) -> str:
    """Return how a flavour says that it will not run."""
    if flavour == 5:
        return f" {message}\n I REFUSE TO CONTINUE WITH THIS SICK JOB ..., BYE!!!"
    ending = "---->  I REFUSE TO CONTINUE WITH THIS SICK JOB ... BYE!!! <----"
    return box(["EEEEEEE  RRRRRR   RRRRRR   OOOOOOO  RRRRRR      ###     ###     ###"], message, ending)


def warning(message: str) -> str:
    """Return a warning as VASP 6 prints it."""
    return box(["W    W    AA    RRRRR   N    N  II  N    N   GGGG   !!!"], message)
