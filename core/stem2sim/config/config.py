"""`Config`: TOML, flags and `--set` to the stages of a pipeline, and back."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, SerializeAsAny, ValidationError

from stem2sim.analysis.validation import CHECKS
from stem2sim.config.defaults import DEFAULTS
from stem2sim.config.records import Records
from stem2sim.config.tree import SECTIONS, count_paths_from, set_option
from stem2sim.errors import BadInput, Mistakes, collected, nearest
from stem2sim.files import fingerprint
from stem2sim.imaging.readers import ImageSource
from stem2sim.mistakes import mistakes_in
from stem2sim.option_paths import absolute
from stem2sim.options import read_stage, without_none
from stem2sim.registry import installed
from stem2sim.stages import Builder, Segmenter, Simulator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger("stem2sim")


Section = TypeVar("Section", bound=BaseModel)


class Config(BaseModel):
    """A pipeline, ready to run: reading it has built every stage. It starts from an image or from a structure file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: ImageSource | None = None
    structure: Path | None = None
    segment: SerializeAsAny[Segmenter] | None = None
    build: tuple[SerializeAsAny[Builder], ...] = ()
    simulate: tuple[SerializeAsAny[Simulator], ...] = ()
    allow: tuple[str, ...] = ()
    records: Records | None = None

    def with_absolute_paths(self) -> Self:
        """Return this config with absolute paths; relative ones count from the working directory."""
        config: Self = absolute(self)
        return config

    def to_toml(self) -> str:
        """Return the resolved config: every option with its value."""
        return tomli_w.dumps(without_none(self.model_dump(mode="json")))

    def fingerprint(self) -> str:
        """Return a hash of all options."""
        return fingerprint(self.model_dump_json())


def read_config(tree: dict[str, Any]) -> Config:
    """Build the pipeline of a config tree.

    Raises:
        BadInput: unknown sections, stages, options or values; the message lists all of them, and what is accepted.
    """
    mistakes: list[str] = []
    parts = _parts(tree, mistakes)
    if mistakes:
        raise Mistakes(mistakes)
    return Config.model_validate(parts)


def _parts(tree: dict[str, Any], mistakes: list[str]) -> dict[str, Any]:
    """The sections of a config with their stages built; what is wrong with them is added to the mistakes."""
    sections = ["image", "structure", *SECTIONS, "allow", "records"]
    mistakes += [
        f"unknown section '{name}'; sections: {', '.join(sections)}{nearest(name, sections)}"
        for name in sorted(set(tree) - set(sections))
    ]
    start = tree.get("structure")
    if start is not None and (not isinstance(start, str) or "image" in tree or "segment" in tree):
        mistakes.append(
            "structure is the path of a structure file, and starts the pipeline in place of image and segment"
        )
    parts: dict[str, Any] = {"structure": start, "segment": None}
    if start is None:
        with collected(mistakes):
            parts["segment"] = read_stage("segmenter", tree.get("segment", DEFAULTS["segment"]), "segment")
    for section in ("build", "simulate"):
        given = tree.get(section, [])
        if not isinstance(given, list):
            mistakes.append(f"{section} must be a list: write [[{section}]], once per step")
            continue
        parts[section] = []
        for number, one in enumerate(given):
            with collected(mistakes):
                parts[section].append(read_stage(SECTIONS[section], one, f"{section}.{number}"))
    for name, model in (("image", ImageSource), ("records", Records)):
        if name in tree:
            with collected(mistakes):
                parts[name] = _section(model, tree[name], name)
    segment = parts["segment"]
    if isinstance(segment, Segmenter) and segment.needs_image and "image" not in tree:
        mistakes.append(f"segmenter '{segment.name}' needs an image: give [image] path = \"...\", or an image file")
    with collected(mistakes):
        parts["allow"] = _allowed(tree.get("allow", []))
    return parts


def _section(model: type[Section], given: Any, name: str) -> Section:
    try:
        return model.model_validate(given)
    except ValidationError as problem:
        raise mistakes_in(problem, name, model) from problem


def _allowed(given: Any) -> list[str]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput(f'allow is a list of checks, such as ["close"], got {given!r}')
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        checks = ", ".join(CHECKS)
        raise Mistakes([f"allow: no check named '{one}'; checks: {checks}{nearest(one, CHECKS)}" for one in unknown])
    return names


@dataclass(frozen=True)
class Changes:
    """What a command line changes in a config."""

    sections: Mapping[str, Any] = field(default_factory=dict)
    """That replace those of the config, such as {"segment": {"use": "unet"}}; None takes a section away."""
    engine: str | None = None
    """Name of the engine of every simulator that takes one."""
    assignments: Sequence[str] = ()
    """Texts `dotted.key=value`; they come after the sections."""
    allow: Sequence[str] | None = None
    """Checks of the structure that may fail, in place of those that the config allows; None for no change."""
    force: bool = False
    """Whether the segmenter is to accept an image that it would refuse."""


def parse(tree: dict[str, Any] | None, changes: Changes | None = None) -> Config:
    """Return the pipeline of a config and of what the command line changes in it.

    Args:
        tree: of a config, its paths absolute; None for the defaults.
        changes: of the command line; relative paths in them count from the working directory.

    Raises:
        BadInput: as `read_config` and `set_option`.
    """
    changes = changes or Changes()
    whole = copy.deepcopy(DEFAULTS if tree is None else tree) | copy.deepcopy(dict(changes.sections))
    whole = {section: value for section, value in whole.items() if value is not None}
    steps = whole.get("simulate")
    if isinstance(steps, list):
        steps = whole["simulate"] = [{"use": step} if isinstance(step, str) else step for step in steps]
    for step in steps if changes.engine is not None and isinstance(steps, list) else []:
        # what is wrong with a step that names no stage, read_config says
        named = isinstance(step, dict) and isinstance(step.get("use"), str)
        with collected([]):
            if named and "engine" in installed().find("simulator", step["use"]).model_fields:
                step["engine"] = {"use": changes.engine}
    mistakes: list[str] = []
    for assignment in changes.assignments:
        with collected(mistakes):
            set_option(whole, assignment)
    if changes.allow:
        whole["allow"] = list(changes.allow)
    count_paths_from(Path.cwd(), whole)
    with collected(mistakes):
        config = read_config(whole)
    if mistakes:
        raise Mistakes(mistakes)
    return _forced(config) if changes.force else config


def _forced(config: Config) -> Config:
    """Turn on the segmenter's option `force`; where there is none, log a warning."""
    segmenter = config.segment
    if segmenter is None:
        log.warning("--force has no effect: the config starts from a structure, and nothing is segmented")
    elif "force" not in type(segmenter).model_fields:
        log.warning("--force has no effect: the segmenter '%s' has no such option", segmenter.name)
    else:
        return config.model_copy(update={"segment": segmenter.model_copy(update={"force": True})})
    return config
