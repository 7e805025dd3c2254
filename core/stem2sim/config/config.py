"""Configs: TOML, flags and `--set` to the stages of a pipeline, and back."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from pydantic import BaseModel, ConfigDict, SerializeAsAny, ValidationError

from stem2sim.analysis.validation import CHECKS
from stem2sim.config.records import Records
from stem2sim.engines.engine import Engine
from stem2sim.errors import BadInput, nearest
from stem2sim.files import fingerprint
from stem2sim.imaging.readers import ImageSource
from stem2sim.options import explained, read_stage, without_none
from stem2sim.registry import HOOKS, installed
from stem2sim.stages import Builder, Segmenter, Simulator, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULTS: dict[str, Any] = {
    "segment": {"use": "unet"},
    "build": [{"use": "place"}, {"use": "patch"}, {"use": "hterm"}, {"use": "ripple"}],
    "simulate": [{"use": "xtb"}, {"use": "aimd", "temperature": 300, "engine": {"use": "xtb"}}],
}
"""What runs on an image when nothing else is asked for."""

PATHS = ("path", "slater_koster", "potentials", "job")
"""Options that name a file or folder; in a config they count from its own folder."""

SECTIONS = {"segment": "segmenter", "build": "builder", "simulate": "simulator"}


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

    def to_toml(self) -> str:
        """Return the resolved config: every option with its value."""
        return tomli_w.dumps(without_none(self.model_dump(mode="json")))

    def fingerprint(self) -> str:
        """Return a hash of all options."""
        return fingerprint(self.model_dump_json())


def read_toml(path: Path) -> dict[str, Any]:
    """Read a config file; relative paths in it count from its own folder.

    Raises:
        BadInput: missing file, or not TOML.
    """
    if not path.is_file():
        raise BadInput(f"no config file at {path}")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise BadInput(f"{path.name} is not valid TOML: {problem}") from problem
    _resolve_paths(tree, path.parent)
    return tree


def _resolve_paths(tree: dict[str, Any], folder: Path) -> None:
    try:
        listed = [step for s in ("build", "simulate") if isinstance(tree.get(s), list) for step in tree[s]]
        engines = [step.get("engine") for step in listed if isinstance(step, dict)]
        for part in (tree.get("image"), tree.get("segment"), *listed, *engines):
            for name in PATHS if isinstance(part, dict) else ():
                if isinstance(part.get(name), str):
                    part[name] = str((folder / part[name]).resolve())
        if isinstance(tree.get("structure"), str):
            tree["structure"] = str((folder / tree["structure"]).resolve())
    except (OSError, ValueError) as problem:
        raise BadInput(f"a path in the config cannot be one: {problem}") from problem


def set_option(tree: dict[str, Any], assignment: str) -> None:
    """Apply one `dotted.key=value` to a config tree; the value is TOML, or text where it is not.

    Raises:
        BadInput: no '=', or a list index that is not there.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set takes dotted.key=value, got '{assignment}'")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    steps = key.strip().split(".")
    here: Any = tree
    for depth, step in enumerate(steps):
        last = depth == len(steps) - 1
        place = ".".join(steps[: depth + 1])
        if isinstance(here, list):
            if not step.isdigit() or int(step) >= len(here):
                raise BadInput(f"--set {place}: there are {len(here)} of these, numbered from 0")
            if last:
                here[int(step)] = value
            else:
                here = here[int(step)]
        elif isinstance(here, dict):
            if last:
                here[step] = value
            else:
                here = here.setdefault(step, {})
        else:
            raise BadInput(f"--set {place}: '{'.'.join(steps[:depth])}' is a value, not a section")


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
    image = None
    if "image" in tree:
        try:
            image = ImageSource.model_validate(tree["image"])
        except ValidationError as problem:
            raise BadInput(explained(problem, "image", ImageSource)) from problem
    if isinstance(segment, Segmenter) and segment.needs_image and image is None:
        raise BadInput(f"segmenter '{segment.name}' needs an image: give [image] path = \"...\", or an image file")
    records = None
    if "records" in tree:
        try:
            records = Records.model_validate(tree["records"])
        except ValidationError as problem:
            raise BadInput(explained(problem, "records", Records)) from problem
    given = {"image": image, "structure": start, "segment": segment, **lists, "records": records}
    return Config.model_validate({**given, "allow": _allowed(tree.get("allow", []))})


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


def parse(
    file: Path | None, flags: dict[str, Any], assignments: Sequence[str] = (), engine: str | None = None
) -> Config:
    """Return the pipeline of a config file (or the defaults), plugin flags and `--set`, later ones first in rank.

    Args:
        file: TOML config, or None for the defaults.
        flags: sections that flags replace, such as {"segment": {"use": "unet"}}; None takes a section away.
        assignments: texts `dotted.key=value`.
        engine: name of the engine of every simulator that takes one.
    """
    tree = read_toml(file) if file is not None else copy.deepcopy(DEFAULTS)
    tree = {section: value for section, value in (tree | flags).items() if value is not None}
    steps = tree.get("simulate")
    for step in steps if engine is not None and isinstance(steps, list) else []:
        # what is wrong with a step that names no stage, read_config says
        named = isinstance(step, dict) and isinstance(step.get("use"), str)
        if named and "engine" in installed().find("simulator", step["use"]).model_fields:
            step["engine"] = {"use": engine}
    for assignment in assignments:
        set_option(tree, assignment)
    _resolve_paths(tree, Path.cwd())  # those of the file count from the file, and are absolute by now
    return read_config(tree)


def schema() -> dict[str, Any]:
    """Return the JSON schema of configs for the plugins installed here."""
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in (*HOOKS, "engine")}
    for offer in installed().offers:
        one = offer.stage.model_json_schema(mode="validation")
        one["properties"] = {"use": {"const": offer.stage.name}, **one.get("properties", {})}
        one["required"] = ["use", *one.get("required", [])]
        one["description"] = offer.summary
        for option in one["properties"].values():
            if option.get("title") == "engine":
                option.clear()
                option["$ref"] = "#/$defs/engine"
        kinds[offer.kind].append(one)
        if issubclass(offer.stage, Engine):
            kinds["engine"].append(one)
    of = {section: {"$ref": f"#/$defs/{kind}"} for section, kind in SECTIONS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "stem2sim config",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "image": ImageSource.model_json_schema(),
            "structure": {
                "type": "string",
                "description": "structure file to start from, in place of image and segment",
            },
            "segment": of["segment"],
            "build": {"type": "array", "items": of["build"]},
            "simulate": {"type": "array", "items": of["simulate"]},
            "allow": {
                "type": "array",
                "items": {"enum": CHECKS},
                "description": "checks of the structure whose errors do not stop the run",
            },
            "records": Records.model_json_schema(),
        },
        "$defs": {kind: {"oneOf": options} if options else {"not": {}} for kind, options in kinds.items()},
    }
