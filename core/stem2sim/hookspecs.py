"""The three hooks of a plugin. Each returns classes: hooks say what is on offer, the config chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stem2sim.stages import Builder, Segmenter, Simulator

hookspec = pluggy.HookspecMarker("stem2sim")


@hookspec
def stem2sim_segmenters() -> Iterable[type[Segmenter]]:
    """Return the segmenters of this plugin."""
    return ()


@hookspec
def stem2sim_builders() -> Iterable[type[Builder]]:
    """Return the structure builders of this plugin."""
    return ()


@hookspec
def stem2sim_simulators() -> Iterable[type[Simulator]]:
    """Return the simulators of this plugin, engines among them."""
    return ()
