"""POTCAR: where the potentials of an element are, what they state of themselves, and their order."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ase.config import cfg

from stem2sim.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

POTCAR, SPEC = "POTCAR", "POTCAR.spec"

VERSIONS = ("", "52", "54", "64")
"""Of the PBE sets; '' is the folder without a number."""


@dataclass(frozen=True)
class PawPotential:
    """The potential of one element."""

    element: str
    title: str
    """TITEL: functional, name, date."""
    valence: float
    """Valence electrons."""
    cutoff: float
    """ENMAX: the cut-off energy it was made for [eV]."""
    digest: str
    """sha256 of the whole."""
    functional: str = ""
    """LEXCH: PE for PBE."""

    def describe(self) -> str:
        """Return what is recorded of it; the potential itself is licensed and is not copied."""
        return f"{self.title} (sha256 {self.digest[:16]})"


Entry = tuple[PawPotential, bytes]
"""A potential with its text."""


def folders(folder: Path | None) -> list[Path]:
    """Return the folders that may hold potentials: this one, else those that ASE and pymatgen are configured with."""
    if folder is not None:
        return [Path(os.path.expanduser(folder))]
    configured = [cfg.get("VASP_PP_PATH"), os.environ.get("PMG_VASP_PSP_DIR")]
    for name in (".config/.pmgrc.yaml", ".pmgrc.yaml"):
        file = Path.home() / name
        if file.is_file():
            line = re.search(r"^PMG_VASP_PSP_DIR\s*:\s*(.+?)\s*$", file.read_text(encoding="utf-8"), re.MULTILINE)
            configured.append(line[1].strip("'\"") if line else None)
    return [Path(os.path.expanduser(path)) for path in configured if path]


def read(element: str, setup: str, folder: Path | None, version: str) -> Entry | None:
    """Return the potential of an element with its text; None where there is none.

    Args:
        element: symbol.
        setup: suffix of the potential's name, such as `_pv`.
        folder: to look in; None for those that ASE and pymatgen are configured with.
        version: of the PBE set, one of `VERSIONS`.

    Raises:
        BadInput: a folder that does not exist, a file that is not a potential of that element.
    """
    if folder is not None and not folders(folder)[0].is_dir():
        raise BadInput(f"no folder of potentials at {folder}")
    for path in _candidates(element + setup, folders(folder), version):
        if path.is_file():
            return _parsed(path, element, path.stat().st_mtime), _bytes(path)
    return None


def _candidates(name: str, roots: Sequence[Path], version: str) -> Iterator[Path]:
    """ASE's layout, pymatgen's, and a folder of potentials itself."""
    number = f".{version}" if version else ""
    suffix = f"_{version}" if version else ""
    for root in roots:
        for folder in (
            root / f"potpaw_PBE{number}",
            root / ("POT_PAW_PBE_64" if version == "64" else f"POT_GGA_PAW_PBE{suffix}"),
            root / f"POTPAW_PBE{suffix}",
            root,
        ):
            for file in (folder / name / POTCAR, folder / f"{POTCAR}.{name}"):
                yield from (file, file.with_name(file.name + ".gz"), file.with_name(file.name + ".Z"))


def _bytes(path: Path) -> bytes:
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".Z":  # of compress; Python has no reader for it, gzip has
        program = shutil.which("gzip")
        if program is None:
            raise BadInput(f"{path} needs gzip, which is not on PATH; unpack it by hand")
        return subprocess.run([program, "-dc", str(path)], capture_output=True, check=True).stdout
    return path.read_bytes()


@cache
def _parsed(path: Path, element: str, changed: float) -> PawPotential:
    text = _bytes(path)
    potentials = listed(text.decode("latin-1"))
    if len(potentials) != 1 or potentials[0].element != element:
        names = ", ".join(potential.title for potential in potentials) or "none"
        raise BadInput(f"{path} should hold one potential, of {element}; it holds {names}")
    return PawPotential(**{**vars(potentials[0]), "digest": sha256(text).hexdigest()})


def listed(text: str) -> list[PawPotential]:
    """Return the potentials that a POTCAR lists, in its order."""
    titles = re.findall(r"TITEL\s*=\s*(\S.*?)\s*$", text, re.MULTILINE)
    valence = [float(v) for v in re.findall(r"ZVAL\s*=\s*([\d.]+)", text)]
    cutoffs = [float(v) for v in re.findall(r"ENMAX\s*=\s*([\d.]+)", text)]
    functionals = re.findall(r"LEXCH\s*=\s*(\S+)", text)
    parts = [part + "End of Dataset\n" for part in re.split(r"End of Dataset[^\n]*\n?", text)]
    potentials = []
    for k, title in enumerate(titles):
        words = title.split()
        name = words[1] if len(words) > 1 else words[0]
        digest = sha256(parts[k].encode("latin-1")).hexdigest() if k < len(parts) else ""
        potentials.append(
            PawPotential(
                re.split(r"[_.]", name)[0],
                title,
                valence[k] if k < len(valence) else 0.0,
                cutoffs[k] if k < len(cutoffs) else 0.0,
                digest,
                functionals[k] if k < len(functionals) else "",
            )
        )
    return potentials


def check_order(folder: Path, elements: Sequence[str]) -> None:
    """Raise BadInput unless the POTCAR of a folder has the elements of its POSCAR, in that order."""
    file = folder / POTCAR
    if not file.is_file():
        raise BadInput(
            f"{folder} has no {POTCAR}: set potentials = '/folder', or put one together as {SPEC} lists it; "
            "--prepare-only writes the rest without it"
        )
    there = [potential.element for potential in listed(file.read_text(encoding="latin-1"))]
    if there != list(elements):
        raise BadInput(
            f"{file} has potentials of {' '.join(there) or 'nothing'}, but the POSCAR beside it has "
            f"{' '.join(elements)}: VASP would take one element for another; put them in this order"
        )
