"""Simulators that work with the forces of any engine, and the option that selects it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from stem2sim.engines.engine import Engine
from stem2sim.errors import BadInput, NotRun
from stem2sim.options import read_stage
from stem2sim.registry import installed
from stem2sim.stages import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from stem2sim.stages import Check, Workload
    from stem2sim.structure import Structure


def read_engine(options: Any) -> Engine:
    """Build the engine of `engine = { use = ... }` (or of its bare name).

    Raises:
        BadInput: as `read_config`; also for a simulator that is not an engine.
    """
    options = {"use": options} if isinstance(options, str) else options
    name = str(options.get("use")) if isinstance(options, dict) else None
    engines = {offer.stage.name for offer in installed().offers if issubclass(offer.stage, Engine)}
    if name not in engines and name in installed().names("simulator"):
        raise BadInput(f"'{name}' is not an engine (it provides no forces); engines: {', '.join(sorted(engines))}")
    stage = read_stage("simulator", options, "")
    assert isinstance(stage, Engine)  # by its name
    return stage


def _as_engine(value: Any) -> Engine:
    return value if isinstance(value, Engine) else read_engine(value)


EngineOption = Annotated[
    Engine,
    BeforeValidator(_as_engine),
    PlainSerializer(lambda engine: engine.model_dump(mode="json"), return_type=dict[str, Any]),
    WithJsonSchema({"type": "object", "title": "engine", "required": ["use"]}),
]
"""Type of a field that takes an engine: `engine = { use = "xtb" }` in a config."""


class EngineSimulator(Simulator):
    """A simulator that works with the forces of any engine."""

    engine: EngineOption = Field(description='engine that provides the forces: { use = "xtb" }')

    @property
    def external(self) -> bool:
        """Whether the engine is."""
        return self.engine.external

    def workload(self) -> Workload | None:
        """Return what the engine computes for one structure."""
        return self.engine.workload()

    def prepare(self, structure: Structure, workdir: Path) -> str:
        """Refuse: this simulator needs every step of an external engine here."""
        if self.engine.external:
            raise NotRun(
                f"{self.name} needs {self.engine.name} step by step, which cannot be prepared; use stem2sim run"
            )
        return super().prepare(structure, workdir)

    def diagnose(self, elements: Sequence[str]) -> Iterator[Check]:
        """Yield what the engine needs."""
        return self.engine.diagnose(elements)

    def citations(self) -> dict[str, str]:
        """Return BibTeX entries by key, those of the engine among them."""
        return super().citations() | self.engine.citations()

    def provenance(self) -> dict[str, Any]:
        """Return name, options and version, those of the engine among them."""
        return {**super().provenance(), "engine": self.engine.provenance()}
