from __future__ import annotations

import io
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.build import mx2
from ase.db import connect
from ase.io import read
from PIL import Image as PillowImage
from tests.conftest import flake, small_run, table_of
from tests.made_runs import run_with

from stem2sim import drawing
from stem2sim.analysis.evolution import evolution
from stem2sim.atoms_table import AtomsTable
from stem2sim.errors import BadInput
from stem2sim.geometry.bonds import Bonds
from stem2sim.image import Image
from stem2sim.records.methods import methods
from stem2sim.report.blocks import (
    Beside,
    Code,
    Facts,
    Figures,
    Film,
    FrameView,
    Picture,
    Plot,
    Points,
    Raster,
    Regions,
    Section,
    Series,
    StructureView,
    Table,
    Text,
    Warnings,
)
from stem2sim.report.groups import adsorption, samples
from stem2sim.report.labels import label
from stem2sim.report.page import Page
from stem2sim.report.report import Report, write_report
from stem2sim.report.simulations import _defects
from stem2sim.report.structureview import MOST
from stem2sim.report.trajectories import _plots
from stem2sim.runs.run import Run
from stem2sim.runs.sessions import Session, SessionLog
from stem2sim.segmentation import Ambiguity, Segmentation

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.report.blocks import Block
    from stem2sim.simulation import SimulationResult


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with a frame, a relaxation and a trajectory; its name holds what HTML must escape."""
    base = tmp_path_factory.mktemp("report")
    return small_run(base)


class Reader(HTMLParser):
    """Collects what a browser would fetch, the text it would show, and the data it would read."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.data: list[dict[str, Any]] = []
        self._within = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag == "img":
            assert given.get("alt"), "a picture needs words for those who cannot see it"
        if tag == "script":
            assert given in ({}, {"type": "application/json"}), "the page's own, and none from elsewhere"
        assert tag not in ("iframe", "object")
        assert not any(name.startswith("on") for name in given)
        held = ("#", "data:")  # in the page itself
        self.fetched += [v for k, v in attrs if k in ("src", "href", "srcset") and v and not v.startswith(held)]
        self._within = "data" if given.get("type") == "application/json" else tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "data":
            self.data.append(json.loads(data))
        elif not self._within:
            self.text += data


HOSTILE = "</script><b>&\"'|`*x*`[y](z) $body {{body}} \\u003c"
"""A name that would break out of whatever does not escape it."""


def hostile() -> list[Block]:
    """Return every kind of block, with a hostile name wherever there is a name."""
    sheet = flake(6).atoms
    places = sheet.positions[:, 0], sheet.positions[:, 1]
    grey = Raster.grey(HOSTILE, np.eye(16), 0.5)
    return [
        Text(HOSTILE), Warnings([HOSTILE], HOSTILE, grave=True), Facts({HOSTILE: [HOSTILE, "two"]}),
        Table(HOSTILE, [HOSTILE, "n"], [[HOSTILE, "1"]], HOSTILE), Picture(grey.png, HOSTILE, HOSTILE),
        Plot(HOSTILE, HOSTILE, [Series(HOSTILE, [0, 1], [np.nan, 2], [0, 1], [1, 3])], y_label=HOSTILE, log_y=True),
        FrameView(
            grey.extent, [grey, Raster.of(HOSTILE, np.eye(16) - 0.5, grey.extent, 1.0, HOSTILE)],
            [Points(HOSTILE, *places, [HOSTILE] * len(sheet), "#ffffff", key={HOSTILE: "#ffffff"})],
            [Regions(HOSTILE, [np.array([[0, 0], [1, 0], [1, 1.0]])], "#ffffff")], HOSTILE, HOSTILE,
        ),
        StructureView(HOSTILE, [(HOSTILE, sheet)], Film.of([sheet, sheet], [0, 1], HOSTILE), HOSTILE),
        Code(HOSTILE, HOSTILE + "```"), Beside([Text(HOSTILE)]), Section(HOSTILE, [Text(HOSTILE)]),
    ]  # fmt: skip


def test_nothing_that_is_shown_can_become_markup() -> None:
    """Every block, with a name that tries: the page has the elements it would have without, and nothing is fetched."""
    page = Reader(Page(HOSTILE, HOSTILE, [Section(HOSTILE, hostile())]).html())
    assert page.fetched == []
    assert page.tags.count("b") == 0
    assert page.tags.count("body") == 1
    assert page.tags.count("script") == 3 + len(("page", "table", "uPlot", "plot", "frame", "3Dmol", "structure"))
    assert page.text.count(HOSTILE) > 20
    words, _ = Page(HOSTILE, HOSTILE, [Section(HOSTILE, hostile())]).markdown()
    prose = re.sub(r"(?s)````.*?````", "", words)
    assert "<b>" not in prose.replace("\\<", "")


def test_the_page_needs_no_network_and_shows_all(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    reader = Reader(page)
    assert reader.fetched == []
    assert "url(" not in re.sub(r"(?s)<script>.*?</script>", "", page)
    # structures of two simulations; bonds of two kinds each; energy and force, three observables; along the
    # trajectory displacements, distances, angles
    assert reader.tags.count("img") >= 2 + 2 * 2 + 2 + 3 + 3
    assert reader.tags.count("h1") == 1
    assert "a<b>&c.npy" in reader.text, "names are escaped, not interpreted"
    for word in ("C–C bonds", "C–H bonds", "pixel size used", "not converged", "peaks", "tblite", "temperature"):
        assert word in reader.text, word
    for word in ("normalised cross-correlation", "Mean-square displacement", "Flyvbjerg", "Displacements of"):
        assert word in reader.text, word


def test_markdown_says_the_same_with_its_pictures_beside_it(folder: Path) -> None:
    words = (folder / "report.md").read_text()
    assert words.startswith("# a\\<b\\>&c.npy\n")
    for word in ("## Summary", "C–C bonds", "pixel size used", "NOT CONVERGED", "tblite", "| result | engine |"):
        assert word in words, word
    named = set(re.findall(r"\]\((figures/[^)]+\.png)\)", words))
    assert named == {str(file.relative_to(folder)) for file in (folder / "figures").iterdir()}
    assert len(named) >= 1 + 2 + 2 * 2 + 2 + 3 + 3


def test_numbers_on_the_page_are_those_of_the_results(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for step in ("01-xtb", "02-aimd"):
        energy = json.loads((folder / step / "result.json").read_text())["energy"]
        assert f"{energy:.4f} eV" in page


def test_the_view_holds_the_structures_and_the_trajectory(folder: Path) -> None:
    """Every atom where the result has it, every frame at the time the observables say."""
    data = next(d for d in reversed(Reader((folder / "report.html").read_text()).data) if "trajectory" in d)
    result = json.loads((folder / "02-aimd" / "result.json").read_text())
    after = data["structures"][-1]
    atoms = read(folder / "02-aimd" / "result.extxyz")
    assert after["symbols"] == list(atoms.symbols)
    assert np.reshape(after["positions"], (-1, 3)) == pytest.approx(atoms.positions, abs=6e-4)
    assert after["cell"] is None, "a flake has no cell to show"
    assert data["trajectory"]["times"] == pytest.approx(result["observables"]["time [fs]"])
    assert len(data["trajectory"]["frames"]) == len(data["trajectory"]["times"])


def test_results_are_in_the_database(folder: Path) -> None:
    rows = list(connect(folder / "results.db").select())
    energies = [json.loads((folder / s / "result.json").read_text())["energy"] for s in ("01-xtb", "02-aimd")]
    assert [row.energy for row in rows] == pytest.approx(energies)
    assert [row.converged for row in rows] == [False, True]


def test_the_crate_names_every_file_there_is(folder: Path) -> None:
    crate = json.loads((folder / "ro-crate-metadata.json").read_text())
    named = {e["@id"] for e in crate["@graph"] if "File" in e["@type"]}
    assert {"report.html", "report.md", "atoms.csv", "01-xtb/result.json"} <= named
    assert {f"figures/{file.name}" for file in (folder / "figures").iterdir()} <= named
    assert all((folder / name).is_file() for name in named if "://" not in name and not name.startswith("#"))


def test_versions_are_stated(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert re.search(r"stem2sim-xtb \d+\.\d+", page)
    assert re.search(r"tblite \d+\.\d+", page)


def test_pictures_of_an_earlier_report_go(folder: Path, tmp_path: Path) -> None:
    """Those that a report drew; what somebody else put there stays."""
    copy = shutil.copytree(folder, tmp_path / "run")
    (copy / "figures" / "99-earlier.png").touch()
    (copy / "figures" / "100-earlier.png").touch()
    (copy / "figures" / "mine.png").touch()
    write_report(Run(copy))
    names = {file.name for file in (copy / "figures").iterdir()}
    assert not {"99-earlier.png", "100-earlier.png"} & names
    assert "mine.png" in names


def test_a_failure_comes_first(folder: Path, tmp_path: Path) -> None:
    """With what there is, or with nothing; and a run that was resumed says so."""
    cut = Session(begun="2026-11-23 02:14:00 UTC", version="0.1.0", steps=["01-xtb", "02-aimd"])
    again = Session(begun="2026-11-23 03:00:00 UTC", version="0.1.0", steps=["02-aimd"])
    copy = shutil.copytree(folder, tmp_path / "copy")
    sessions = [one.model_dump() for one in (cut, again)]
    (copy / "sessions.json").write_text(json.dumps(sessions))
    text = Reader(Report(Run(copy).under_way("the disk is full")).page().html()).text
    assert "This run did not finish: the disk is full" in text
    assert text.index("did not finish") < text.index("pixel size")
    assert "This run was resumed: started 2026-11-23 02:14:00 UTC, stopped abruptly in 02-aimd; started 2026" in text
    (tmp_path / "run.toml").write_text('[image]\npath = "frame.npy"\n[segment]\nuse = "peaks"\n')
    with pytest.raises(BadInput, match="nothing to report"):
        Report(Run(tmp_path))
    page = write_report(Run(tmp_path).under_way("no lattice")).read_text()
    for words in ("This run did not finish: no lattice", "no atoms were detected", "no structure was built"):
        assert words in Reader(page).text


def test_a_run_that_was_cut_off_and_not_gone_on_with_says_so(folder: Path, tmp_path: Path) -> None:
    """Whoever asks for the report in between reads where it stopped."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    log = SessionLog(copy)
    log.begin("02-aimd")
    text = Reader(Report(Run(copy)).page().html()).text
    assert "This run did not finish: stopped abruptly in 02-aimd" in text
    log.end("interrupted")
    assert "This run did not finish: interrupted in 02-aimd" in Reader(Report(Run(copy)).page().html()).text


def test_an_atoms_table_is_shown_without_a_frame(tmp_path: Path) -> None:
    """The atoms, with what is doubted; the page has no picture of a frame."""
    atoms = table_of(flake(12).atoms.positions[:, :2])
    doubt = Ambiguity(x=1.0, y=2.0, information=0.3, readings=(("C", 0.6), ("nothing", 0.4)))
    found = Segmentation(atoms=atoms, ambiguities=(doubt,))
    page = Report(run_with(tmp_path, segmentation=found)).page().html()
    assert "<image" not in page
    assert page.count("<circle") == 3 * len(atoms) + 1
    assert "x = 1.00, y = 2.00 Å: C (0.60) or nothing (0.40)" in Reader(page).data[0]["places"][0]
    assert "Ambiguous positions" in page


def test_a_frame_in_which_nothing_was_found_is_shown(tmp_path: Path) -> None:
    """With a frame, and without: zero atoms break nothing, in HTML or Markdown."""
    for image in (Image(pixels=np.eye(32, dtype=np.float32), pixel_size=0.1), None):
        page = Report(run_with(tmp_path, segmentation=Segmentation(atoms=AtomsTable.empty()), image=image)).page()
        assert "no atoms" in Reader(page.html()).text
        assert "no atoms" in page.markdown()[0]


def test_structures_of_the_same_atoms_share_a_layer(folder: Path) -> None:
    """Ten samples of one patch are one layer of the frame, which says how many they are."""
    run = Run(folder)
    (structure,) = run.structures.values()
    source = structure.atoms.arrays["source"]
    other = structure.model_copy(update={"atoms": structure.atoms[source != source.max()]})
    run.__dict__["structures"] = {"a": structure, "b": structure, "c": structure, "d": other}
    text = Reader(Report(run).page().html()).text
    assert "in a and 2 more" in text
    assert "in d" in text


def test_a_large_frame_is_a_small_page(tmp_path: Path) -> None:
    """896 × 896 pixels and 2000 atoms: what a point says is in the page once, however many layers show it."""
    x, y = (one.ravel() for one in np.meshgrid(np.arange(45) * 2.0, np.arange(45) * 2.0))
    pixels = np.random.default_rng(0).poisson(20, (896, 896)).astype(np.float32)
    atoms = table_of(np.column_stack([x, y]))
    image = Image(pixels=pixels, pixel_size=0.1)
    page = Report(run_with(tmp_path, segmentation=Segmentation(atoms=atoms), image=image)).page().html()
    assert len(page) < 3e6
    (data,) = Reader(page).data
    assert len(data["places"]) == len(atoms)
    assert [len(layer) for layer in data["layers"]] == [len(atoms)] * 3


def test_a_long_film_keeps_evenly_spaced_frames() -> None:
    """At most so many bytes, the first frame always, each with its own time."""
    sheet = flake(12).atoms
    film = Film.of((sheet for _ in range(3001)), np.arange(3001) * 0.5, "time [fs]")
    assert film is not None
    assert film.total == 3001
    assert film.every > 1
    assert np.diff(film.times) == pytest.approx(0.5 * film.every)
    assert len(film.frames) == len(film.times)
    assert len(json.dumps(film.frames)) < 1.5 * MOST
    assert f"Frames shown: 1 in {film.every} of 3001." in StructureView("x", [("x", sheet)], film).html(3)


def test_curves_with_different_points_share_an_axis() -> None:
    """Each value stays at its own x; where a curve has none there is none."""
    plot = Plot("t", "x", [Series("a", [0, 2], [1, 3]), Series("b", [0, 1, 2], [5, 6, np.inf], [4, 5, 6], [6, 7, 8])])
    (data,) = Reader(plot.html(3)).data
    assert data["columns"] == [[0, 1, 2], [1, None, 3], [5, 6, None], [4, 5, 6], [6, 7, 8]]
    assert [one["band"] for one in data["series"]] == [False, True]
    histogram = Series.histogram("h", [0.1, 0.2, 1.5], [0, 1, 2])
    assert np.asarray(histogram.y).tolist() == [2, 1, 0]
    for kind in ("line", "steps", "bars"):
        assert Plot("t", "x", [histogram], kind).png.startswith(b"\x89PNG")


def test_a_map_is_stretched_and_lies_where_it_was_measured() -> None:
    """The centre of the first pixel is at 0, 0; above 0 and below have colours of their own, 0 has none."""
    values = np.array([[0.0, 1.0], [-1.0, 0.5]])
    raster = Raster.of("m", values, drawing.extent(values, 0.2), 1.0)
    assert raster.extent == pytest.approx((-0.1, -0.1, 0.3, 0.3))
    assert (
        np.asarray(PillowImage.open(io.BytesIO(Raster.of("m", values * np.nan, (0, 0, 1, 1), 1.0).png)))[..., 3].max()
        == 0
    )
    shades = np.asarray(PillowImage.open(io.BytesIO(raster.png)))
    assert shades[..., 3].tolist() == [[0, 255], [255, 128]]
    assert shades[0, 1, 0] > shades[0, 1, 2]
    assert shades[1, 0, 2] > shades[1, 0, 0]
    grey = np.asarray(PillowImage.open(io.BytesIO(Raster.grey("g", np.arange(2000.0).reshape(40, 50), 1.0).png)))
    assert grey.shape == (40, 50)
    assert (grey.min(), grey.max()) == (0, 255)


def test_markdown_keeps_pictures_in_order() -> None:
    kept = Figures()
    assert kept.add(b"a", "C-C bonds [Å]") == "figures/01-c-c-bonds.png"
    assert kept.add(b"b", "***") == "figures/02-x.png"


def test_the_methods_claim_no_convergence_that_was_not_reached(folder: Path) -> None:
    """Two steps are too few to relax in; the dynamics, which ran, are not blamed."""
    text = Reader(Report(Run(folder)).page().html()).text
    (reason,) = re.findall(r"1 of 2 calculations did not converge: xtb \((.*?)\)\.", text)
    assert "max_steps = 2 reached before fmax" in reason


def test_the_methods_describe_a_method_once_and_compare_after_it(folder: Path) -> None:
    """The dynamics use the forces of the relaxation before them; correlations follow what they are of."""
    words = methods(Run(folder), "Compared with the image.")
    assert words.count("tight-binding method") == 1
    assert "Forces were computed with the same method." in words
    assert words.index("same method") < words.index("Compared with the image.") < words.index("The workflow follows")


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("C-C-Si [°]", "C–C–Si [°]"), ("C-C bonds, mean", "C–C bonds, mean"), ("GFN1-xTB", "GFN1-xTB"),
        ("largest force [eV/Å]", "maximum force [eV/Å]"), ("Stone-Wales 5-7-7-5", "Stone-Wales 5-7-7-5"),
    ],
)  # fmt: skip
def test_names_of_the_data_in_print(name: str, printed: str) -> None:
    """Bonds get en dashes, other hyphens stay; names printed once more stay as they are."""
    assert label(name) == label(printed) == printed


@pytest.mark.parametrize("file", ["segmentation.npz", "01-xtb/result.json", "01-xtb/result.extxyz"])
@pytest.mark.parametrize("share", [0, 0.1, 0.9])
def test_a_damaged_file_is_one_line(folder: Path, tmp_path: Path, file: str, share: float) -> None:
    """Cut off anywhere; it says which file to delete."""
    copy = shutil.copytree(folder, tmp_path / "run")
    whole = (copy / file).read_bytes()
    (copy / file).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BadInput, match=r"delete (it|that), and its step runs again") as caught:
        Report(Run(copy)).page()
    assert "\n" not in str(caught.value)


def test_a_segmentation_with_other_bytes_in_it_is_damaged(folder: Path, tmp_path: Path) -> None:
    """As a bad disk leaves it."""
    kept = (folder / "segmentation.npz").read_bytes()
    (tmp_path / "s.npz").write_bytes(kept[:100] + bytes(200) + kept[300:])
    with pytest.raises(BadInput, match=r"s\.npz is damaged"):
        Segmentation.load(tmp_path / "s.npz")


def test_what_was_kept_of_a_trajectory_that_is_gone_is_shown(folder: Path, tmp_path: Path) -> None:
    """Trajectories are large, and are thrown away first; what covers another number of frames is of another one."""
    copy = shutil.copytree(folder, tmp_path / "run")
    (file,) = (copy / "02-aimd").glob("dynamics*.traj")
    write_report(Run(copy))
    file.unlink()
    run = Run(copy)
    assert list(run.evolutions) == ["02-aimd"]
    text = Reader(Report(run).page().html()).text
    assert f"{file.name}: no longer in the run folder" in text
    assert "Mean-square displacement in 02-aimd" in text
    kept = copy / "02-aimd" / "analysis.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"frames": 3}))
    assert Run(copy).evolutions == {}


def test_every_quantity_of_several_trajectories_has_its_plot() -> None:
    """One curve for each temperature, and a title that says of what; distributions of what most atoms could make."""
    start = flake(12).atoms
    start.symbols[:3] = "B"
    rng = np.random.default_rng(0)
    named = {}
    for name, heat in (("300K", 0.02), ("3000K", 0.6)):
        shake = [(float(k), start.copy()) for k in range(12)]
        for _, atoms in shake:
            atoms.positions += rng.normal(0, heat, (len(atoms), 3))
        named[name] = evolution(shake, 12)
    plots = {plot.title: plot for plot in _plots("02-aimd", named, Counter(start.get_chemical_symbols()))}
    assert {"Bonds broken in 02-aimd", "Bonds formed in 02-aimd", "Mean-square displacement of C in 02-aimd",
            "Rings of 5 in 02-aimd", "Radial distribution function C–C in 02-aimd", "Bond angles C–C–C in 02-aimd",
            } <= set(plots)  # fmt: skip
    assert all([one.name for one in plot.series] == list(named) for plot in plots.values())
    assert max(plots["Rings of 5 in 02-aimd"].series[0].y) == 0
    alone = [plot.title for plot in _plots("02-aimd", {"": named["3000K"]}, Counter())]
    assert alone[:3] == [
        f"{title} in 02-aimd" for title in ("Mean-square displacement", "Bonds broken and formed", "Rings")
    ]


def test_sections_of_two_simulations_differ_by_title_and_anchor(folder: Path, tmp_path: Path) -> None:
    """Samples that were relaxed by two engines, and adsorption energies from both."""
    one = next(iter(Run(folder).results.values()))

    def made(use: str, label: str, energy: float) -> SimulationResult:
        structure = one.structure.model_copy(update={"label": label})
        return one.model_copy(
            update={"structure": structure, "energy": energy, "converged": True, "made_by": {"use": use}}
        )

    labels = ("sample-1", "sample-2", "surface", "adsorbate", "hollow-1")
    results = {
        f"{step}-{label}/result.json": made(step.partition("-")[2], label, k)
        for step in ("01-xtb", "02-xtb", "03-hterm")
        for k, label in enumerate(labels)
    }
    run = run_with(tmp_path, results)
    for section in (samples, adsorption):
        found = list(section(run))
        assert len(found) == len({one.id for one in found}) == len({one.title for one in found}) == 3
        assert [step in one.title for one, step in zip(found, ("01-xtb", "02-xtb", "03-hterm"), strict=True)] == [
            True
        ] * 3


def test_defects_are_not_denied_where_none_were_looked_for() -> None:
    """Named defects are those of carbon."""
    assert _defects(Bonds.of(mx2("MoS2", size=(4, 4, 1)))) == "not analysed (available for carbon sheets only)"
    assert _defects(flake(12).bonds) == "none identified"
