"""The shipped ensemble, on frames that nobody labelled for it and on real ones."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from rich.progress import Progress
from safetensors.torch import load_file
from tests.conftest import ROOT

from stem2sim.image import Image
from stem2sim.readers import read_image
from stem2sim.testing import graphene_image, graphene_sheet
from stem2sim_unet import SHIPPED, train
from stem2sim_unet.ensemble import Confidence, shipped
from stem2sim_unet.locate import match
from stem2sim_unet.network import UnetNetwork
from stem2sim_unet.unet import Unet

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim.segmentation import Segmentation


@pytest.fixture(scope="session")
def atomai_unet() -> torch.nn.Module:
    """Return AtomAI's own network (seconds to import)."""
    from atomai.nets import Unet as AtomaiUnet

    torch.manual_seed(0)
    network: torch.nn.Module = AtomaiUnet(3, 16, layers=[2, 3, 3, 4])
    return network.eval()


@pytest.mark.slow
def test_the_network_is_atomais(atomai_unet: torch.nn.Module) -> None:
    """Same names, same shapes, same output: weights pass both ways."""
    ours = UnetNetwork(3).eval()
    ours.load_state_dict(atomai_unet.state_dict(), strict=True)
    frame = torch.randn(2, 1, 64, 48)
    with torch.inference_mode():
        assert torch.allclose(ours(frame), atomai_unet(frame), atol=1e-5)


@pytest.mark.slow
def test_shipped_weights_fit_atomais_network(atomai_unet: torch.nn.Module) -> None:
    for file in sorted(SHIPPED.glob("member-*.safetensors")):
        state = {name: value.float() for name, value in load_file(file).items()}
        missing, unexpected = atomai_unet.load_state_dict(state, strict=False)
        assert not unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing)


def test_at_least_five_independent_members_ship() -> None:
    networks = shipped().networks
    assert len(networks) >= 5
    first = [network.c1.block[0].weight for network in networks]
    for k, one in enumerate(first):
        assert not any(torch.allclose(one, other) for other in first[k + 1 :])


def test_what_was_held_out_says_how_good_they_are() -> None:
    """The record that ships with the weights, from frames that neither training nor its fits saw."""
    confidence = shipped().confidence
    assert confidence is not None
    scores = confidence.held_out
    assert scores["probability calibration error"] < 0.05
    assert 0.8 < scores["normalised position error, rms"] < 1.25
    assert scores["right species"] > 0.99


def defective(dose: float, pixel_size: float) -> tuple[Image, np.ndarray, int]:
    """Return a frame with one Si and a vacancy, the atoms behind it [Å], and which one is the Si."""
    from stem2sim.forward import Probe, Scan

    sheet = graphene_sheet(34, 23)
    sheet.positions[:, :2] -= 3
    xy = sheet.positions[:, :2]
    del sheet[int(np.argmin(np.hypot(*(xy - [20, 8]).T)))]
    xy = sheet.positions[:, :2]
    silicon = int(np.argmin(np.hypot(*(xy - [9, 18]).T)))
    sheet.symbols[silicon] = "Si"
    n = int(28 / pixel_size)
    clean = Probe(fwhm=1.2).render(xy, sheet.numbers, pixel_size, (n, n))
    pixels = Scan(dose=dose).expose(clean, pixel_size, np.random.default_rng(4))
    return Image(pixels=pixels, pixel_size=pixel_size), xy, silicon


def scores(found: Segmentation, there: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return precision, recall (1.5 Å off the border, 0.5 Å reach) and the matched pairs."""
    sure = found.atoms.probability >= 0.5
    seen = found.atoms.positions[sure]

    def inside(xy: np.ndarray) -> np.ndarray:
        return ((xy > 1.5) & (xy < 26.5)).all(axis=1)

    pairs = match(seen, there, 0.5)
    precision = np.isin(np.flatnonzero(inside(seen)), pairs[:, 0]).mean()
    recall = np.isin(np.flatnonzero(inside(there)), pairs[:, 1]).mean()
    return float(precision), float(recall), pairs


@pytest.mark.parametrize(("dose", "pixel_size"), [(300, 0.08), (300, 0.2), (1000, 0.104), (10000, 0.05)])
def test_atoms_are_found_at_any_dose_and_pixel_size(dose: float, pixel_size: float) -> None:
    image, there, silicon = defective(dose, pixel_size)
    found = Unet().segment(image)
    precision, recall, pairs = scores(found, there)
    assert precision > 0.985
    assert recall > 0.985
    sure = found.atoms.probability >= 0.5
    called = {int(k): str(found.atoms.species[sure][i]) for i, k in pairs}
    assert called[silicon] == "Si"
    assert sum(species == "Si" for species in called.values()) == 1
    error = found.atoms.positions[sure][pairs[:, 0]] - there[pairs[:, 1]]
    std = found.atoms.position_std[sure][pairs[:, 0]]
    middle = ((there[pairs[:, 1]] > 1.5) & (there[pairs[:, 1]] < 26.5)).all(axis=1)
    assert np.sqrt((error[middle] ** 2).mean()) < 0.09
    assert 0.3 < np.sqrt(((error[middle] / std[middle, None]) ** 2).mean()) < 1.6, (
        "the error bars are of the right size"
    )


@pytest.mark.parametrize("wrong", [0.8, 1.25])
def test_a_wrong_pixel_size_spoils_nothing(wrong: float) -> None:
    """The lattice sets the scale; positions keep the given one, and a warning names both sizes."""
    image, there, _ = defective(1000, 0.1)
    off = Image(pixels=image.pixels, pixel_size=0.1 * wrong)
    found = Unet().segment(off)
    (warning,) = found.warnings
    assert f"{0.1 * wrong:.4f} Å/pixel was given" in warning
    assert "from the 0.1000 Å that the lattice calls for" in warning or "from the 0.099" in warning
    atoms = found.atoms.model_copy(update={"x": found.atoms.x / wrong, "y": found.atoms.y / wrong})
    precision, recall, _ = scores(found.model_copy(update={"atoms": atoms}), there)
    assert min(precision, recall) > 0.985


def test_without_calibration_the_stated_size_is_the_scale() -> None:
    """A frame stated 25 % too large is then read too large, and far fewer atoms are found: the lattice matters."""
    image, there, _ = defective(1000, 0.1)
    off = Image(pixels=image.pixels, pixel_size=0.125)
    trusted = Unet(calibrate=False).segment(off)
    assert trusted.lattice is None
    atoms = trusted.atoms.model_copy(update={"x": trusted.atoms.x / 1.25, "y": trusted.atoms.y / 1.25})
    blind = scores(trusted.model_copy(update={"atoms": atoms}), there)
    found = Unet().segment(off)
    atoms = found.atoms.model_copy(update={"x": found.atoms.x / 1.25, "y": found.atoms.y / 1.25})
    seeing = scores(found.model_copy(update={"atoms": atoms}), there)
    assert seeing[0] + seeing[1] > blind[0] + blind[1]


def test_a_foreign_frame_is_flagged() -> None:
    """Pure noise: no lattice, the networks disagree, few detections are worth anything, and all of it is said."""
    noise = np.random.default_rng(0).normal(size=(256, 256))
    found = Unet().segment(Image(pixels=noise, pixel_size=0.08))
    assert found.out_of_distribution is not None
    assert found.out_of_distribution > 1.2
    assert any("no lattice" in w for w in found.warnings)
    assert any("the networks disagree" in w for w in found.warnings)
    assert (found.atoms.probability >= 0.5).sum() < 10


def test_the_demo_frame_is_read_right() -> None:
    """One Si, and no carbon in the hole or beyond the edge."""
    image = read_image(ROOT / "docs" / "demo" / "graphene_si_edge.npz")
    assert image.pixel_size == 0.104
    found = Unet().segment(image)
    sure = found.atoms.probability >= 0.5
    assert found.atoms.counts()["Si"] == 1
    x, y = found.atoms.positions[sure].T
    assert not (np.hypot(x - 23, y - 9.5) < 3.5).any()
    assert not (x > 32.5).any()


def test_real_frame_with_silicon(stem: Path) -> None:
    """One Si; every carbon that the authors' older network found is found too, within 0.5 Å."""
    found = Unet().segment(Image(pixels=np.load(stem / "graphene_si_2nm.npy"), pixel_size=0.0781))
    sure = found.atoms.probability >= 0.5
    assert (found.atoms.species[sure] == "Si").sum() == 1
    with (stem / "graphene_si_2nm_atomnet.csv").open() as file:
        known = np.array([[float(r["col_px"]), float(r["row_px"])] for r in csv.DictReader(file)]) * 0.0781
    pairs = match(found.atoms.positions[sure], known, 0.5)
    assert len(pairs) / len(known) > 0.98
    assert found.lattice is not None


def test_real_grain_boundary(stem: Path) -> None:
    found = Unet().segment(Image(pixels=np.load(stem / "graphene_grain_boundary_4nm.npy"), pixel_size=0.0781))
    sure = found.atoms.probability >= 0.5
    assert set(found.atoms.species[sure]) == {"C"}
    with (stem / "graphene_grain_boundary_4nm_atomnet.csv").open() as file:
        known = np.array([[float(r["col_px"]), float(r["row_px"])] for r in csv.DictReader(file)]) * 0.0781
    assert len(match(found.atoms.positions[sure], known, 0.5)) / len(known) > 0.99


@pytest.mark.slow
def test_real_labelled_frames(stem: Path) -> None:
    """40 frames with human labels: at least 99 % of Si located and called Si, at least 97 % of labelled C located."""
    archive = np.load(stem / "library_refined.npz")
    total = {"C": [0, 0, 0], "Si": [0, 0, 0]}
    for entry in json.loads(str(archive["labels_json"])):
        pixels = archive[entry["image"]].astype(float)
        pixel_size = entry["field_of_view_pm"] / 100 / len(pixels)
        atoms = Unet().segment(Image(pixels=pixels, pixel_size=pixel_size)).atoms
        sure = atoms.probability >= 0.5
        for species, count in total.items():
            labels = [(q["col_px"], q["row_px"]) for q in entry["labels"] if q["species"] == species]
            known = np.array(labels, dtype=float).reshape(-1, 2) * pixel_size
            pairs = match(atoms.positions[sure], known, 0.5)
            count[0] += len(known)
            count[1] += len(pairs)
            count[2] += int((atoms.species[sure][pairs[:, 0]] == species).sum())
    assert total["Si"][1] >= 0.99 * total["Si"][0], total
    assert total["Si"][2] >= 0.99 * total["Si"][0], total
    assert total["C"][1] >= 0.97 * total["C"][0], total


def test_maps_cover_the_image_pixel_by_pixel() -> None:
    image = graphene_image(14.0, pixel_size=0.09)
    found = Unet().segment(image)
    assert found.mean is not None
    assert found.spread is not None
    assert found.mean.shape == found.spread.shape == (3, *image.shape)
    column, row = np.rint(found.atoms.positions / 0.09).astype(int).T
    inside = (column < image.shape[1]) & (row < image.shape[0]) & (column >= 0) & (row >= 0)
    assert found.mean[-1, row[inside], column[inside]].mean() < 0.3, "little background where the atoms are"


def test_confidence_recovers_what_made_the_data() -> None:
    """Fitted on draws from a known law, it gives that law back."""
    rng = np.random.default_rng(0)
    foreground = rng.uniform(0.05, 0.95, 20000)
    true = rng.random(20000) < 1 / (1 + np.exp(-(2 * np.log(foreground / (1 - foreground)) + 0.5)))
    spread, noise = rng.uniform(0, 0.05, 20000), rng.uniform(0, 3, 20000)
    std = np.sqrt(0.04**2 + (2 * spread) ** 2 + (0.02 * noise) ** 2)
    errors = rng.normal(size=(20000, 2)) * std[:, None]
    fitted = Confidence.fit(foreground, true, errors, spread, noise, 0.02)
    assert (fitted.slope, fitted.intercept) == pytest.approx((2, 0.5), abs=0.1)
    assert fitted.position_std(spread, noise) == pytest.approx(std, rel=0.05)


@pytest.mark.slow
def test_training_that_was_cut_off_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps in one go, and interrupted after the second: the same weights, bit for bit."""
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 1)

    class CutOff(Progress):
        def update(self, task_id: Any, **what: Any) -> None:
            super().update(task_id, **what)
            if what.get("completed") == 2:
                raise KeyboardInterrupt

    whole = train.train_member(3, 4, 3, tmp_path / "whole", Progress())
    with pytest.raises(KeyboardInterrupt):
        train.train_member(3, 4, 3, tmp_path / "parts", CutOff())
    parts = train.train_member(3, 4, 3, tmp_path / "parts", Progress())
    for one, other in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_members_that_learned_nothing_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stem2sim_unet.train", "--out", str(tmp_path), "--members", "1"]
    done = subprocess.run([*command, "--frames", "4", "--steps", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "members collapsed; train longer (--steps 2)" in done.stderr
    assert not list(tmp_path.glob("member-*"))
