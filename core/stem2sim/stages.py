"""The base classes of plugins: one abstract method per arrow of Image -> Segmentation -> Structure -> SimulationResult.

A stage is a frozen pydantic model; its fields are its options. Give each a `Field(description="... [unit]")`: that text
is what `stem2sim explain` prints and `stem2sim init` writes. A stage never changes its input, writes only into the
folder it is given, and gives the same result for the same seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from stem2sim.errors import BadInput, NotRun
from stem2sim.files import fingerprint
from stem2sim.option_paths import leaves
from stem2sim.packages import distribution_of, references

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stem2sim.image import Image
    from stem2sim.segmentation import Segmentation
    from stem2sim.simulation import SimulationResult
    from stem2sim.structure import Structure


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    what: str
    state: Literal["ok", "note", "missing"]
    found: str
    fix: str = ""
    """The command that fixes it."""


class Stage(BaseModel, ABC):
    """One step of the pipeline; its fields are its options."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    """What users write after `use =`, in kebab-case."""

    kind: ClassVar[str]

    @model_serializer(mode="wrap")
    def _with_name(self, options: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"use": self.name, **options(self)}

    @classmethod
    def distribution(cls) -> str:
        """Return name and version of the distribution that offers this class; its module where it is not installed."""
        return distribution_of(cls.__module__.partition(".")[0]) or cls.__module__

    def provenance(self) -> dict[str, Any]:
        """Return name, options and version: enough to run this stage again."""
        return {**self.model_dump(mode="json"), "version": self.distribution()}

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield what this stage needs on this machine, and whether it is there (`stem2sim doctor`).

        Args:
            elements: of the structures it is for.
        """
        del elements
        return iter(())

    def methods(self) -> str:
        """Return a sentence for the methods section of a paper: what was done, with the numbers that decide it.

        References stand as keys of `references.bib` in brackets: [ghosh2022].
        """
        first = (type(self).__doc__ or "").strip().splitlines()[0].rstrip(".")
        changed = self.model_dump(mode="json", exclude_defaults=True)
        options = "".join(f", {name} = {value}" for name, value in changed.items() if name != "use")
        return f"The stage {self.name} ({self.distribution()}{options}) did this: {first[:1].lower()}{first[1:]}."

    def cited(self) -> tuple[str, ...]:
        """Return the keys, in the `references.bib` of its package, of what a publication that used this has to cite."""
        return ()

    def citations(self) -> dict[str, str]:
        """Return BibTeX entries by key."""
        return references(type(self).__module__.partition(".")[0], self.cited())

    def input_fingerprint(self) -> str:
        """Return a hash of whatever is read besides input and options; '' for nothing.

        That is the content of every file that an option names, and what stages among the options read. A stage that is
        given a folder knows which of its files it reads, and hashes them here.
        """
        hashes = list(_read_by(self))
        return hashes[0] if len(hashes) == 1 else fingerprint(*hashes) if hashes else ""


def _read_by(model: BaseModel) -> Iterator[str]:
    """Yield the hashes of what the options of a model make it read."""
    for value in leaves([getattr(model, name) for name in type(model).model_fields]):
        if isinstance(value, Path):
            if value.is_file():
                yield sha256(value.read_bytes()).hexdigest()
        elif isinstance(value, Stage):
            yield from filter(None, [value.input_fingerprint()])
        elif isinstance(value, BaseModel):
            yield from _read_by(value)


class Segmenter(Stage):
    """Finds atoms in an image."""

    kind: ClassVar[str] = "segmenter"

    needs_image: ClassVar[bool] = True
    """False for a segmenter that brings its atoms from elsewhere and is given no image."""

    @abstractmethod
    def segment(self, image: Image) -> Segmentation:
        """Return the atoms of one frame.

        Raises:
            BadInput: no atoms found, or a frame this segmenter cannot read.
        """


class Builder(Stage):
    """Makes structures from a structure: one link of the chain from measured atoms to a simulation cell."""

    kind: ClassVar[str] = "builder"

    def elements(self) -> frozenset[str]:
        """Return the elements that this builder adds with these options; default: none.

        Raises:
            BadInput: a file that it takes them from is missing or damaged.
        """
        return frozenset()

    @abstractmethod
    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        """Yield one or more new structures.

        Args:
            structure: what the chain has made so far; empty for its first builder.
            segmentation: what was found in the frame.

        Raises:
            BadInput: the structure cannot be built with these options.
        """


class Workload(NamedTuple):
    """How much a simulation of one structure computes, for an estimate of its cost."""

    engine: Simulator
    """Whose forces."""
    steps: int
    """Force evaluations beyond the first ones."""
    starts: int
    """Trajectories, relaxations or single points, each with a first evaluation."""
    known: bool = True
    """Whether the number of steps is fixed; a relaxation takes what it takes."""


class Simulator(Stage):
    """Takes a structure through an atomistic simulation."""

    kind: ClassVar[str] = "simulator"

    @property
    def external(self) -> bool:
        """Whether an external program computes, which may run on another machine: `prepare` and `collect` serve it."""
        return False

    @abstractmethod
    def simulate(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Yield one result, or one per `label` (a temperature, say).

        Args:
            structure: the start.
            workdir: an existing folder; the only place to write to.

        Raises:
            BadInput: a structure or an option this simulator cannot run.
            StageFailed: it ran and ended without a result. Not converging is a result, not a failure.
        """

    def workload(self) -> Workload | None:
        """Return how much it computes; None where that is not known, or nothing with an engine."""
        return None

    def prepare(self, structure: Structure, workdir: Path) -> str:
        """Write what the external program needs; return one line that says where it is and what to do next.

        Where the program has run already nothing of its output changes; `collect` reads it.

        Raises:
            BadInput: no external program computes; a structure or an option this simulator cannot run.
            NotRun: its program is needed step by step, and cannot be prepared.
        """
        raise BadInput(f"{self.name} runs in this process; there is nothing to prepare")

    def collect(self, structure: Structure, workdir: Path) -> Iterator[SimulationResult]:
        """Yield what the external program has left so far, without running it; what can still go on is `unfinished`.

        Raises:
            BadInput: the program ran with other options.
            StageFailed: the program failed, or computed something else.
            NotRun: there is nothing to read yet. Of several results those that are there come first.
        """
        raise NotRun(f"{self.name} has not run here; stem2sim run continues with it")
