"""What VASP writes while it runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from stem2sim_vasp import folder as contract
from stem2sim_vasp.vasprun import VASPRUN, Vasprun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stem2sim_vasp.ionic import Ionic

LONGEST_PAUSE = 0.5
"""Seconds between two looks at what VASP writes."""


class GrowingOutput:
    """The files of a running VASP."""

    def __init__(self, folder: Path) -> None:
        """Start at the beginning of the files, which may come later."""
        self._folder = folder
        self._vasprun = Vasprun(folder / VASPRUN)
        self._sizes: dict[str, int] = {}
        self._grown = self._stepped = time.monotonic()
        self.count = 0
        """Steps of this part that are complete."""
        self.longest = 0.0
        """Time of the longest step [s]."""

    def poll(self, is_running: Callable[[], bool]) -> Iterator[bool]:
        """Yield whether it runs, at short intervals, and once more after its end."""
        pause = 0.02
        while True:
            alive = is_running()
            yield alive
            if not alive:
                return
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)

    def new_steps(self) -> Iterator[Ionic]:
        """Yield the steps that have become complete."""
        for step in self._vasprun.more():
            now = time.monotonic()
            self.longest, self._stepped = max(self.longest, now - self._stepped), now
            self.count += 1
            contract.keep_contcar(self._folder, len(step.positions))
            yield step

    def silence(self) -> float:
        """Return for how long nothing has been written [s]."""
        files = [self._folder / name for name in contract.OUTPUTS if name != contract.KEPT]
        sizes = {file.name: file.stat().st_size for file in files if file.is_file()}
        if sizes != self._sizes:
            self._sizes, self._grown = sizes, time.monotonic()
        return time.monotonic() - self._grown
