"""Runs that go on from an object in memory: which run it came from, and what a new run folder takes over from there."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms

from stem2sim.atoms_table import AtomsTable
from stem2sim.errors import BadInput
from stem2sim.files import write_atomically
from stem2sim.image import Image
from stem2sim.imaging.readers import ImageSource
from stem2sim.runs.names import CONFIG, START_ATOMS, START_IMAGE, START_STRUCTURE
from stem2sim.runs.origin import origin
from stem2sim.runs.run import Run
from stem2sim.segmentation import Segmentation
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Iterator

Tree = dict[str, Any]


class Ancestor(NamedTuple):
    """The run that made an object, which no one has changed since, as the single outcome of its steps so far."""

    run: Run
    tree: Tree
    """Its config, up to the step that made the object."""
    steps: list[str]
    """Names of the steps up to there."""


def start(noun: Image | Segmentation | AtomsTable | Structure | SimulationResult | Atoms, folder: Path) -> Tree:
    """Return the sections of a config for a run in `folder` that starts from an object, and put there what it needs.

    An object that came from a run brings that run's sections, and the files of its finished steps. One that was made or
    changed in memory is written to the folder.

    Raises:
        BadInput: the object has other variants beside it in the run of this very folder.
    """
    if isinstance(noun, Image):
        return {"image": _image_section(noun, folder)}
    ancestor = _ancestor(noun)
    if ancestor is None:
        return _written(noun, folder)
    if ancestor.run.folder.resolve() != folder.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        _take_over(ancestor, folder)
    return ancestor.tree


def _image_section(image: Image, folder: Path) -> Tree:
    """How to read an image: as it was read if the file still holds it, else from a copy in the folder."""
    if image.options:
        try:
            unchanged = ImageSource.model_validate(image.options).read().fingerprint() == image.fingerprint()
        except BadInput:
            unchanged = False
        if unchanged:
            return image.options
    file = folder / START_IMAGE
    folder.mkdir(parents=True, exist_ok=True)
    with write_atomically(file) as part, part.open("wb") as opened:
        np.savez_compressed(opened, allow_pickle=False, image=image.pixels)
    return {"path": str(file.resolve()), "pixel_size": image.pixel_size}


def _written(noun: Segmentation | AtomsTable | Structure | SimulationResult | Atoms, folder: Path) -> Tree:
    """Write an object to the folder, and return the sections that start from the file."""
    if _folder_of(noun) == folder.resolve():
        raise BadInput(f"out = {folder} is the run that this came from, and it has variants; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(noun, AtomsTable):
        noun = Segmentation(atoms=noun)
    if isinstance(noun, Segmentation):
        file = folder / START_ATOMS
        noun.save(file)
        image = {"image": _image_section(noun.image, folder)} if noun.image is not None else {}
        return {**image, "segment": {"use": "atoms-table", "path": str(file.resolve())}}
    structure = noun.structure if isinstance(noun, SimulationResult) else noun
    structure = Structure(atoms=structure) if isinstance(structure, Atoms) else _with_origin(structure, folder)
    file = folder / START_STRUCTURE
    structure.write(file)
    return {"structure": str(file.resolve())}


def _with_origin(structure: Structure, folder: Path) -> Structure:
    """A structure with the record of the run it came from; as it is where it has changed since, or came from none."""
    file = structure.file
    if file is None or not file.is_file() or Structure.read(file) != structure:
        return structure
    record = origin(file, sha256(file.read_bytes()).hexdigest(), folder)
    return structure.model_copy(update={"history": (*structure.history, record)}) if record else structure


def _folder_of(noun: object) -> Path | None:
    """The run folder that an object was read from; None where it was not, or the folder is gone."""
    file = getattr(noun, "file", None)
    if not isinstance(file, Path):
        return None
    folders = (file.parent, file.parent.parent)
    return next((folder.resolve() for folder in folders if (folder / CONFIG).is_file()), None)


def _ancestor(noun: Segmentation | AtomsTable | Structure | SimulationResult | Atoms) -> Ancestor | None:
    """The run whose single outcome an object is, unchanged; None where there is no such run."""
    folder = _folder_of(noun)
    if folder is None or isinstance(noun, AtomsTable | Atoms):
        return None
    run = Run(folder)
    names = {"segment": ("segment",), "structure": ("segment", "build", "structure")}
    if isinstance(noun, Segmentation):
        if run.segmentation != noun or "segment" not in run.tree:
            return None
        return _up_to(run, names["segment"], 0)
    if len(run.structures) != 1:
        return None
    if next(iter(run.structures.values())) == noun:
        return _up_to(run, names["structure"], 0)
    for name, result in run.results.items():
        step = run.places[name].step
        alone = sum(place.step == step for place in run.places.values()) == 1
        if alone and not step.label and noun in (result, result.structure) and not result.unfinished:
            return _up_to(run, (*names["structure"], "simulate"), step.number)
    return None


def _up_to(run: Run, kinds: tuple[str, ...], last: int) -> Ancestor:
    """The part of a run up to the steps of these kinds, of its simulations up to the last."""
    sections = ["image", "structure", "segment", "allow"]
    tree = {name: run.tree[name] for name in sections if name in run.tree}
    if "structure" in kinds:
        tree["build"] = run.tree.get("build", [])
    if "simulate" in kinds:
        tree["simulate"] = run.tree["simulate"][:last]
    steps = [str(name) for name in run.steps if name.kind in kinds and (name.kind != "simulate" or name.number <= last)]
    return Ancestor(run, tree, steps)


def _take_over(ancestor: Ancestor, folder: Path) -> None:
    """Copy the finished steps of a run into another folder, and what that run started from if it lies in its folder."""
    source, tree = ancestor.run, ancestor.tree
    for table, key in _starts(tree):
        file = Path(table[key])
        if file.parent.resolve() == source.folder.resolve():
            shutil.copyfile(file, folder / file.name)
            table[key] = str((folder / file.name).resolve())
    target = Run(folder, source.config).state
    with target.locked():
        for step in ancestor.steps:
            target.take_over(step, source.state)


def _starts(tree: Tree) -> Iterator[tuple[Tree, str]]:
    """Yield the table and the key of every path that a run starts from."""
    for section, key in (("image", "path"), ("segment", "path")):
        if isinstance(tree.get(section), dict) and isinstance(tree[section].get(key), str):
            tree[section] = dict(tree[section])
            yield tree[section], key
    if isinstance(tree.get("structure"), str):
        yield tree, "structure"
