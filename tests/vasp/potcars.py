"""Toy potentials: the form of POTCAR that ASE, pymatgen and custodian read, with invented numbers."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

VALENCES = {"H": 1, "C": 4, "N": 5, "O": 6, "Al": 3, "Si": 4, "Cr": 6, "Cu": 11}
MASSES = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "Al": 26.982, "Si": 28.085, "Cr": 51.996, "Cu": 63.546}


def toy_potential(element: str, setup: str = "") -> str:
    """Return one dataset, such as that of `C` or of `Cr` with the setup `_pv`."""
    title = f"PAW_PBE {element}{setup} 01Jan1970"
    return (
        f"  {title}\n"
        f" {VALENCES[element]:.8f}\n"
        " parameters from PSCTR are:\n"
        "   comment: TOY potential with invented numbers, for tests only\n"
        f"   VRHFIN ={element}: TOY\n"
        "   LEXCH  = PE\n"
        f"   TITEL  = {title}\n"
        f"   POMASS = {MASSES[element]:8.3f}; ZVAL   = {VALENCES[element]:8.3f}    mass and valenz\n"
        "   ENMAX  =  400.000; ENMIN  =  300.000 eV\n"
        " END of PSCTR-controll parameters\n"
        " local part\n"
        "  1.0000000  2.0000000  3.0000000\n"
        " End of Dataset\n"
    )


def write_potcar(path: Path, elements: Sequence[str]) -> None:
    """Write a POTCAR of several elements in this order."""
    path.write_text("".join(toy_potential(element) for element in elements))


def write_potential(folder: Path, element: str, setup: str = "", layout: Literal["ase", "pymatgen"] = "ase") -> Path:
    """Write one potential into a library laid out as ASE or as pymatgen expects it, and return its path."""
    text = toy_potential(element, setup)
    if layout == "ase":
        path = folder / "potpaw_PBE" / f"{element}{setup}" / "POTCAR"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
    path = folder / "POT_GGA_PAW_PBE" / f"POTCAR.{element}{setup}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path
