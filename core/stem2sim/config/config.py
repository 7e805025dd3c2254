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
from stem2sim.errors import BadInput, nearest
from stem2sim.files import fingerprint
from stem2sim.imaging.readers import ImageSource
from stem2sim.option_paths import absolute
from stem2sim.options import explained, read_stage, without_none
from stem2sim.registry import installed
from stem2sim.stages import Builder, Segmenter, Simulator, Stage

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
        BadInput: an unknown section, stage, option or value; the message names the place and what is accepted.
    """
    sections = ["image", "structure", *SECTIONS, "allow", "records"]
    unknown = sorted(set(tree) - set(sections))
    if unknown:
        raise BadInput(
            f"unknown section '{unknown[0]}'; sections: {', '.join(sections)}{nearest(unknown[0], sections)}"
        )
    start = tree.get("structure")
    if start is not None and (not isinstance(start, str) or "image" in tree or "segment" in tree):
        raise BadInput(
            "structure is the path of a structure file, and starts the pipeline in place of image and segment"
        )
    segment = None if start else read_stage("segmenter", tree.get("segment", DEFAULTS["segment"]), "segment")
    lists: dict[str, list[Stage]] = {}
    for section in ("build", "simulate"):
        given = tree.get(section, [])
        if not isinstance(given, list):
            raise BadInput(f"{section} must be a list: write [[{section}]], once per step")
        lists[section] = [read_stage(SECTIONS[section], one, f"{section}.{k}") for k, one in enumerate(given)]
    image = _section(ImageSource, tree, "image")
    if isinstance(segment, Segmenter) and segment.needs_image and image is None:
        raise BadInput(f"segmenter '{segment.name}' needs an image: give [image] path = \"...\", or an image file")
    records = _section(Records, tree, "records")
    given = {"image": image, "structure": start, "segment": segment, **lists, "records": records}
    return Config.model_validate({**given, "allow": _allowed(tree.get("allow", []))})


def _section(model: type[Section], tree: dict[str, Any], name: str) -> Section | None:
    if name not in tree:
        return None
    try:
        return model.model_validate(tree[name])
    except ValidationError as problem:
        raise BadInput(explained(problem, name, model)) from problem


def _allowed(given: Any) -> list[str]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput(f'allow is a list of checks, such as ["close"], got {given!r}')
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise BadInput(
            f"allow: no check named '{unknown[0]}'; checks: {', '.join(CHECKS)}{nearest(unknown[0], CHECKS)}"
        )
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
        if named and "engine" in installed().find("simulator", step["use"]).model_fields:
            step["engine"] = {"use": changes.engine}
    for assignment in changes.assignments:
        set_option(whole, assignment)
    if changes.allow:
        whole["allow"] = list(changes.allow)
    count_paths_from(Path.cwd(), whole)
    config = read_config(whole)
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
