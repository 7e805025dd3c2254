"""What a config needs, what of it is there, and what would fix the rest."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from typing import TYPE_CHECKING, Literal

from stem2sim import __version__
from stem2sim.config.defaults import ELEMENTS
from stem2sim.errors import BadInput
from stem2sim.imaging.readers import described
from stem2sim.registry import installed
from stem2sim.stages import Check
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from stem2sim.config.config import Config
    from stem2sim.imaging.readers import ImageSource
    from stem2sim.runs.run import Run

LEAST_DISK = 2.0
"""[GB]; a trajectory of the paper's frame takes 0.5 GB for 10 ps kept every 5 fs."""


def checks_of(config: Config, elements: Sequence[str], folder: Path) -> Iterator[Check]:
    """Yield what is there and what is missing: on this machine, and for every stage of the config.

    Args:
        config: whose stages count.
        elements: that the structures have, or will have.
        folder: where the run would write.
    """
    yield from machine(folder)
    yield Check("elements", "ok", ", ".join(elements))
    stages = [config.segment, *config.build, *config.simulate]
    known = set()
    for stage in stages:
        if stage is None:
            continue
        version = Check(stage.name, "ok", f"{stage.kind}, {stage.distribution()}")
        try:
            checks = [version, *stage.diagnose(elements)]
        except Exception as problem:  # foreign code: what it raises is a finding too
            checks = [version, Check(stage.name, "missing", f"{type(problem).__name__}: {problem}")]
        for check in checks:
            if check not in known:
                known.add(check)
                yield check


def image_check(source: ImageSource, needed: bool) -> Check:
    """Return whether an image can be read, and its pixel size.

    Args:
        source: the image.
        needed: False for a run whose atoms may have been located already.
    """
    try:
        image = source.read()
    except BadInput as problem:
        return Check("image", "missing" if needed else "note", str(problem))
    return Check("image", "ok", described(image))


def machine(folder: Path) -> Iterator[Check]:
    """Yield what holds for every config."""
    yield Check("stem2sim", "ok", f"{__version__}, Python {platform.python_version()}")
    for broken in installed().broken:
        yield Check("plugins", "missing", str(broken), f"pip install --force-reinstall {broken.distribution}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.split(",")[0].isdigit() and int(threads.split(",")[0]) > cores:
        yield Check("threads", "note", f"OMP_NUM_THREADS={threads} on {cores} cores", f"export OMP_NUM_THREADS={cores}")
    else:
        yield Check("threads", "ok", f"{cores} cores, OMP_NUM_THREADS {threads or 'not set; all cores used'}")
    there = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    state: Literal["ok", "note"] = "ok" if free > LEAST_DISK else "note"
    fix = "" if state == "ok" else "choose another --out, or free disk space"
    yield Check("disk", state, f"{free:.1f} GB free at {there}", fix)
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    if stack != resource.RLIM_INFINITY:
        yield Check(
            "stack", "note", f"{stack / 1e6:.0f} MB; compiled engines may need more for thousands of atoms",
            "ulimit -s unlimited",
        )  # fmt: skip


def elements_of(config: Config, run: Run | None) -> list[str]:
    """Return the elements of a run's structures, or of its start, and those that builders add; else the usual ones."""
    structures = list(run.structures.values()) if run is not None else []
    if config.structure is not None:
        structures.append(Structure.read(config.structure))
    found = {symbol for structure in structures for symbol in structure.atoms.get_chemical_symbols()}
    found |= {element for builder in config.build for element in builder.elements()}
    if not structures:
        found |= set(ELEMENTS)
    return sorted(found)
