"""Bonds that form and break along a trajectory, each with its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stem2sim.geometry.bonds import BETWEEN, bonding_radii, pair_kinds, through_another
from stem2sim.geometry.pairs import near_pairs

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from stem2sim.geometry.pairs import Pairs

KEPT = 1.15
"""A bond forms as `Bonds` has it, but breaks only beyond this many times the distance up to which it would form (C-C:
1.90 and 2.18 Å). With one distance for both, a bond that is stretched to about it would break and form with every
vibration; the second neighbours of graphene, at 2.46 Å, stay well outside."""


class BondEvent(BaseModel):
    """One bond that broke or formed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: float = Field(description="of the first frame after the change [fs]")
    change: Literal["broken", "formed"]
    atoms: tuple[int, int] = Field(description="their numbers, from 0, the lower first")
    kind: str = Field(description="species, such as C-Si")
    lasted: float = Field(description="time until the change was reversed, or until the end [fs]")
    to_end: bool = Field(description="whether the change was never reversed")

    def describe(self) -> str:
        """Return it in words."""
        lasted = "to the end" if self.to_end else f"for {self.lasted:g} fs"
        low, high = self.atoms
        return f"{self.kind} bond of atoms {low} and {high} {self.change} at {self.time:g} fs, {lasted}"


class Bonding:
    """The bonds of one frame after another, and the events between them.

    Two atoms are bonded or not; bonds through different borders of a small cell count as one.
    """

    def __init__(self, atoms: Atoms) -> None:
        """Start without a frame; the atoms give species and number."""
        self._numbers = atoms.numbers.copy()
        self._radii = bonding_radii(atoms)
        self._bonded = np.zeros(0, dtype=np.int64)
        self._started = False
        self.start = self._bonded
        """Codes of the bonds of the first frame."""
        self._events: list[dict[str, Any]] = []
        self._last: dict[int, int] = {}  # bond -> its last event

    def frame(self, time: float, atoms: Atoms) -> Pairs:
        """Take the next frame; return its bonds, each both ways."""
        pairs = near_pairs(atoms, KEPT * self._radii)
        i, j = pairs.i, pairs.j
        formed = np.flatnonzero(pairs.lengths < self._radii[i] + self._radii[j])
        bonded = np.zeros(len(i), dtype=bool)
        bonded[formed] = ~through_another(pairs.chosen(formed))
        codes = np.minimum(i, j) * len(atoms) + np.maximum(i, j)
        if self._started:
            kept = ~bonded & np.isin(codes, self._bonded)
            if kept.any():
                bonded |= kept & ~through_another(pairs, BETWEEN / KEPT)
        now = np.unique(codes[bonded])
        if not self._started:
            self.start, self._started = now, True
        elif not np.array_equal(now, self._bonded):
            self._changed(time, now)
        self._bonded = now
        return pairs.chosen(bonded)

    def _changed(self, time: float, now: NDArray[np.int64]) -> None:
        broken, formed = np.setdiff1d(self._bonded, now), np.setdiff1d(now, self._bonded)
        for change, codes in (("broken", broken), ("formed", formed)):
            for code in codes.tolist():
                if code in self._last:
                    undone = self._events[self._last[code]]
                    undone |= {"lasted": time - undone["time"], "to_end": False}
                self._last[code] = len(self._events)
                self._events.append({"time": time, "change": change, "code": code})

    @property
    def broken(self) -> int:
        """Bonds of the first frame that this one lacks."""
        return len(np.setdiff1d(self.start, self._bonded, assume_unique=True))

    @property
    def formed(self) -> int:
        """Bonds of this frame that the first one lacks."""
        return len(np.setdiff1d(self._bonded, self.start, assume_unique=True))

    def events(self, end: float) -> tuple[BondEvent, ...]:
        """Return what happened until the time of the last frame [fs], in order."""
        n = len(self._numbers)
        events = []
        for event in self._events:
            low, high = divmod(event["code"], n)
            events.append(
                BondEvent(
                    time=event["time"],
                    change=event["change"],
                    atoms=(low, high),
                    kind=str(pair_kinds(self._numbers[[low]], self._numbers[[high]])[0]),
                    lasted=event.get("lasted", end - event["time"]),
                    to_end=event.get("to_end", True),
                )
            )
        return tuple(events)
