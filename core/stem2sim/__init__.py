"""Turn a STEM image into an atomistic simulation of the imaged structure."""

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("stem2sim")
"""Marks the functions of a plugin that answer a hook of `stem2sim.hookspecs`."""
