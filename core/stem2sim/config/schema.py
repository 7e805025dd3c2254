"""The JSON Schema of configs, for editors."""

from __future__ import annotations

from typing import Any

from stem2sim.analysis.validation import CHECKS
from stem2sim.config.records import Records
from stem2sim.config.tree import SECTIONS
from stem2sim.engines.engine import Engine
from stem2sim.imaging.readers import ImageSource
from stem2sim.registry import HOOKS, installed


def schema() -> dict[str, Any]:
    """Return the JSON Schema of configs for the installed plugins."""
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
                "description": "structure file to start from, instead of image and segment",
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
