"""A verdict on every site of a structure, and on every atom that it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stem2sim.agreement.sites import (
    BONDED,
    BRIGHTER,
    DISPLACED,
    FAINTER,
    PRESENT,
    SURE,
    SURE_OF_ANYWHERE,
    Kind,
    Verdict,
)
from stem2sim.geometry.columns import label_of

if TYPE_CHECKING:
    from stem2sim.agreement.registration import Registration
    from stem2sim.agreement.scene import Scene
    from stem2sim.imaging.brightness import Brightness

FAINT = 0.6
"""Of the faintest column's height: beside a bright atom, whose tail is not the probe's alone, what is fainter is
unclear."""

PAIRED = 1.1
"""[Å]; an atom that is missing this close to one that is extra is that one, displaced."""

GLARE = 0.12
"""Of a brighter neighbour's height, what its tail may add to an atom beside it beyond the probe that all share."""

CUT = 1.5
"""[Å]; so close to the border of the image half of a peak is cut off, and its place is not known."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judge:
    """What the image shows, in heights of the commonest column, and what follows for each site."""

    scene: Scene
    registration: Registration
    brightness: Brightness
    faintest: float
    """Height of the faintest column that is known here."""

    @cached_property
    def height(self) -> Floats:
        """(peaks,) of each."""
        return self.registration.peaks.heights / self.registration.unit

    @cached_property
    def std(self) -> Floats:
        """(peaks,) its standard deviation, from the image's noise."""
        return self.registration.peaks.height_std / self.registration.unit

    @cached_property
    def expected(self) -> Floats:
        """(sites,) height that the structure calls for."""
        return np.array([self.brightness.of(label) for label in self.scene.labels])

    @cached_property
    def hidden(self) -> bool:
        """Whether noise hides single atoms, so that none can be judged."""
        count = len(self.scene.sites)
        return float(np.median(self.height[:count] / self.std[:count])) < SURE

    @cached_property
    def certain(self) -> NDArray[np.bool_]:
        """(peaks,) which are an atom for certain, even where one might be anywhere."""
        certain = (self.height - SURE_OF_ANYWHERE * self.std > 0) & (self.height > PRESENT * self.faintest)
        return np.asarray(certain & (not self.hidden))

    def shown(self, height: float) -> str:
        """Return what is as bright as this, of all columns that are known here."""
        nearest = self.brightness.nearest(height, self.scene.known)
        low, high = self.brightness.may_be(nearest)
        return BRIGHTER if height > high else FAINTER if height < low and low > PRESENT * self.faintest else nearest

    def verdicts(self, missing: NDArray[np.int64], residuals: Floats) -> tuple[Verdict, ...]:
        """Return one verdict for each site, each atom that the structure lacks, and each site that is not judged.

        Args:
            missing: numbers of the peaks that the structure lacks.
            residuals: (sites and missing,) rms of image less drawing round each.
        """
        count = len(self.scene.sites)
        sites = [self._of_site(k, float(residuals[k])) for k in range(count)]
        lacking = [self._of_missing(k, float(residuals[count + n])) for n, k in enumerate(missing.tolist())]
        return (*_paired(sites, lacking), *(self._of_beyond(*one) for one in self.scene.beyond))

    def _of_site(self, k: int, residual: float) -> Verdict:
        peaks, species = self.registration.peaks, self.scene.labels[k]
        at = self.registration.sites[k]
        off = peaks.positions[k] - at
        height, std, expected = float(self.height[k]), float(self.std[k]), float(self.expected[k])
        kind, shown = self._kind(k, float(np.hypot(*off)), self._glare(k))
        x, y = at + self.scene.crop.origin
        return Verdict(
            kind=kind, atoms=self.scene.members[k], species=species, image_shows=shown, x=float(x), y=float(y),
            dx=float(off[0]), dy=float(off[1]), std=_known(peaks.position_std[k]), height=height, height_std=std,
            expected=expected, residual=residual,
        )  # fmt: skip

    def _kind(self, k: int, far: float, glare: float) -> tuple[Kind, str]:
        """The kind of verdict on a site whose peak is so far off [Å], and what the image shows there."""
        height, std, expected = self.height[k], self.std[k], self.expected[k]
        species, error = self.scene.labels[k], float(self.registration.peaks.position_std[k])
        least = PRESENT * self.faintest
        shown = self.shown(height) if height > least else ""
        low, high = self.brightness.may_be(species)
        if self.hidden or (height > least and height - SURE * std < 0):
            return "unclear", shown
        if height < least:
            return ("extra" if height + SURE * std < expected else "unclear"), shown
        if height < FAINT * self.faintest and height + SURE * std < expected:
            return "unclear", shown
        if far > DISPLACED and far - SURE * error > 0 and self.scene.border[k] > CUT:
            return "displaced", shown
        if height - glare > high + SURE * std or height < low - SURE * std:
            return "wrong species", shown if shown != species else BRIGHTER if height > high else FAINTER
        if species not in (shown, self.shown(height - glare)) and abs(height - expected) > SURE * std:
            return "wrong species", shown
        return "explained", shown

    def _glare(self, k: int) -> float:
        """What the tails of brighter neighbours may add to the height of a site."""
        peaks, height = self.registration.peaks, float(self.height[k])
        if height <= 0:
            return 0.0
        near = np.hypot(*(peaks.positions - peaks.positions[k]).T) < BONDED
        brighter = peaks.heights[near & (peaks.heights > 2 * peaks.heights[k])]
        return float(GLARE * float(brighter.max(initial=0.0)) / peaks.heights[k] * height)

    def _of_missing(self, k: int, residual: float) -> Verdict:
        peaks, height = self.registration.peaks, float(self.height[k])
        x, y = peaks.positions[k] + self.scene.crop.origin
        return Verdict(
            kind="missing", atoms=(), species="", image_shows=self.shown(height), x=float(x), y=float(y),
            std=_known(peaks.position_std[k]), height=height, height_std=float(self.std[k]), expected=0.0,
            residual=residual,
        )  # fmt: skip

    def _of_beyond(self, members: tuple[int, ...], at: Floats) -> Verdict:
        return Verdict(
            kind="not judged", atoms=members, species=label_of(self.scene.atoms.numbers[list(members)]), image_shows="",
            x=float(at[0]), y=float(at[1]), height=0.0, height_std=0.0, expected=0.0, residual=0.0,
        )  # fmt: skip


def _known(std: float) -> float | None:
    return float(std) if np.isfinite(std) else None


def _paired(verdicts: list[Verdict], lacking: list[Verdict]) -> list[Verdict]:
    """An atom that is extra and one that is missing beside it are one that is displaced."""
    left = list(lacking)
    out = []
    for verdict in verdicts:
        if verdict.kind == "extra" and left:
            near = min(left, key=lambda other: np.hypot(other.x - verdict.x, other.y - verdict.y))
            dx, dy = near.x - verdict.x, near.y - verdict.y
            if np.hypot(dx, dy) < PAIRED:
                left.remove(near)
                displaced = {"kind": "displaced", "dx": dx, "dy": dy, "std": near.std, "image_shows": near.image_shows}
                verdict = verdict.model_copy(update=displaced)
        out.append(verdict)
    return [*out, *left]
