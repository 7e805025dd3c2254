from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.db import connect

from stem2sim.config import read_config
from stem2sim.pipeline import run
from stem2sim.testing import graphene_image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with a frame, a relaxation and a trajectory; its name holds what HTML must escape."""
    base = tmp_path_factory.mktemp("report")
    np.save(base / "a<b>&c.npy", graphene_image(16.0).pixels)
    config = read_config(
        {
            "image": {"path": str(base / "a<b>&c.npy"), "pixel_size": 0.1},
            "segment": {"use": "peaks"},
            "build": [{"use": "place"}, {"use": "patch", "size": 10}, {"use": "hterm"}],
            "simulate": [{"use": "xtb", "max_steps": 2}, {"use": "aimd", "steps": 6, "engine": {"use": "xtb"}}],
        }
    )
    run(config, base / "run")
    return base / "run"


class Links(HTMLParser):
    """Collects what a browser would fetch, and the text it would show."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.pictures = 0
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            assert given.get("alt"), "a picture needs words for those who cannot see it"
            self.pictures += 1
        self.fetched += [v for k, v in attrs if k in ("src", "href", "srcset") and v and not v.startswith("data:")]
        assert tag not in ("script", "link", "iframe")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_no_network_and_shows_all(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert links.fetched == []
    assert "url(" not in page
    # frame, certainty, patch; structures, bonds and series of two simulations
    assert links.pictures == 3 + 2 * 3
    assert "a<b>&c.npy" in links.text, "names are escaped, not interpreted"
    for word in ("C-C bonds", "C-H bonds", "pixel size used", "not converged", "peaks", "tblite", "temperature"):
        assert word in links.text, word


def test_numbers_on_the_page_are_those_of_the_results(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for step in ("01-xtb", "02-aimd"):
        energy = json.loads((folder / step / "result.json").read_text())["energy"]
        assert f"{energy:.4f} eV" in page


def test_results_are_in_the_database(folder: Path) -> None:
    rows = list(connect(folder / "results.db").select())
    energies = [json.loads((folder / s / "result.json").read_text())["energy"] for s in ("01-xtb", "02-aimd")]
    assert [row.energy for row in rows] == pytest.approx(energies)
    assert [row.converged for row in rows] == [False, True]


def test_the_crate_names_every_file_there_is(folder: Path) -> None:
    crate = json.loads((folder / "ro-crate-metadata.json").read_text())
    parts = next(e for e in crate["@graph"] if e["@id"] == "./")["hasPart"]
    assert {"report.html", "atoms.csv", "01-xtb/result.json"} <= {p["@id"] for p in parts}
    assert all((folder / p["@id"]).is_file() for p in parts)


def test_versions_are_stated(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert re.search(r"stem2sim-xtb \d+\.\d+", page)
    assert re.search(r"tblite \d+\.\d+", page)
