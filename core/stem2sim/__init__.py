"""Turn a STEM image into an atomistic simulation of the imaged structure.

The verbs `read`, `segment`, `build`, `simulate` and `run` do what the command line does. They and the nouns are listed
in `__init__.pyi`, and imported when they are first used: `import stem2sim` imports nothing heavy.
"""

import lazy_loader
import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("stem2sim")
"""Marks the functions of a plugin that answer a hook of `stem2sim.hookspecs`."""

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
