"""What a run starts from, where that is an object in memory: sections of a config, and files in the run folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from stem2sim.atoms_table import AtomsTable
from stem2sim.errors import BadInput
from stem2sim.files import write_atomically
from stem2sim.image import Image
from stem2sim.imaging.readers import ImageSource
from stem2sim.runs.lineage import ancestor_of
from stem2sim.runs.names import run_folder_of
from stem2sim.runs.origin import origin
from stem2sim.runs.state import State
from stem2sim.segmentation import Segmentation
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stem2sim.runs.lineage import Ancestor, Tree

log = logging.getLogger("stem2sim")


@dataclass
class Start:
    """The start of a run; nothing is written before `settle`."""

    folder: Path
    tree: Tree = field(default_factory=dict)
    """Sections of its config."""
    files: dict[Path, bytes] = field(default_factory=dict)
    """What they need in the folder. A name holds the hash of the content, so that no start replaces another."""
    ancestor: Ancestor | None = None
    """Whose finished steps are taken over."""
    warnings: list[str] = field(default_factory=list)

    def settle(self) -> None:
        """Put into the folder what the run needs there.

        Raises:
            BadInput: another run is under way in the folder.
        """
        for warning in self.warnings:
            log.warning("%s", warning)
        state = State(self.folder)
        with state.locked():
            for file, content in self.files.items():
                if not file.is_file():
                    with write_atomically(file) as part:
                        part.write_bytes(content)
            if self.ancestor is not None:
                for step in self.ancestor.steps:
                    state.take_over(step, self.ancestor.run.state)

    def keep(self, content: bytes, suffix: str) -> str:
        """Note content that the run needs as a file in its folder, and return the path of that file."""
        file = (self.folder / f"start-{sha256(content).hexdigest()[:12]}{suffix}").resolve()
        self.files[file] = content
        return str(file)


def start(
    noun: Image | Segmentation | AtomsTable | Structure | SimulationResult | Atoms, folder: Path, to_build: bool = False
) -> Start:
    """Return the start of a run in `folder` from an object.

    An object that came from a run brings that run's sections, and the files of its finished steps. One that was made or
    changed in memory, or that its run would not make again, is written to the folder as it is.

    Args:
        noun: the object.
        folder: of the new run.
        to_build: whether builders follow; they go on from no simulation.

    Raises:
        BadInput: nothing that a run starts from, or an object that the run in this very folder does not hold.
    """
    begun = Start(folder)
    if isinstance(noun, Image):
        begun.tree["image"] = _image_section(noun, begun)
        return begun
    if isinstance(noun, Segmentation | Structure | SimulationResult):
        ancestor = ancestor_of(noun)
        if ancestor is not None and not (to_build and "simulate" in ancestor.tree):
            return _continued(ancestor, begun)
        if noun.file is not None and _is_in(noun.file, folder):
            raise BadInput(
                f"out = {folder} is the run folder that this object came from, but the object or the run was changed "
                "since, or it is one of several variants; choose another folder"
            )
    _written(noun, begun)
    return begun


def _is_in(file: Path, folder: Path) -> bool:
    """Whether a file belongs to the run in a folder."""
    own = run_folder_of(file)
    return own is not None and own.resolve() == folder.resolve()


def _continued(ancestor: Ancestor, begun: Start) -> Start:
    """The start that goes on from a run; what lies in its folder for its own start is copied."""
    source, tree = ancestor.run.folder.resolve(), dict(ancestor.tree)
    begun.tree = tree
    if source == begun.folder.resolve():
        return begun
    for table, key in _paths(tree):
        file = Path(table[key])
        if file.parent.resolve() == source:
            table[key] = begun.keep(file.read_bytes(), file.suffix)
    begun.ancestor = ancestor
    return begun


def _paths(tree: Tree) -> Iterator[tuple[Tree, str]]:
    """Yield the table and the key of every path that a run starts from."""
    for section in ("image", "segment"):
        if isinstance(tree.get(section), dict) and isinstance(tree[section].get("path"), str):
            tree[section] = dict(tree[section])
            yield tree[section], "path"
    if isinstance(tree.get("structure"), str):
        yield tree, "structure"


def _image_section(image: Image, begun: Start) -> Tree:
    """How to read an image: as it was read if the file still holds it, else from a copy in the folder."""
    if image.options:
        try:
            if ImageSource.model_validate(image.options).read().fingerprint() == image.fingerprint():
                return image.options
        except BadInput:  # the file is gone
            pass

    def save(path: Path) -> None:
        np.savez_compressed(path, allow_pickle=False, image=image.pixels)

    return {"path": begun.keep(_content(save, ".npz"), ".npz"), "pixel_size": image.pixel_size}


def _written(noun: object, begun: Start) -> None:
    """Start from an object as it is."""
    if isinstance(noun, AtomsTable):
        noun = Segmentation(atoms=noun)
    if isinstance(noun, Segmentation):
        if noun.image is not None:
            begun.tree["image"] = _image_section(noun.image, begun)
        begun.tree["segment"] = {"use": "atoms-table", "path": begun.keep(_content(noun.save, ".npz"), ".npz")}
        return
    if isinstance(noun, Atoms):
        if noun.get_initial_charges().any() or noun.get_initial_magnetic_moments().any():
            begun.warnings.append(
                "charges and magnetic moments of the atoms are not used; give the engine charge=... instead"
            )
        noun = Structure(atoms=noun)
    structure = noun.structure if isinstance(noun, SimulationResult) else noun
    if not isinstance(structure, Structure):
        raise BadInput(
            "start from an image, a segmentation, a structure, a result or Atoms of ASE, not from "
            f"{type(noun).__name__}"
        )
    whole = _with_origin(structure, begun.folder)
    begun.tree["structure"] = begun.keep(_content(whole.write, ".extxyz"), ".extxyz")


def _content(save: Callable[[Path], None], suffix: str) -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"start{suffix}"
        save(file)
        return file.read_bytes()


def _with_origin(structure: Structure, folder: Path) -> Structure:
    """A structure with the record of the run it came from; as it is where it has changed since, or came from none."""
    file = structure.file
    if file is None or not file.is_file() or Structure.read(file) != structure:
        return structure
    record = origin(file, sha256(file.read_bytes()).hexdigest(), folder)
    return structure.model_copy(update={"history": (*structure.history, record)}) if record else structure
