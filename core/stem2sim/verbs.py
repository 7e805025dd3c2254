"""The front door from Python: `read`, `segment`, `build`, `simulate` and `run` do what the command line does.

Each verb runs the pipeline in a run folder: in `out`, where everything is kept, or in a temporary one that lives as
long as the objects that came from it. An object remembers its run: the next verb goes on from there, and skips what is
done.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence  # noqa: TC003  # a test and `run` read the annotations
from pathlib import Path  # noqa: TC003  # as above
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

from pydantic import ValidationError

from stem2sim.atoms_table import AtomsTable
from stem2sim.config.defaults import DEFAULTS, ENGINE
from stem2sim.config.explain import toml_value
from stem2sim.config.tables import plain, stage_table
from stem2sim.engines.deadline import time_limit
from stem2sim.errors import BadInput, NotRun, nearest
from stem2sim.image import Image
from stem2sim.imaging.formats import CHOSEN
from stem2sim.imaging.readers import ImageSource, described
from stem2sim.mistakes import explained
from stem2sim.noun import Noun
from stem2sim.report.report import write_report
from stem2sim.runs import pipeline
from stem2sim.runs.request import RunRequest
from stem2sim.runs.run import Run
from stem2sim.runs.run_folder import RunFolder, names_in, path_of, reported
from stem2sim.runs.starts import start
from stem2sim.segmentation import Segmentation

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.simulation import SimulationResult
    from stem2sim.stages import Builder, Segmenter, Simulator
    from stem2sim.structure import Structure

log = logging.getLogger("stem2sim")

Kept = TypeVar("Kept", bound=Noun)


def read(
    path: str | Path,
    pixel_size: float | None = None,
    frame: int | None = None,
    dataset: str | None = None,
    lattice_constant: float | None = None,
) -> Image:
    """Return one frame of an image file.

    Args:
        path: of the file: .npy, .npz, TIFF, PNG, HDF5, .ndata1; vendor formats with the extra `vendor`.
        pixel_size: [Å]; default: the value in the file.
        frame: number of the frame in a stack, counted from 0.
        dataset: name of the array in an .npz or .h5 file; default: the largest.
        lattice_constant: of the material, from which a missing pixel size is derived [Å].

    Raises:
        BadInput: no such file, unknown format, nothing in it that is a frame, no pixel size anywhere.

    >>> import stem2sim as s2s
    >>> s2s.read("graphene_si_edge.npz")
    Image(352 × 320 pixels of 0.104 Å, 36.6 × 33.3 Å, graphene_si_edge.npz)
    """
    options = {"pixel_size": pixel_size, "frame": frame, "dataset": dataset, "lattice_constant": lattice_constant}
    try:
        source = ImageSource(path=path_of(path).resolve(), **options)
    except ValidationError as problem:
        raise BadInput(explained(problem, "image", ImageSource)) from problem
    with reported():
        image = source.read()
        if CHOSEN in image.metadata:
            log.warning("%s", described(image))
    return image


def segment(
    image: Image | str | Path,
    segmenter: str | Segmenter | None = None,
    *,
    out: str | Path | None = None,
    **options: Any,
) -> Segmentation:
    """Return the atoms in an image.

    Args:
        image: a frame, or the path of one.
        segmenter: name of one (`stem2sim plugins`), or a configured one; default: that of the command line.
        out: run folder; default: a temporary one.
        options: of the segmenter (`stem2sim explain NAME`).

    Raises:
        BadInput: an unknown segmenter or option, an image that it cannot read, no atoms.

    >>> image = s2s.read("graphene_si_edge.npz")
    >>> atoms = s2s.segment(image, precision="single", out="edge")
    >>> atoms
    Segmentation(378 C, 1 Si; median probability 1.000)
    """
    image = image if isinstance(image, Image) else read(image)
    table = stage_table(segmenter or DEFAULTS["segment"]["use"], options)
    place = RunFolder(out)
    outcome = place.run(start(image, place.folder), {"segment": table}, "segment")
    assert outcome.segmentation is not None  # a run up to there has one
    return place.kept(outcome.segmentation.found_in(image))


def build(
    start_from: Segmentation | AtomsTable | Structure | SimulationResult | Atoms,
    *builders: str | tuple[str, Mapping[str, Any]] | Builder,
    out: str | Path | None = None,
    allow: str | Sequence[str] = (),
) -> Structure:
    """Return the structure that a chain of builders makes of the atoms in an image.

    Args:
        start_from: the atoms that were found, or a structure to continue from.
        builders: each a name, a name and its options, or a configured one; default: those of the command line.
        out: run folder; default: a temporary one.
        allow: names of checks of the structure that may fail, such as "close".

    Raises:
        BadInput: an unknown builder or option, a structure that cannot be built, several variants (see `build_all`).

    >>> s2s.build(atoms, "place", ("patch", {"size": 12}), "hterm")
    Structure(C9H8Si, 18 atoms)
    """
    return _only(build_all(start_from, *builders, out=out, allow=allow), "build_all", out)


def build_all(
    start_from: Segmentation | AtomsTable | Structure | SimulationResult | Atoms,
    *builders: str | tuple[str, Mapping[str, Any]] | Builder,
    out: str | Path | None = None,
    allow: str | Sequence[str] = (),
) -> dict[str, Structure]:
    """Return every variant that a chain of builders yields, by its label; as `build`.

    >>> list(s2s.build_all(atoms, "place", ("patch", {"size": 12}), ("sample", {"count": 2}), "hterm"))
    ['structure-sample-1', 'structure-sample-2']
    """
    place, own = RunFolder(out), [stage_table(one) for one in builders]
    begun = start(start_from, place.folder, to_build=True)
    if not own and "segment" not in begun.tree:
        raise BadInput('name the builders to apply to the structure, such as "hterm"')
    chain = [*begun.tree.get("build", []), *own] or DEFAULTS["build"]  # the chain of a structure goes on
    outcome = place.run(begun, {"build": chain}, "build", allow)
    return {path.stem: place.kept(structure) for path, structure in outcome.structures}


def simulate(
    start_from: Structure | SimulationResult | Atoms,
    simulator: str | Simulator = ENGINE,
    *,
    out: str | Path | None = None,
    allow: str | Sequence[str] = (),
    **options: Any,
) -> SimulationResult:
    """Return the result of one simulation of a structure, or of what another simulation made of it.

    Args:
        start_from: the structure, or the result to continue from.
        simulator: name of an engine, which relaxes the structure, or of another simulator; or a configured one.
        out: run folder, in which an interrupted simulation resumes; default: a temporary one.
        allow: names of checks of the structure that may fail, such as "close".
        options: of the simulator (`stem2sim explain NAME`); `engine` takes the name of one.

    Raises:
        BadInput: an unknown simulator or option, a structure that it cannot run, several results (see `simulate_all`).
        StageFailed: it ended without a result.

    >>> from ase.build import molecule
    >>> relaxed = s2s.simulate(molecule("C2H4"), "xtb", fmax=0.01)
    >>> relaxed
    SimulationResult(xtb: C2H4, -172.574... eV, converged)
    >>> hot = s2s.simulate(relaxed, "aimd", engine="xtb", temperature=500, steps=20)
    >>> len(hot.frames())
    11
    """
    return _only(simulate_all(start_from, simulator, out=out, allow=allow, **options), "simulate_all", out)


def simulate_all(
    start_from: Structure | SimulationResult | Atoms,
    simulator: str | Simulator = ENGINE,
    *,
    out: str | Path | None = None,
    allow: str | Sequence[str] = (),
    **options: Any,
) -> dict[str, SimulationResult]:
    """Return every result of a simulation by its name, such as one for each temperature; as `simulate`.

    >>> methane = s2s.simulate(molecule("CH4"))
    >>> list(s2s.simulate_all(methane, "aimd", engine="xtb", temperature=[100, 200], steps=5))
    ['02-aimd 100K', '02-aimd 200K']
    """
    if isinstance(start_from, Segmentation | AtomsTable):
        raise BadInput("a segmentation is not a structure; build one first: s2s.build(atoms)")
    place, table = RunFolder(out), stage_table(simulator, options)
    begun = start(start_from, place.folder)
    steps = [*begun.tree.get("simulate", []), table]
    outcome = place.run(begun, {"simulate": steps}, "simulate", allow)
    if outcome.waiting:
        raise NotRun("; ".join(outcome.waiting))
    run, made = outcome.run, {file for file, _ in outcome.results}
    last = [name for name, one in run.places.items() if one.step.number == len(steps) and one.file in made]
    return {name: place.kept(run.results[name]) for name in last}


class RunChanges(TypedDict, total=False):
    """What `run` may change in a config: the flags of `stem2sim run`."""

    segmenter: str
    builders: Sequence[str]
    simulators: Sequence[str]
    engine: str
    pixel_size: float
    """[Å]"""
    allow: Sequence[str]
    force: bool


def run(
    path: str | Path,
    *,
    out: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    wall_limit: float | None = None,
    **changes: Unpack[RunChanges],
) -> Run:
    """Run the whole pipeline, from image to report, and return the run. Finished steps are skipped.

    Args:
        path: of a config (.toml), an image, an atom table (.csv) or a run folder.
        out: run folder; default: that of the command line, `runs/<input name>-<short hash>`.
        options: by their dotted keys, as `--set` takes them: {"simulate.aimd.steps": 800}.
        wall_limit: stop at a checkpoint before this wall-clock time has elapsed [h].
        changes: segmenter, builders, simulators, engine, pixel_size [Å], allow and force, as the flags of that name.

    Raises:
        BadInput: no such input, or a config that cannot be used.
        StageFailed: a step ended without its result; earlier results are kept.

    >>> chain = {"builders": ["place", "patch", "hterm"], "simulators": ["xtb"]}
    >>> run = s2s.run("edge", options={"build.patch.size": 12}, **chain)
    >>> run
    Run(...edge; structure.extxyz; 01-xtb)
    >>> run.results["01-xtb"].structure.atoms.get_chemical_formula()
    'C9H8Si'
    """
    for name in changes:
        if name not in (known := list(RunChanges.__annotations__)):
            raise BadInput(f"run has no option '{name}'; options: {', '.join(known)}{nearest(name, known)}")
    assignments = [f"{key}={toml_value(plain(value))}" for key, value in (options or {}).items()]
    several = ("builders", "simulators", "allow")
    flags: dict[str, Any] = {**changes}
    given: dict[str, Any] = {name: names_in(one) if name in several else one for name, one in flags.items()}
    folder = RunFolder(out).folder if out is not None else None
    request = RunRequest(path_of(path), folder, assignments=assignments, **given)
    with reported(), time_limit(wall_limit):
        config, target = request.config_in("run")
        pipeline.run(config, target, "simulate", write_report)
    return Run(target)


_kept_to_the_end: list[Noun] = []
"""Of temporary run folders that no object holds on to."""


def _only(found: Mapping[str, Kept], every: str, out: object) -> Kept:
    """The one thing that was made.

    Raises:
        BadInput: there are several; their folder is kept, so that no work is lost.
    """
    (first, *more) = found.values()
    if more:
        _kept_to_the_end.extend([first] if out is None else [])
        where = f"; they are in {first.file.parent}{' until Python ends' if out is None else ''}" if first.file else ""
        raise BadInput(f"{len(found)} variants, not one: {', '.join(found)}; {every} returns all of them{where}")
    return first
