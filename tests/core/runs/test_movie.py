"""Every frame of a movie is segmented once, and what was cut off goes on."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING, ClassVar
from zipfile import ZipFile

import numpy as np
import pytest
from tests.conftest import stem2sim

from stem2sim.atoms_table import AtomsTable
from stem2sim.config.config import Config
from stem2sim.errors import BadInput, StageFailed
from stem2sim.files import fingerprint
from stem2sim.imaging.forward import Probe, Scan
from stem2sim.imaging.readers import ImageSource
from stem2sim.records.made_with import prepared
from stem2sim.records.methods import methods
from stem2sim.report.report import write_again
from stem2sim.runs.movie import follow
from stem2sim.runs.movie_folder import Movie, movie_of
from stem2sim.runs.run import Run
from stem2sim.segmentation import Segmentation
from stem2sim.stages import Segmenter
from stem2sim.testing import graphene_sheet

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.image import Image

SIZE, PIXEL = 160, 0.1


def film(path: Path, frames: int = 5) -> np.ndarray:
    """Write a drifting island of graphene that loses an atom in frame 3."""
    rng = np.random.default_rng(0)
    xy = graphene_sheet(9.0).positions[:, :2] + 3
    middle = int(np.argmin(np.hypot(*(xy - xy.mean(axis=0)).T)))
    pixels = []
    for k in range(frames):
        seen = np.delete(xy, middle, axis=0) if k >= 3 else xy
        clean = Probe().render(seen + 0.3 * k, np.full(len(seen), 6), PIXEL, (SIZE, SIZE))
        pixels.append(Scan(dose=20000).expose(clean, PIXEL, rng))
    movie = np.array(pixels, dtype=np.float32)
    np.save(path, movie)
    return movie


class Spots(Segmenter):
    """Atoms where the frame is bright; counts how often it was asked, and stops where it is told."""

    name: ClassVar[str] = "spots"
    asked: ClassVar[list[str]] = []
    stop_after: ClassVar[int] = 10**9
    failure: ClassVar[Exception] = KeyboardInterrupt()  # type: ignore[assignment]

    threshold: float = 0.5

    def segment(self, image: Image) -> Segmentation:
        from scipy import ndimage

        if len(self.asked) >= self.stop_after:
            raise self.failure
        self.asked.append(image.source)
        if image.pixels.min() < -1:
            raise BadInput("a dose is not negative, this frame is noise")
        smooth = ndimage.gaussian_filter(image.pixels, 3)
        bright = smooth > self.threshold * smooth.max()
        peak = (smooth == ndimage.maximum_filter(smooth, size=9)) & bright
        rows, columns = np.nonzero(peak)
        n = len(rows)
        known = {"probability": np.ones(n), "position_std": np.full(n, 0.05), "entropy": np.zeros(n)}
        return Segmentation(
            atoms=AtomsTable(x=columns * PIXEL, y=rows * PIXEL, species=np.full(n, "C"), **known),
            warnings=(f"the brightest pixel is {image.pixels.max():.3f}",),
        )


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spots, "asked", [])


def config(path: Path, **options: float) -> Config:
    return Config(image=ImageSource(path=path, pixel_size=PIXEL), segment=Spots(**options))


def content(folder: Path) -> str:
    """Return a hash of all the results of a movie."""
    names = ("tracks.csv", "events.csv", "drift.csv", *sorted(f.name for f in (folder / "frames").glob("*.csv")))
    return fingerprint(*(next(folder.rglob(name)).read_text() for name in names))


def test_an_island_that_loses_an_atom(tmp_path: Path) -> None:
    film(tmp_path / "m.npy")
    outcome = follow(config(tmp_path / "m.npy"), tmp_path / "out")
    assert outcome.frames == len(Spots.asked) == 5
    assert outcome.events == {"death": 1}
    assert outcome.failed == {}
    assert outcome.warnings == ["frame 0: " + outcome.warnings[0][9:]]
    assert "and 4 more frames like it, the last 4" in outcome.warnings[0]
    files = sorted(f.name for f in (tmp_path / "out" / "frames").glob("*.csv"))
    assert files == [f"atoms-0000{k}.csv" for k in range(5)]
    moves = list(csv.DictReader((tmp_path / "out" / "drift.csv").open()))
    assert float(moves[4]["x"]) == pytest.approx(1.2, abs=0.05)
    about = json.loads((tmp_path / "out" / "tracks.json").read_text())
    assert about["segmenter"]["use"] == "spots"
    assert about["tracks"] == outcome.tracks


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("out of\nmemory")])
def test_a_movie_that_is_cut_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """Frames that are done are not segmented again, and the results are those of an uninterrupted run."""
    film(tmp_path / "m.npy")
    follow(config(tmp_path / "m.npy"), tmp_path / "whole")
    Spots.asked.clear()
    monkeypatch.setattr(Spots, "stop_after", 2)
    monkeypatch.setattr(Spots, "failure", failure)
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else StageFailed
    with pytest.raises(expected) as caught:
        follow(config(tmp_path / "m.npy"), tmp_path / "cut")
    assert expected is KeyboardInterrupt or str(caught.value) == "spots: frame 2: RuntimeError: out of memory"
    assert not (tmp_path / "cut" / "tracks.csv").exists()
    monkeypatch.setattr(Spots, "stop_after", 10**9)
    outcome = follow(config(tmp_path / "m.npy"), tmp_path / "cut")
    assert outcome.done_before == 2
    assert len(Spots.asked) == 5
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert follow(config(tmp_path / "m.npy"), tmp_path / "cut").done_before == 5


def test_what_changed_is_segmented_again(tmp_path: Path) -> None:
    """Options: every frame. Pixels, a lost or an edited table: that frame. A shorter movie leaves no atoms behind."""
    movie = film(tmp_path / "m.npy")
    out = tmp_path / "out"
    follow(config(tmp_path / "m.npy"), out)
    assert follow(config(tmp_path / "m.npy", threshold=0.4), out).done_before == 0
    movie[1, :4] += 0.01
    np.save(tmp_path / "m.npy", movie)
    assert follow(config(tmp_path / "m.npy", threshold=0.4), out).done_before == 4
    (out / "frames" / "atoms-00002.csv").unlink()
    with (out / "frames" / "atoms-00004.csv").open("a") as file:
        file.write("1,1,C,1,0,0,\n")
    assert follow(config(tmp_path / "m.npy", threshold=0.4), out).done_before == 3
    np.save(tmp_path / "m.npy", movie[:3])
    assert follow(config(tmp_path / "m.npy", threshold=0.4), out).done_before == 3
    assert len(list((out / "frames").glob("*.csv"))) == 3


def test_a_bad_frame_does_not_lose_the_others(tmp_path: Path) -> None:
    """Neither one that cannot be read nor one without atoms; nobody dies in it, and a second run says the same."""
    movie = film(tmp_path / "m.npy", 6)
    movie[1, 0, 0] = np.nan
    movie[4] = np.random.default_rng(0).normal(size=(SIZE, SIZE))
    np.save(tmp_path / "m.npy", movie)
    for done in (0, 5):
        outcome = follow(config(tmp_path / "m.npy"), tmp_path / "out")
        assert outcome.done_before == done
        assert sorted(outcome.failed) == [1, 4]
        assert "NaN" in outcome.failed[1]
        assert "noise" in outcome.failed[4]
        assert outcome.events == {"death": 1}
        assert any("frame 4: no atoms: " in warning for warning in outcome.warnings)


def test_no_atoms_anywhere_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.random.default_rng(0).normal(size=(3, SIZE, SIZE)))
    with pytest.raises(BadInput, match=r"no atoms in any of 3 frames; frame 0: a dose is not negative"):
        follow(config(tmp_path / "m.npy"), tmp_path / "out")


def test_bad_options_touch_nothing(tmp_path: Path) -> None:
    film(tmp_path / "m.npy")
    with pytest.raises(BadInput, match="reach must be positive and gap not negative, got 0 Å and 2 frames"):
        follow(config(tmp_path / "m.npy"), tmp_path / "out", reach=0)
    with pytest.raises(BadInput, match="tracking starts from a stack of frames"):
        follow(Config(segment=Spots()), tmp_path / "out")
    with pytest.raises(BadInput, match="no image file"):
        follow(config(tmp_path / "gone.npy"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_movie_leaves_is_read_back(tmp_path: Path) -> None:
    film(tmp_path / "m.npy")
    follow(config(tmp_path / "m.npy"), tmp_path / "out")
    movie = movie_of(Run(tmp_path / "out"))
    assert movie is not None
    tracks = movie.tracks
    names = ("tracks.csv", "events.csv", "drift.csv")
    written = tuple((tmp_path / "out" / name).read_text() for name in names)
    assert (tracks.to_csv(), tracks.events_csv(), tracks.drift_csv()) == written
    assert [event.kind for event in tracks.events] == ["death"]
    assert movie.frames == len(tracks.drift) == 5
    (tmp_path / "out" / "events.csv").write_text("nonsense")
    with pytest.raises(BadInput, match="is damaged"):
        _ = Movie(Run(tmp_path / "out")).tracks


def test_a_movie_has_a_page_a_log_and_records(tmp_path: Path) -> None:
    """As any run: report, methods, citations, sessions, log, RO-Crate, and an archive that holds all of it."""
    movie = film(tmp_path / "m.npy", 6)
    movie[1] = np.nan
    np.save(tmp_path / "m.npy", movie)
    out = tmp_path / "out"
    done = stem2sim("track", tmp_path / "m.npy", "--segmenter", "peaks", "--set", "image.pixel_size=0.1", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "report.html")
    page = (out / "report.md").read_text()
    parts = ("Summary", "Frames", "Drift", "Tracks", "Events", "Methods section for a publication", "Provenance")
    named = ("First frame with atoms (0)", "Last frame with atoms (5)", "Atoms per frame", "death", "frame 1: no atoms")
    for words in (*(f"## {part}" for part in parts), *named):
        assert words in page, words
    run = Run(out)
    assert [stage.name for stage in prepared(run)] == ["peaks"]
    assert "The movie had 6 frames of 160 × 160 pixels" in methods(run)
    assert [(one.steps, one.outcome) for one in run.sessions] == [(["track"], "done")]
    assert "tracks over 6 frames" in (out / "run.log").read_text()
    crate = {one["@id"]: one for one in json.loads((out / "ro-crate-metadata.json").read_text())["@graph"]}
    made = {one["@id"] for one in crate["#track"]["result"]}
    assert {"tracks.csv", "events.csv", "drift.csv", "frames/atoms-00000.csv"} <= made
    there = {f"out/{f.relative_to(out)}" for f in out.rglob("*") if f.is_file() and not f.name.startswith(".")}
    assert stem2sim("export", out, tmp_path / "out.zip").returncode == 0
    assert set(ZipFile(tmp_path / "out.zip").namelist()) == there


def test_the_page_of_a_movie_whose_frames_are_gone(tmp_path: Path) -> None:
    """Atoms, tracks and events are there still; a movie that was interrupted says which command resumes."""
    film(tmp_path / "m.npy")
    out = tmp_path / "out"
    command = ("track", tmp_path / "m.npy", "--segmenter", "peaks", "--set", "image.pixel_size=0.1", "--out", out)
    assert stem2sim(*command).returncode == 0
    (tmp_path / "m.npy").unlink()
    write_again(out)
    assert "The frames cannot be drawn: no image file" in (out / "report.md").read_text()
    (out / "tracks.json").unlink()
    with pytest.raises(BadInput, match=r"is not complete; stem2sim track .* resumes"):
        write_again(out)


def test_the_command_line_follows_a_movie(tmp_path: Path) -> None:
    """From an image file or a config, twice; bad input is one line and exit code 2."""
    film(tmp_path / "m.npy")

    def track(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stem2sim.cli", "track", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    options = ("--segmenter", "peaks", "--set", "image.pixel_size=0.1")
    first = track("m.npy", *options, "--out", "out", "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert (told["frames"], told["done_before"], told["folder"]) == (5, 0, "out")
    again = track("out", "--json", "--reach", "0.6", "--gap", "1")
    assert json.loads(again.stdout)["done_before"] == 5
    assert json.loads((tmp_path / "out" / "tracks.json").read_text())["linking"] == {"reach [Å]": 0.6, "gap": 1}
    for arguments, message in (
        (("m.npy", "--segmenter", "peaks"), "--set image.lattice_constant=2.46"),
        (("m.npy", *options, "--set", "image.frame=1"), "image.frame = 1 takes one frame"),
        (("m.npy", *options, "--out", "m.npy"), "--out m.npy is a file"),
    ):
        done = track(*arguments)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
