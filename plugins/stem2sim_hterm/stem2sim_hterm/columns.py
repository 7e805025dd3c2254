"""Columns of several atoms along the beam, which appear as one spot in an image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stem2sim.errors import BadInput
from stem2sim.structure import ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

SEPARATIONS = {"S2": 3.13, "Se2": 3.34, "Te2": 3.61}
"""[Å]; chalcogens above each other in monolayers of MoS2, MoSe2 and MoTe2, by PBE (Haastrup et al., 2D Mater. 5,
042002, 2018)."""

ALIKE = 0.3
"""[Å]; atoms nearer than this in the plane stand above each other."""


class Standing(NamedTuple):
    """The atoms of some columns."""

    column: NDArray[np.int64]
    """(atoms,) number of the column of each."""
    symbols: list[str]
    z: NDArray[np.float64]
    """(atoms,) from the middle of the sheet [Å]; above is towards larger z."""


def standing(species: Sequence[str], kinds: Collection[str], separations: Mapping[str, float]) -> Standing:
    """Return the atoms of columns: `S2` is two sulphur atoms above each other.

    Args:
        species: of each column.
        kinds: species that the material has. A lone S where it has S2 is taken for the upper one of such a pair: an
            image does not show which of the two is missing.
        separations: column -> distance of its atoms [Å], besides the known ones.

    Raises:
        BadInput: a column whose distance is not known, or of no known element.
    """
    known = {**SEPARATIONS, **separations}
    several = {name: _atoms_in(name) for name in {*species, *kinds} if name not in ELEMENTS}
    unknown = sorted(name for name in several if name not in known)
    if unknown:
        raise BadInput(
            f"{', '.join(unknown)}: a column of several atoms, whose heights an image does not show; give their "
            f"distance, such as columns = {{ {unknown[0]} = 3.1 }} [Å]"
        )
    pairs = {element: known[name] for name, (element, count) in several.items() if count == 2}
    heights = {name: (np.arange(count) - (count - 1) / 2) * known[name] for name, (_, count) in several.items()}
    column, symbols, z = [], [], []
    for number, name in enumerate(species):
        at = heights.get(name, [pairs[name] / 2 if name in pairs else 0.0])
        column += [number] * len(at)
        symbols += [several[name][0] if name in several else name] * len(at)
        z += list(at)
    return Standing(np.array(column, dtype=np.int64), symbols, np.array(z, dtype=float))


def _atoms_in(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"([A-Z][a-z]?)([2-9])", name)
    if match is None or match[1] not in ELEMENTS:
        raise BadInput(f"'{name}' is neither an element nor a column of one; write Si, or S2 for two sulphur atoms")
    return match[1], int(match[2])
