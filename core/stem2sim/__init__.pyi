import pluggy

from .atoms_table import AtomsTable
from .errors import BadInput, NotRun, OutOfTime, StageFailed
from .image import Image
from .runs.run import Run
from .segmentation import Segmentation
from .simulation import SimulationResult
from .structure import Structure
from .verbs import build, build_all, read, run, segment, simulate, simulate_all

__version__: str
hookimpl: pluggy.HookimplMarker

__all__ = [
    "AtomsTable",
    "BadInput",
    "Image",
    "NotRun",
    "OutOfTime",
    "Run",
    "Segmentation",
    "SimulationResult",
    "StageFailed",
    "Structure",
    "build",
    "build_all",
    "hookimpl",
    "read",
    "run",
    "segment",
    "simulate",
    "simulate_all",
]
