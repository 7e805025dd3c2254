"""What ran: every stage with its options and versions, and the config."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stem2sim.options import without_none
from stem2sim.report.blocks import Code, Section, Table
from stem2sim.runs.movie_folder import movie_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.runs.run import Run


def provenance(run: Run) -> Iterator[Section]:
    """The stages in a table, the config below it."""
    steps: list[tuple[str, dict[str, Any]]] = []
    if run.segmentation:
        steps.append(("segment", run.segmentation.made_by))
    if movie := movie_of(run):
        steps.append(("segment every frame", movie.segmenter))
        steps.append(
            ("link the frames", {"use": "track", "version": f"stem2sim {movie.about['version']}", **movie.linking})
        )
    for name, structure in run.structures.items():
        steps += [(f"build {name}", made) for made in structure.history]
    steps += [(f"simulate {run.places[name].step}", r.record) for name, r in run.results.items()]
    rows = [[where, str(made.get("use", "")), str(made.get("version", "")), _options(made)] for where, made in steps]
    yield Section(
        "Provenance",
        [
            Table("Stages executed", ("step", "stage", "version", "options"), rows),
            Code("Configuration of this run", run.config_text, "toml"),
        ],
    )


def _options(made: dict[str, Any]) -> str:
    kept = without_none({key: value for key, value in made.items() if key not in ("use", "version")})
    return ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in kept.items())
