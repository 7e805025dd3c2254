"""What a config needs, what of it is there, and what mends the rest."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from typing import TYPE_CHECKING, Literal

from stem2sim import __version__
from stem2sim.registry import installed
from stem2sim.stages import Check
from stem2sim.structure import ELEMENTS, Structure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from stem2sim.config.config import Config

USUAL = ("C", "H", "Si")
"""Elements of the reference case: what is looked at where a config does not tell yet which there will be."""

LEAST_DISK = 2.0
"""[GB]; a trajectory of the paper's frame takes 0.5 GB for 10 ps kept every 5 fs."""


def examine(config: Config, elements: Sequence[str], folder: Path) -> Iterator[Check]:
    """Yield what was looked at: this machine, and every stage of the config.

    Args:
        config: whose stages count.
        elements: that the structures have, or will have.
        folder: where the run would write.
    """
    yield from machine(folder)
    yield Check("elements", "ok", ", ".join(elements))
    stages = [config.segment, *config.build, *config.simulate]
    seen = set()
    for stage in stages:
        if stage is None:
            continue
        version = Check(stage.name, "ok", f"{stage.kind}, {stage.distribution()}")
        try:
            found = [version, *stage.diagnose(elements)]
        except Exception as problem:  # foreign code: what it raises is a finding too
            found = [version, Check(stage.name, "missing", f"{type(problem).__name__}: {problem}")]
        for check in found:
            if check not in seen:
                seen.add(check)
                yield check


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
        yield Check("threads", "ok", f"{cores} cores, OMP_NUM_THREADS {threads or 'not set: all of them'}")
    there = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    state: Literal["ok", "note"] = "ok" if free > LEAST_DISK else "note"
    fix = "" if state == "ok" else "choose another --out, or free some room"
    yield Check("disk", state, f"{free:.1f} GB free at {there}", fix)
    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    if stack != resource.RLIM_INFINITY:
        yield Check(
            "stack", "note", f"{stack / 1e6:.0f} MB; thousands of atoms may need more in compiled engines",
            "ulimit -s unlimited",
        )  # fmt: skip


def elements_of(config: Config, folder: Path | None) -> list[str]:
    """Return the elements of the structures in a run folder, or of the start and the ad-atoms; else the usual ones."""
    from stem2sim.run.folder import RunFolder

    files = RunFolder(folder).structures() if folder is not None else []
    if config.structure is not None:
        files = [*files, config.structure]
    found = {symbol for file in files for symbol in Structure.read(file).atoms.get_chemical_symbols()}
    adsorbed = {getattr(builder, "what", None) for builder in config.build}
    found |= {what for what in adsorbed if isinstance(what, str) and what in ELEMENTS}
    if not files:
        found |= set(USUAL)
    return sorted(found)
