"""The shipped ensemble, on frames that nobody labelled for it and on real ones."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tests.conftest import ROOT

from stem2sim.errors import BadInput
from stem2sim.image import Image
from stem2sim.imaging.forward import Probe, Scan
from stem2sim.imaging.readers import read_image
from stem2sim.testing import graphene_image, graphene_sheet
from stem2sim_unet import SHIPPED, ensemble
from stem2sim_unet.activation_ranges import RANGES, read_ranges, rounded_layers, write_ranges
from stem2sim_unet.canonical_grid import Grid, normalise
from stem2sim_unet.confidence import Confidence
from stem2sim_unet.ensemble import Ensemble, ensemble_of
from stem2sim_unet.evaluation import auroc, calibration_error
from stem2sim_unet.locate import Detections, match
from stem2sim_unet.model_card import CARD, ModelCard
from stem2sim_unet.network import UnetNetwork
from stem2sim_unet.openvino_backend import OpenvinoBackend
from stem2sim_unet.prediction import Prediction
from stem2sim_unet.synthetic import contamination, smooth_field
from stem2sim_unet.torch_backend import TorchBackend, largest_activations, network_of
from stem2sim_unet.unet import Unet

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stem2sim.segmentation import Segmentation


@pytest.mark.slow
def test_shipped_weights_fit_atomais_network() -> None:
    """Same names, same shapes, same output: weights pass both ways."""
    from atomai.nets import Unet as AtomaiUnet

    state = {
        name: torch.from_numpy(value).float() for name, value in load_file(SHIPPED / "member-00.safetensors").items()
    }
    theirs, ours = AtomaiUnet(4, 16, layers=[2, 3, 3, 4]).eval(), UnetNetwork(4).eval()
    for network in (theirs, ours):
        missing, unexpected = network.load_state_dict(state, strict=False)
        assert not unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing)
    frame = torch.randn(2, 1, 64, 48)
    with torch.inference_mode():
        assert torch.allclose(ours(frame), theirs(frame), atol=1e-5)


def test_twenty_members_of_five_independent_starts_ship() -> None:
    members = sorted(SHIPPED.glob("member-*.safetensors"))
    assert len(members) == 20
    seeds = []
    for file in members:
        with safe_open(file, "np") as stored:
            seeds.append(stored.metadata()["seed"])
    assert len(set(seeds)) == 5
    first = [load_file(file)["c1.block.0.weight"] for file in members]
    for k, one in enumerate(first):
        assert not any(np.allclose(one, other) for other in first[k + 1 :])
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 40e6


def test_the_card_says_how_good_they_are() -> None:
    """From generated frames that neither training nor its fits saw."""
    card = ModelCard.read(SHIPPED)
    assert card.classes == ("C", "Si", "Cr", "background")
    assert card.scores["detection calibration error"] <= 0.02
    assert card.scores["AUROC of probability, true against false"] >= 0.99
    assert 0.63 <= card.scores["within one standard deviation"] <= 0.73
    assert card.scores["right species"] > 0.995
    assert card.limits


def defective(dose: float, pixel_size: float) -> tuple[Image, np.ndarray, int]:
    """Return a frame with one Si and a vacancy, the atoms behind it [Å], and which one is the Si."""
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
    assert 0.2 < np.sqrt(((error[middle] / std[middle, None]) ** 2).mean()) < 1.6, (
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
    assert float(re.findall(r"from the ([\d.]+) Å", warning)[0]) == pytest.approx(0.1, rel=0.004)
    atoms = found.atoms.model_copy(update={"x": found.atoms.x / wrong, "y": found.atoms.y / wrong})
    precision, recall, _ = scores(found.model_copy(update={"atoms": atoms}), there)
    assert min(precision, recall) > 0.985


def test_without_calibration_the_stated_size_is_taken() -> None:
    image, _, _ = defective(1000, 0.1)
    trusted = Unet(calibrate=False).segment(image)
    assert trusted.lattice is None
    assert trusted.warnings == ()


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
    """40 frames with human labels: at least 99 % of Si located and called Si, at least 98.5 % of labelled C located."""
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
    assert total["C"][1] >= 0.985 * total["C"][0], total


def test_maps_cover_the_image_pixel_by_pixel() -> None:
    image = graphene_image(14.0, pixel_size=0.09)
    found = Unet().segment(image)
    assert found.mean is not None
    assert found.spread is not None
    assert found.information is not None
    assert found.mean.shape == found.spread.shape == (4, *image.shape)
    assert found.information.shape == image.shape
    column, row = np.rint(found.atoms.positions / 0.09).astype(int).T
    inside = (column < image.shape[1]) & (row < image.shape[0]) & (column >= 0) & (row >= 0)
    assert found.mean[-1, row[inside], column[inside]].mean() < 0.3, "little background where the atoms are"


def turned(pixels: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Return the frame mirrored along x if asked, then turned by quarters."""
    return np.rot90(pixels[:, ::-1] if mirrored else pixels, turns).copy()


@settings(max_examples=10, deadline=None)
@given(
    turns=st.integers(0, 3), mirrored=st.booleans(), gain=st.floats(0.01, 100), offset=st.floats(-20, 20),
    right=st.integers(0, 14), down=st.integers(0, 14),
)  # fmt: skip
def test_turning_mirroring_shifting_and_scaling_a_frame_does_the_same_to_its_atoms(
    turns: int, mirrored: bool, gain: float, offset: float, right: int, down: int
) -> None:
    """The same atoms at the moved places within 0.1 Å, the same species, and nothing else."""
    image, _, _ = defective(1000, 0.1)
    plain = Unet(refine="never").segment(image)
    pixels = turned(image.pixels[down:, right:] * gain + offset, turns, mirrored)
    moved = Unet(refine="never").segment(Image(pixels=pixels, pixel_size=0.1))
    rows, columns = image.shape[0] - down, image.shape[1] - right
    x, y = (plain.atoms.positions / 0.1 - [right, down]).T
    if mirrored:
        x = columns - 1 - x
    for _ in range(turns):
        x, y = y, columns - 1 - x
        rows, columns = columns, rows
    expected = np.column_stack([x, y]) * 0.1
    size = np.array([columns, rows]) * 0.1

    def sure(found: Segmentation, at: np.ndarray) -> np.ndarray:
        inside = ((at > 1.5) & (at < size - 1.5)).all(axis=1)
        return np.flatnonzero((found.atoms.probability > 0.6) & inside)

    one, other = sure(plain, expected), sure(moved, moved.atoms.positions)
    pairs = match(moved.atoms.positions[other], expected[one], 0.3)
    assert len(pairs) >= 0.99 * max(len(one), len(other))
    off = moved.atoms.positions[other][pairs[:, 0]] - expected[one][pairs[:, 1]]
    assert np.sqrt((off**2).mean()) < 0.05
    assert (moved.atoms.species[other][pairs[:, 0]] == plain.atoms.species[one][pairs[:, 1]]).all()


@pytest.mark.parametrize("stretch", [0.85, 1.18])
def test_a_stretched_scan_is_seen_as_it_is(stretch: float) -> None:
    """Scan lines 15 % too close or 18 % too far apart: every atom is found, and the stretch is measured within 1 %."""
    sheet = graphene_sheet(36, 17).positions[:, :2] - 3
    n = 280
    clean = Probe(ellipticity=1 / stretch).render(sheet / [1, stretch], np.full(len(sheet), 6), 0.1, (n, n))
    pixels = Scan(dose=1000).expose(clean, 0.1, np.random.default_rng(0))
    found = Unet().segment(Image(pixels=pixels, pixel_size=0.1))
    assert found.lattice is not None
    assert found.lattice.anisotropy == pytest.approx(max(stretch, 1 / stretch), rel=0.01)
    true = found.atoms.positions / 0.1 @ found.lattice.matrix.T
    known = sheet - [0, 0]
    inside = ((known > 2) & (known < np.array([26, 26 * stretch]))).all(axis=1)
    assert len(match(true[found.atoms.probability >= 0.5], known, 0.5)) >= 0.985 * inside.sum()


def test_a_frame_too_noisy_for_its_spectrum_is_calibrated_by_neighbours() -> None:
    """A field of 10 Å has no spots to speak of; neighbours give its pixel size from starts 20 % off."""
    image = graphene_image(11.0, 0.08, 600)
    for wrong in (0.85, 1.0, 1.2):
        found = Unet().segment(Image(pixels=image.pixels, pixel_size=0.08 * wrong))
        assert found.lattice is not None
        assert found.lattice.pixel_size == pytest.approx(0.08, rel=0.025)


def frames_without_graphene() -> dict[str, np.ndarray]:
    """Return frames without graphene: noise, an even frame, contamination, and MoS2."""
    rng = np.random.default_rng(0)
    flat = np.zeros((256, 256), dtype=np.float32)
    dirt = Scan(dose=1000).expose(
        (contamination((256, 256), 0.09, np.random.default_rng(1)) + 0.3).astype(np.float32), 0.09, rng
    )
    grains = np.clip(smooth_field((256, 256), 14, rng) + 1, 0, None) * np.clip(
        1 + 0.5 * smooth_field((256, 256), 9, rng), 0, None
    )
    from stem2sim_unet.material import Material, column_atoms

    xy, columns = Material.named("MoS2").sheet(20)
    atoms = [(at, z) for at, column in zip(xy, columns, strict=True) for z in column_atoms(column)]
    moly = Probe().render(np.array([at for at, _ in atoms]) + 12.8, [z for _, z in atoms], 0.1, (256, 256))
    return {
        "noise": rng.normal(size=(256, 256)),
        "counting noise": rng.poisson(3, size=(300, 300)),
        "blank": Scan(dose=2000).expose(flat + 0.5, 0.09, rng),
        "contamination": dirt,
        "contamination everywhere": Scan(dose=1000).expose((3 * grains).astype(np.float32), 0.09, rng),
        "MoS2": Scan(dose=100).expose(moly, 0.1, rng),
    }


@pytest.mark.parametrize("name", list(frames_without_graphene()))
def test_a_frame_outside_the_training_data_is_refused_with_the_reason_unless_forced(name: str) -> None:
    image = Image(pixels=frames_without_graphene()[name], pixel_size=0.1)
    with pytest.raises(
        BadInput, match=r"outside the training data of the networks for graphene \(out-of-distribution score [1-9]"
    ) as refused:
        Unet().segment(image)
    assert "--force" in str(refused.value)
    forced = Unet(force=True)
    if name == "MoS2":  # something is found there
        found = forced.segment(image)
        assert found.out_of_distribution is not None
        assert found.out_of_distribution > 1
        assert any("not reliable" in warning for warning in found.warnings)
    else:
        with contextlib.suppress(BadInput):
            assert forced.segment(image).out_of_distribution


@pytest.mark.parametrize(
    ("width", "dose", "pixel_size"), [(12, 1000, 0.1), (14, 60, 0.08), (50, 60, 0.1), (25, 5000, 0.2)]
)
def test_no_graphene_frame_is_refused(width: float, dose: float, pixel_size: float) -> None:
    found = Unet().segment(graphene_image(width, pixel_size, dose))
    assert found.out_of_distribution is not None
    assert found.out_of_distribution < 0.8


def test_real_molybdenum_disulphide_is_refused(stem: Path) -> None:
    """Whatever pixel size is stated: scaled to graphene's lattice constant it is a honeycomb too."""
    pixels = np.load(stem / "mos2_v_doped.npy")
    for stated in (0.1758, 0.135):
        with pytest.raises(BadInput, match="outside the training data of the networks for graphene"):
            Unet().segment(Image(pixels=pixels, pixel_size=stated))


def test_doubtful_places_have_two_readings() -> None:
    """At few counts: what is there or not, and which species, with both probabilities; the most doubtful first."""
    image, _, _ = defective(40, 0.1)
    found = Unet(force=True).segment(image)
    assert found.ambiguities
    best = [doubt.readings[0][1] for doubt in found.ambiguities]
    assert best == sorted(best)
    for doubt in found.ambiguities:
        (first, p), (second, q) = doubt.readings
        assert first != second
        assert 0.9 > p >= q >= 0
        assert p + q <= 1 + 1e-9
        assert {first, second} <= {"C", "Si", "Cr", "nothing"}
    sure, _, _ = defective(3000, 0.1)
    assert len(Unet().segment(sure).ambiguities) < len(found.ambiguities)


def test_flags_say_what_to_mind() -> None:
    """At the border: edge. Under a bright blob: contamination. With counts enough: fitted."""
    image, _, _ = defective(5000, 0.1)
    pixels = image.pixels.copy()
    pixels[:70, :70] += 12 * pixels.mean()
    found = Unet().segment(Image(pixels=pixels, pixel_size=0.1))
    x, y = found.atoms.positions.T
    flags = found.atoms.flags
    at_border = np.minimum.reduce([x, y, 27.9 - x, 27.9 - y]) < 0.35
    assert all("edge" in one for one in flags[at_border])
    assert not any("edge" in one for one in flags[np.minimum.reduce([x, y, 27.9 - x, 27.9 - y]) > 0.6])
    assert all("contamination" in one for one in flags[(x < 5) & (y < 5)])
    assert not any("contamination" in one for one in flags[(x > 12) | (y > 12)])
    assert sum("fitted" in one for one in flags) > 0.7 * len(flags)
    shares = np.array(list(found.atoms.shares.values()))
    assert np.allclose(shares.sum(axis=0), 1)


def test_a_joint_fit_where_counts_allow_it_brings_atoms_closer_to_where_they_are() -> None:
    """Atoms 0.1 Å off their sites: the networks pull them back towards the lattice, the fit does so less."""
    rng = np.random.default_rng(2)
    there = graphene_sheet(34, 23).positions[:, :2] - 3
    there += rng.normal(0, 0.1, there.shape)
    clean = Probe(fwhm=1.2).render(there, np.full(len(there), 6), 0.08, (350, 350))
    image = Image(pixels=Scan(dose=5000).expose(clean, 0.08, rng), pixel_size=0.08)
    rms = {}
    for how in ("never", "auto"):
        found = Unet(refine=how).segment(image)
        _, _, pairs = scores(found, there)
        error = found.atoms.positions[found.atoms.probability >= 0.5][pairs[:, 0]] - there[pairs[:, 1]]
        middle = ((there[pairs[:, 1]] > 1.5) & (there[pairs[:, 1]] < 26.5)).all(axis=1)
        rms[how] = np.sqrt((error[middle] ** 2).mean())
    assert rms["auto"] < 0.9 * rms["never"]
    noisy, _, _ = defective(100, 0.08)
    assert not any("fitted" in one for one in Unet().segment(noisy).atoms.flags)


def canonical_frame() -> NDArray[np.float32]:
    frame, _ = normalise(Grid.square((200, 180), 0.1).resample(defective(1000, 0.1)[0].pixels[:200, :180]))
    return np.pad(frame, [(0, -n % 8) for n in frame.shape], mode="reflect")


def test_every_backend_sees_the_same() -> None:
    """OpenVINO, PyTorch one by one and PyTorch stacked, from the same weights: probabilities within 0.05."""
    frame = canonical_frame()
    other = Ensemble(SHIPPED, "torch")
    one = OpenvinoBackend(other.members[:3], other.card.depths)
    for a, b in zip(one(frame), other.member_predictions(frame, 3), strict=True):
        assert np.abs(a - b).max() < 0.05
        assert np.abs(a - b).mean() < 1e-3
    stacked = TorchBackend(other.members[:3], other.card)
    state = torch.func.stack_module_state(stacked.networks)  # type: ignore[arg-type]
    with torch.inference_mode():
        x = torch.from_numpy(frame)[None, None]
        together = stacked.stacked_scores(state, x)[:, 0]
        for k, network in enumerate(stacked.networks):
            assert torch.allclose(together[k], network(x)[0], atol=1e-3)


def test_rounding_to_eight_bits_changes_the_ensemble_little() -> None:
    """A member's probabilities move where it is in doubt; the mean of all of them stays within 0.05."""
    frame = canonical_frame()
    rounded, exact = Ensemble(SHIPPED, "openvino"), Ensemble(SHIPPED, "torch")
    ranges = read_ranges(SHIPPED, rounded.names, rounded_layers(rounded.card.depths, rounded.card.filters))
    assert ranges is not None
    assert len(ranges) == 20
    ours, theirs = rounded.predict(frame), exact.predict(frame)
    assert np.abs(ours.mean - theirs.mean).max() < 0.05
    assert np.abs(ours.mean - theirs.mean).mean() < 1e-3
    assert np.abs(ours.spread - theirs.spread).mean() < 1e-3


def test_ranges_hold_what_the_layers_give() -> None:
    """No rounded layer goes beyond its range on the frames that were measured, and each channel reaches it."""
    networks = Ensemble(SHIPPED, "torch")
    frames = torch.from_numpy(np.stack([canonical_frame(), canonical_frame()[::-1].copy()]))[:, None]
    ranges = largest_activations(networks.members[0], networks.card, frames)
    network = network_of(networks.members[0], networks.card)
    seen: dict[str, torch.Tensor] = {}
    for name in rounded_layers(networks.card.depths, networks.card.filters):
        layer = network.get_submodule(name)
        layer.register_forward_hook(lambda _layer, _inputs, out, name=name: seen.update({name: out.abs()}))
    with torch.inference_mode():
        network(frames)
    assert set(ranges) == set(seen)
    for name, values in seen.items():
        assert np.allclose(values.amax(dim=(0, 2, 3)).clamp(min=1e-3).numpy(), ranges[name])


def test_ranges_that_do_not_fit_are_named(tmp_path: Path) -> None:
    folder = copied(tmp_path / "one")
    expected = rounded_layers((2, 3, 3, 4), 16)
    assert read_ranges(folder, ["member-00"], expected) is None
    whole = (SHIPPED / RANGES).read_bytes()
    (folder / RANGES).write_bytes(whole)
    kept = read_ranges(folder, ["member-00"], expected)
    assert kept is not None
    write_ranges(folder, ["member-00"], kept)
    again = read_ranges(folder, ["member-00"], expected)
    assert again is not None
    assert all(np.array_equal(again[0][name], values) for name, values in kept[0].items())
    with pytest.raises(BadInput, match=r"does not fit the ensemble \(member-07, "):
        read_ranges(folder, ["member-07"], expected)
    write_ranges(folder, ["member-00"], [{name: -values for name, values in kept[0].items()}])
    with pytest.raises(BadInput, match="does not fit"):
        read_ranges(folder, ["member-00"], expected)
    (folder / RANGES).write_bytes(whole[:1000])
    with pytest.raises(BadInput, match=r"cannot read .* as safetensors"):
        Unet(weights=folder, backend="openvino").segment(graphene_image(10))


def test_tiles_see_what_the_whole_frame_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large frame in overlapping tiles: every probability within 0.02 of the frame in one piece."""
    image = graphene_image(56, 0.18, 1000)
    frame, _ = normalise(image.pixels)
    whole = ensemble_of(SHIPPED).predict(frame, 2)
    monkeypatch.setattr(ensemble, "TILE", 248)
    tiles = ensemble_of(SHIPPED).predict(frame, 2)
    assert isinstance(tiles, Prediction)
    assert np.abs(tiles.mean - whole.mean).max() < 0.02


def test_mean_and_spread_are_those_of_the_members() -> None:
    """Running sums give what a stack of all members gives."""
    frame, _ = normalise(graphene_image(17.28, 0.18, 300).pixels)
    networks = ensemble_of(SHIPPED)
    every = np.array([one.copy() for one in networks.member_predictions(frame)])
    seen = networks.predict(frame)
    assert np.allclose(seen.mean, every.mean(axis=0), atol=1e-5)
    assert np.allclose(seen.spread, every.std(axis=0), atol=1e-3)
    single = -(every * np.log(np.maximum(every, 1e-12))).sum(axis=1).mean(axis=0)
    mean = every.mean(axis=0)
    assert np.allclose(seen.information, -(mean * np.log(np.maximum(mean, 1e-12))).sum(axis=0) - single, atol=1e-4)


def test_confidence_recovers_what_made_the_data() -> None:
    """Fitted on draws from a known law, it gives that law back."""
    rng = np.random.default_rng(0)
    n = 30000
    foreground, information = rng.uniform(0.05, 0.95, n), rng.uniform(0, 0.3, n)
    noise, spread = rng.uniform(0, 3, n), rng.uniform(0, 0.3, n)
    logit = 0.5 + 2 * np.log(foreground / (1 - foreground)) - 3 * information + 0.2 * noise
    true = rng.random(n) < 1 / (1 + np.exp(-logit))
    std = np.sqrt(0.04**2 + (0.02 * noise) ** 2 + (0.2 * spread) ** 2)
    errors = rng.normal(size=(n, 2)) * std[:, None]
    raw = rng.dirichlet([2, 2, 2], n)
    power = raw**1.8 / (raw**1.8).sum(axis=1, keepdims=True)
    species = np.array([rng.choice(3, p=p) for p in power])
    found = Detections(np.zeros((n, 2)), foreground, raw, spread, information, np.full(n, np.nan))
    fitted = Confidence.fit(found, noise, true, errors, species)
    assert np.abs(fitted.probability(found, noise) - 1 / (1 + np.exp(-logit))).max() < 0.03
    assert fitted.position_std(found, noise) == pytest.approx(std, rel=0.06)
    assert fitted.sharpness == pytest.approx(1.8, abs=0.1)


def test_scores_of_scores() -> None:
    """AUROC is the chance of the right order; a probability that is right has no calibration error."""
    assert auroc(np.array([0.1, 0.4, 0.8, 0.9]), np.array([False, False, True, True])) == 1
    assert auroc(np.array([0.5, 0.5]), np.array([False, True])) == 0.5
    rng = np.random.default_rng(0)
    p = rng.random(50000)
    assert calibration_error(p, rng.random(50000) < p) < 0.01
    assert calibration_error(p, rng.random(50000) < p**2) > 0.1


def copied(folder: Path) -> Path:
    """Return a small copy of the shipped ensemble."""
    folder.mkdir()
    shutil.copy(SHIPPED / CARD, folder)
    shutil.copy(SHIPPED / "member-00.safetensors", folder)
    return folder


def test_bad_ensembles_say_so(tmp_path: Path) -> None:
    """Truncated weights, another number of classes, weights that are not finite, no card, no folder: one line each."""
    image = graphene_image(10)
    whole = (SHIPPED / "member-00.safetensors").read_bytes()
    state = load_file(SHIPPED / "member-00.safetensors")

    cut = copied(tmp_path / "cut")
    (cut / "member-00.safetensors").write_bytes(whole[:100000])
    with pytest.raises(BadInput, match=r"cannot read .* as safetensors"):
        Unet(weights=cut).segment(image)

    fewer = copied(tmp_path / "fewer")
    save_file(
        {**state, "px.weight": state["px.weight"][:3], "px.bias": state["px.bias"][:3]}, fewer / "member-00.safetensors"
    )
    with pytest.raises(BadInput, match="has 3 classes, its model card lists 4: C, Si, Cr, background"):
        Unet(weights=fewer).segment(image)

    broken = copied(tmp_path / "broken")
    save_file({**state, "px.bias": np.full_like(state["px.bias"], np.nan)}, broken / "member-00.safetensors")
    with pytest.raises(BadInput, match="not finite"):
        Unet(weights=broken).segment(image)

    other = copied(tmp_path / "other")
    save_file({k: v for k, v in state.items() if not k.startswith("c6")}, other / "member-00.safetensors")
    with pytest.raises(BadInput, match=r"not a U-Net of depths 2-3-3-4 and 16 filters: c6\.block\.0\.weight"):
        Unet(weights=other).segment(image)

    (broken / CARD).unlink()
    with pytest.raises(BadInput, match=r"it has no ensemble\.json"):
        Unet(weights=broken).segment(image)
    (broken / CARD).write_text("{")
    with pytest.raises(BadInput, match=r"cannot read .* as the model card"):
        Unet(weights=broken).segment(image)
    with pytest.raises(BadInput, match="no folder with an ensemble"):
        Unet(weights=tmp_path / "none").input_fingerprint()
