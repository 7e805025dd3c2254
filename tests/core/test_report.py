from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.db import connect
from PIL import Image as PillowImage
from tests.conftest import table_of

from stem2sim import figures
from stem2sim.config import read_config
from stem2sim.image import Image
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
        assert tag not in ("link", "iframe")
        assert tag != "script" or not attrs, "the page's own, and none from elsewhere"

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


@pytest.mark.parametrize(("column", "row"), [(10, 40), (57, 22), (33, 3)])
def test_a_point_of_the_picture_is_a_place_in_the_frame(column: int, row: int) -> None:
    """The one bright spot of a frame is found in the picture, and the panel's box leads back to its x and y."""
    pixels = np.zeros((50, 64), dtype=np.float32)
    pixels[row - 1 : row + 2, column - 1 : column + 2] = 1
    image = Image(pixels=pixels, pixel_size=0.3)
    png, panels = figures.frame(image, table_of(np.array([[9.0, 7.0]])))
    drawn = np.asarray(PillowImage.open(io.BytesIO(png)).convert("L")).astype(float)
    height, width = drawn.shape
    for (left, top, right, bottom), (x0, y0, x1, y1) in panels:
        rows, columns = (
            slice(round(a), round(b)) for a, b in ((top * height, bottom * height), (left * width, right * width))
        )
        inside = drawn[rows, columns][6:-6, 6:-6]  # the frame line round it is bright as well
        bright = np.argwhere(inside > 250).mean(axis=0) + 6.5
        u, v = (columns.start + bright[1]) / width, (rows.start + bright[0]) / height
        assert x0 + (u - left) / (right - left) * (x1 - x0) == pytest.approx(0.3 * column, abs=0.08)
        assert y0 + (v - top) / (bottom - top) * (y1 - y0) == pytest.approx(0.3 * row, abs=0.08)
