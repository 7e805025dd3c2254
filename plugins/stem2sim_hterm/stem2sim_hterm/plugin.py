"""Hooks of this plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim import hookimpl

if TYPE_CHECKING:
    from stem2sim.stages import Builder


@hookimpl
def stem2sim_builders() -> list[type[Builder]]:
    """Offer place, patch and hterm."""
    from stem2sim_hterm.hterm import Hterm
    from stem2sim_hterm.patch import Patch
    from stem2sim_hterm.place import Place

    return [Place, Patch, Hterm]
