"""Hooks of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim import hookimpl

if TYPE_CHECKING:
    from stem2sim.stages import Builder


@hookimpl
def stem2sim_builders() -> list[type[Builder]]:
    """Offer what makes a structure of measured atoms."""
    from stem2sim_hterm.adsorb import Adsorb
    from stem2sim_hterm.calibrate import Calibrate
    from stem2sim_hterm.cell import Cell
    from stem2sim_hterm.constrain import Constrain
    from stem2sim_hterm.hterm import Hterm
    from stem2sim_hterm.patch import Patch
    from stem2sim_hterm.periodic import Periodic
    from stem2sim_hterm.place import Place
    from stem2sim_hterm.repair import Drop, Fill, Merge
    from stem2sim_hterm.ripple import Ripple
    from stem2sim_hterm.sample import Sample

    return [
        Place, Calibrate, Merge, Drop, Fill, Patch, Sample, Periodic, Hterm, Cell, Adsorb, Ripple, Constrain,
    ]  # fmt: skip
