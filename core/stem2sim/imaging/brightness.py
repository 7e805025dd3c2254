"""How bright columns of atoms are in a frame, against the commonest one, and what a brightness may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stem2sim.geometry.columns import contents
from stem2sim.imaging.forward import Probe

if TYPE_CHECKING:
    from collections.abc import Iterable

USUAL = Probe().scattering_exponent
"""Of Z in the height of a peak."""

EXPONENTS = (1.3, 2.2)
"""It may be: annular detectors stay within (see `forward`)."""

SCATTER = (0.6, 1.6)
"""Of the expected height, what peaks of one species may have: carbon in real frames keeps within 0.65 to 1.5."""

SEVERAL = 3
"""Peaks of other species that it takes to read the exponent off a frame: fewer would be judged by themselves."""


@dataclass(frozen=True)
class Brightness:
    """Heights of peaks in those of the commonest column."""

    host: str
    """The commonest column, such as C or S2."""
    exponent: float = USUAL
    """Of Z."""

    def of(self, label: str) -> float:
        """Return the height that a column has."""
        return self._of(label, self.exponent)

    def may_be(self, label: str) -> tuple[float, float]:
        """Return the least and the largest height that passes for a column, whatever the detector."""
        heights = [self._of(label, exponent) for exponent in EXPONENTS]
        return SCATTER[0] * min(heights), SCATTER[1] * max(heights)

    def nearest(self, height: float, labels: Iterable[str]) -> str:
        """Return the column whose height is nearest, on the scale of ratios."""
        return min(labels, key=lambda label: abs(np.log(max(height, 1e-6) / self.of(label))))

    def read_off(self, labels: Iterable[str], heights: Iterable[float]) -> float | None:
        """Return the exponent that peaks of other species call for; None where there are too few of them."""
        found = []
        for label, height in zip(labels, heights, strict=True):
            numbers = contents(label)
            if numbers and label != self.host and height > 0:
                # of a column of equal atoms; one of several kinds says nothing simple
                own, host = (np.mean(one) for one in (numbers, contents(self.host)))
                count = len(numbers) / len(contents(self.host))
                if len(set(numbers)) == 1 and abs(np.log(own / host)) > 0.1:
                    found.append(np.log(height / count) / np.log(own / host))
        return float(np.clip(np.median(found), *EXPONENTS)) if len(found) >= SEVERAL else None

    def _of(self, label: str, exponent: float) -> float:
        own, host = (sum(z**exponent for z in contents(one)) for one in (label, self.host))
        return float(own / host)
