"""Hooks of this plugin."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from stem2sim import hookimpl

if TYPE_CHECKING:
    from stem2sim.stages import Segmenter


@hookimpl
def stem2sim_segmenters() -> list[type[Segmenter]]:
    """Offer the U-Net ensemble; listing it must not cost the time that importing what it needs takes."""
    for needed in ("safetensors", "skimage"):
        if find_spec(needed) is None:
            raise ModuleNotFoundError(f"No module named '{needed}'")
    from stem2sim_unet.unet import Unet

    return [Unet]
