"""The report's page in a browser: what a reader does with it works, from a disk, without a network."""

from __future__ import annotations

import csv
import io
import shutil
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PillowImage
from tests.conftest import small_run

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LARGEST = 15e6
"""Bytes of a page."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with a frame, a relaxation and a trajectory."""
    base = tmp_path_factory.mktemp("browser")
    return small_run(base)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return the browser of this machine, drawing WebGL in software."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=flags)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def shown(browser: Browser, folder: Path) -> Iterator[Page]:
    """Return the page, open; at the end it has asked for nothing but itself and complained of nothing."""
    page = browser.new_page(viewport={"width": 1000, "height": 760})
    page.set_default_timeout(60_000)  # structures are drawn in software
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((folder / "report.html").as_uri())
    yield page
    assert [url for url in asked if not url.startswith(("file://", "data:", "blob:"))] == []
    assert said == []


@pytest.fixture
def frame(shown: Page) -> Locator:
    """Return the frame as it is at the start."""
    view = shown.locator("#detected-atoms figure.frame")
    view.get_by_role("button", name="reset zoom").click()
    return view


def atom(frame: Locator, number: int) -> tuple[float, float]:
    """Return where an atom is on the screen."""
    box = frame.locator('[data-layer="detected atoms"] circle').nth(number).bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def colours(view: Locator) -> int:
    """Return how many colours a part of the page has."""
    picture = PillowImage.open(io.BytesIO(view.screenshot())).convert("RGB")
    return len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0))


def kept(page: Page, button: Locator) -> list[list[str]]:
    """Return the rows of the file that a button offers."""
    with page.expect_download() as download:
        button.click()
    return list(csv.reader(download.value.path().read_text(encoding="utf-8").splitlines()))


def test_layers_switch(frame: Locator) -> None:
    """A layer shows when it is ticked, and only then."""
    for name in ("detected atoms", "probability", "in structure.extxyz"):
        layer, switch = frame.locator(f'[data-layer="{name}"]'), frame.get_by_role("checkbox", name=name)
        assert switch.is_checked() == (name == "detected atoms")
        for _ in range(2):
            switch.click()
            assert layer.locator("circle").first.is_visible() == switch.is_checked()


def test_an_atom_that_is_pointed_at_is_named(shown: Page, frame: Locator) -> None:
    frame.scroll_into_view_if_needed()
    shown.mouse.move(*atom(frame, 20))
    details = frame.locator("output.details").inner_text()
    assert "atom 20: C; probability" in details
    assert "Å" in details


def test_arrow_keys_walk_over_the_atoms(shown: Page, frame: Locator) -> None:
    """To the right x grows, down y does; Escape leaves."""
    shown.mouse.move(0, 0)
    stage, details = frame.locator(".stage"), frame.locator("output.details")
    stage.focus()
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        stage.press(key)
        words = details.inner_text()
        seen.append([float(words.partition(f"{axis} = ")[2].split()[0].strip(",")) for axis in "xy"])
    assert seen[1][0] > seen[0][0]
    assert seen[2][1] > seen[1][1]
    stage.press("Escape")
    assert details.inner_text() == ""
    assert not stage.evaluate("one => one === document.activeElement")


def test_a_click_tells_the_place(shown: Page, frame: Locator, folder: Path) -> None:
    """As the builder `patch` takes it, zoomed or not: the place of the atom that is clicked on."""
    with (folder / "atoms.csv").open() as file:
        row = list(csv.DictReader(file))[20]
    for _ in range(2):
        frame.scroll_into_view_if_needed()
        shown.mouse.click(*atom(frame, 20))
        words = frame.locator("output.place").text_content() or ""
        assert words.startswith("center = [")
        assert words.endswith("]  # Å")
        place = [float(v) for v in words.removeprefix("center = [").partition("]")[0].split(",")]
        assert place == pytest.approx([float(row["x"]), float(row["y"])], abs=0.06)
        before = frame.locator(".scale span").inner_text()
        x, y = atom(frame, 20)
        shown.mouse.move(x, y)
        shown.keyboard.down("Control")
        shown.mouse.wheel(0, -600)
        shown.keyboard.up("Control")
        frame.locator(".stage.zoomed").wait_for()
    assert frame.locator(".scale span").inner_text() != before, "the scale bar follows the zoom"


def test_the_structure_is_drawn_as_in_the_frame(shown: Page) -> None:
    """Not mirrored: larger x is further right, larger y further down, larger z further back."""
    figure = shown.locator("figure.structure").first
    figure.scroll_into_view_if_needed()
    figure.locator("canvas").first.wait_for()
    shown.wait_for_timeout(500)
    assert colours(figure.locator(".viewer")) > 50
    axes = """figure => { const at = (x, y, z) => figure.viewer.modelToScreen({x, y, z}); const o = at(0, 0, 0);
        return [at(1, 0, 0).x - o.x, at(0, 1, 0).y - o.y, at(1, 0, 0).y - o.y, at(0, 0, 1).x - o.x]; }"""
    right, down, *aside = figure.evaluate(axes)
    assert right > 1
    assert down == pytest.approx(right, rel=0.01)
    assert aside == pytest.approx([0, 0], abs=0.01)
    assert figure.evaluate("figure => figure.viewer.getView().slice(4)") == pytest.approx([1, 0, 0, 0])
    figure.get_by_role("button", name="from the side").click()
    down = figure.evaluate("figure => figure.viewer.modelToScreen({x: 0, y: 0, z: 1}).y - "
                           "figure.viewer.modelToScreen({x: 0, y: 0, z: 0}).y")  # fmt: skip
    assert down == pytest.approx(right, rel=0.01), "z down, as in the picture for print"


def test_a_trajectory_plays(shown: Page) -> None:
    figure = shown.locator("figure.structure").last
    figure.scroll_into_view_if_needed()
    figure.locator("canvas").first.wait_for()
    slider, when = figure.get_by_role("slider"), figure.locator("output.when")
    slider.fill("0")
    assert when.inner_text() == "frame 1 of 4 · 0 fs"
    before = figure.locator(".viewer").screenshot()
    figure.get_by_role("button", name="play").click()
    moved = "view => { window.seen = (window.seen ?? new Set()).add(view.textContent); return window.seen.size >= 3; }"
    shown.wait_for_function(moved, arg=when.element_handle(), polling=20)
    figure.get_by_role("button", name="play").click()
    slider.fill("3")
    assert when.inner_text() == "frame 4 of 4 · 3 fs"
    assert figure.locator(".viewer").screenshot() != before


def test_a_plot_zooms_and_goes_back(shown: Page) -> None:
    figure = shown.locator("figure.plot", has_text="C–C bond lengths").first
    figure.scroll_into_view_if_needed()
    box = figure.locator(".u-over").bounding_box()
    assert box
    span = "figure => figure.plot.scales.x.max - figure.plot.scales.x.min"
    whole = figure.evaluate(span)
    shown.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 60)
    shown.mouse.down()
    shown.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 60, steps=4)
    shown.mouse.up()
    assert figure.evaluate(span) == pytest.approx(whole / 2, rel=0.05)
    figure.get_by_role("button", name="reset zoom").click()
    assert figure.evaluate(span) == pytest.approx(whole)


def test_numbers_of_a_plot_can_be_kept(shown: Page, folder: Path) -> None:
    figure = shown.locator("figure.plot", has_text="temperature").first
    head, *rows = kept(shown, figure.get_by_role("button", name="CSV"))
    assert head == ["time [fs]", "temperature [K]"]
    assert len(rows) == 4


def test_a_table_sorts_and_can_be_kept(shown: Page, folder: Path) -> None:
    table = shown.locator("figure.table", has_text="energy [eV]")
    head, *rows = kept(shown, table.get_by_role("button", name="CSV"))
    assert head[:3] == ["result", "engine", "energy [eV]"]
    assert [row[0] for row in rows] == ["01-xtb (not converged)", "02-aimd"]
    by_energy = table.get_by_role("button", name="energy [eV]")
    energies = []
    for _ in range(2):
        by_energy.click()
        energies.append([float(cell) for cell in table.locator("tbody td:nth-child(3)").all_inner_texts()])
    assert energies[0] == sorted(energies[0])
    assert energies[1] == energies[0][::-1]


def test_the_page_fits_a_telephone(browser: Browser, folder: Path) -> None:
    """Nothing scrolls sideways but what has a box of its own; and the file can be sent."""
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.goto((folder / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.close()
    assert (folder / "report.html").stat().st_size < LARGEST


def test_without_scripts_the_pictures_stay(browser: Browser, folder: Path) -> None:
    """In print, and where scripts are off: the frame with its atoms, structures and curves."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "report.html").as_uri())
    assert all(one.is_visible() for one in page.locator("img.still").all())
    assert page.locator('[data-layer="detected atoms"] circle').first.is_visible()
    context.close()


def test_the_page_can_be_read_aloud(shown: Page) -> None:
    """One first heading, none left out below it, a name for every control, alt text for every picture."""
    levels = [int(tag[1]) for tag in shown.locator("h1, h2, h3, h4").evaluate_all("all => all.map(h => h.tagName)")]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert shown.locator("html").get_attribute("lang") == "en"
    nameless = "all => all.filter(one => !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).length"
    assert shown.locator("button, input").evaluate_all(nameless) == 0
    assert shown.locator("img:not([alt])").count() == 0
    ids = shown.locator("[id]").evaluate_all("all => all.map(one => one.id)")
    assert len(ids) == len(set(ids))
    targets = shown.locator("a[href^='#']").evaluate_all("all => all.map(one => one.hash.slice(1))")
    assert set(targets) <= set(ids)
