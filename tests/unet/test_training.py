"""Training, labelled frames and adaptation, on networks so small that they learn in seconds."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file

from stem2sim.errors import BadInput, StageFailed
from stem2sim.image import Image
from stem2sim.testing import graphene_image, graphene_sheet
from stem2sim_unet import SHIPPED, training_files, validation
from stem2sim_unet import adapt as adapt_module
from stem2sim_unet import fine_tuning as fine_tuning_module
from stem2sim_unet import train as train_module
from stem2sim_unet import trainer as trainer_module
from stem2sim_unet import training_loop as training_module
from stem2sim_unet.adapt import Adaptation
from stem2sim_unet.canonical_grid import Grid
from stem2sim_unet.commands import read_training
from stem2sim_unet.ensemble import Ensemble
from stem2sim_unet.labelled import IGNORED, PATCH, LabelledFrame, cut
from stem2sim_unet.model_card import ModelCard
from stem2sim_unet.recipe import Recipe
from stem2sim_unet.synthetic import draw_labels
from stem2sim_unet.train import train
from stem2sim_unet.training import Training
from stem2sim_unet.training_files import member_file
from stem2sim_unet.training_loop import new_network, train_starts
from stem2sim_unet.validation import overlap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    Weights = dict[str, torch.Tensor]

EASY = Recipe(
    impurities=(), pristine=1, empty=0, grain_boundaries=0, holes=0, contamination=0, strain=0.005,
    pixel_size=(0.12, 0.18), fwhm=(0.9, 1.0), tail_weight=(0, 0.1), dose=(2000, 6000),
)  # fmt: skip
"""Frames that a network of a few hundred weights learns to read in fifty steps."""

SMALL: dict[str, Any] = {"filters": 4, "depths": (1, 1, 1, 1), "calibration_frames": 20, "least_overlap": 0}
BRIEF = Training(recipe=EASY, starts=1, snapshots=2, frames=8, steps=4, cycle=3, batch=2, **SMALL | {"filters": 2})
GRAPHENE = graphene_sheet(30.0, 17.0)


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks this small lose more to waiting for other threads than they gain."""
    monkeypatch.setattr(validation, "VALIDATION_FRAMES", 24)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def frames_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generate equal frames only once."""
    monkeypatch.setattr(training_module, "generated", _generated)


_generated = lru_cache(training_module.generated)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble of two starts with two members each, calibrated."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ensemble")
    options = {"starts": 2, "parallel_starts": 2, "snapshots": 2, "frames": 30, "steps": 52, "cycle": 14, "batch": 6}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(validation, "VALIDATION_FRAMES", 24)
        train(Training(recipe=EASY, learning_rate=0.01, **{**SMALL, **options, "least_overlap": 0.3}), folder)
    return folder


def weights_of(network: nn.Module) -> Weights:
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(one: Weights, other: Weights) -> bool:
    return list(one) == list(other) and all(torch.equal(value, other[name]) for name, value in one.items())


def members(
    training: Training, checkpoint: Path, stop: int = 0, seed: int = 1, parallel_starts: int = 1
) -> dict[int, Weights]:
    """Train until after step `stop` (0: to the end); return the last start's weights at the end of each cycle."""
    made = {}
    for step, _, networks in train_starts(training, [*range(seed, seed + parallel_starts)], checkpoint):
        if step in training.ends:
            made[step] = weights_of(networks()[-1])
        if step == stop:
            break
    return made


@pytest.mark.usefixtures("frames_once")
def test_a_seed_is_a_network(tmp_path: Path) -> None:
    """The same seed gives the same weights, another seed others, and checkpoints change nothing."""
    one, again, other = (members(BRIEF, tmp_path / f"{k}", seed=seed) for k, seed in enumerate((1, 1, 2)))
    assert list(one) == [4, 7]
    assert all(equal(one[step], again[step]) for step in one)
    assert not equal(one[7], other[7])
    assert not equal(one[4], one[7])


@pytest.mark.usefixtures("frames_once")
@pytest.mark.parametrize("average", [False, True])
def test_stacked_starts_are_trained_as_each_would_be_alone(
    average: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass for all of them gives the losses, weights, running means and averages of each."""
    monkeypatch.setattr(torch, "autocast", lambda *_: nullcontext())  # rounding to bfloat16 would part their ways
    plan = BRIEF.model_copy(update={"average": average})
    alone: dict[int, list[tuple[float, Weights]]] = {}
    for seed in (1, 2, 3):
        for step, losses, networks in train_starts(plan, [seed], tmp_path / f"{seed}"):
            alone.setdefault(step, []).append((losses[0], weights_of(networks()[0])))
    for step, losses, networks in train_starts(plan, [1, 2, 3], tmp_path / "stacked"):
        for k, network in enumerate(networks()):
            loss, weights = alone[step][k]
            assert losses[k] == pytest.approx(loss, rel=1e-4)
            for name, value in weights_of(network).items():
                assert torch.allclose(value.float(), weights[name].float(), atol=1e-3), (step, name)


@pytest.mark.usefixtures("frames_once")
@pytest.mark.parametrize("parallel_starts", [1, 2])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("every", [1, 4])
def test_a_training_that_was_cut_off_ends_as_one_that_was_not(
    parallel_starts: int, average: bool, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it was cut off: bit for bit, and no member is passed over; stacked or not."""
    monkeypatch.setattr(training_module, "CHECKPOINT_EVERY", every)
    plan = BRIEF.model_copy(update={"average": average})
    whole = members(plan, tmp_path / "whole", parallel_starts=parallel_starts)
    for stop in range(1, 7):
        checkpoint = tmp_path / f"cut-{stop}"
        before = members(plan, checkpoint, stop, parallel_starts=parallel_starts)
        assert checkpoint.exists() == (stop > every)
        # the step at which it was cut off was not acknowledged, so it comes again
        after = members(plan, checkpoint, parallel_starts=parallel_starts)
        assert {*before, *after} == {4, 7}
        assert all(equal(made, whole[step]) for part in (before, after) for step, made in part.items())


@pytest.mark.usefixtures("frames_once")
def test_an_averaged_member_is_the_mean_of_its_cycles_second_half(tmp_path: Path) -> None:
    plain = {step: weights_of(all_of()[0]) for step, _, all_of in train_starts(BRIEF, [1], tmp_path / "plain")}
    averaged = members(BRIEF.model_copy(update={"average": True}), tmp_path / "averaged")
    for end, steps in ((4, (3, 4)), (7, (6, 7))):
        for name, value in averaged[end].items():
            if name.endswith(("weight", "bias")):
                mean = torch.stack([plain[step][name] for step in steps]).mean(0)
                assert torch.allclose(value, mean, atol=1e-6), (end, name)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "seed-1.checkpoint").write_bytes(b"PK broken")
    with pytest.raises(BadInput, match=r"seed-1\.checkpoint is damaged; delete it"):
        next(train_starts(BRIEF, [1], tmp_path / "seed-1.checkpoint"))


def test_starts_begin_with_the_members_of_the_baseline(trained: Path) -> None:
    """In turn, where there are more starts than members."""
    plan = Training(recipe=EASY, baseline=trained, starts=5, **SMALL)
    there = Ensemble(trained).members
    for k in range(5):
        state = new_network(plan, plan.seed + k).state_dict()
        assert all(np.array_equal(state[name].numpy(), value) for name, value in there[k % 4].items())


def test_a_baseline_of_another_kind_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has filters 4, this training 8$"):
        train(Training(recipe=EASY, baseline=trained, **SMALL | {"filters": 8}), tmp_path)
    with pytest.raises(BadInput, match="has classes"):
        train(Training(baseline=trained, **SMALL), tmp_path)


@pytest.mark.usefixtures("frames_once")
def test_a_few_frames_can_be_learnt_by_heart(tmp_path: Path) -> None:
    plan = BRIEF.model_copy(update={"frames": 4, "batch": 4, "steps": 40, "snapshots": 1, "learning_rate": 0.02})
    losses = [losses[0] for _, losses, _ in train_starts(plan, [1], tmp_path / "checkpoint")]
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_a_folder_is_one_training(trained: Path, tmp_path: Path) -> None:
    """Other options are refused, and so is an ensemble from elsewhere; what is done is not done again."""
    folder = tmp_path / "ensemble"
    shutil.copytree(trained, folder)
    plan = Training.model_validate_json((folder / "training.json").read_text())
    times = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert train(plan, folder) == ModelCard.read(trained)
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == times
    with pytest.raises(
        BadInput, match=r"holds another training, with other options or data \(training.json\); choose another --out"
    ):
        train(plan.model_copy(update={"steps": 53}), folder)
    (folder / "training.json").unlink()
    with pytest.raises(BadInput, match=r"holds another ensemble \(it has no training.json\)"):
        train(plan, folder)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="is a file"):
        train(plan, tmp_path / "file")


def test_the_card_says_what_it_took(trained: Path) -> None:
    card = ModelCard.read(trained)
    training = card.trained
    assert (training["members"], training["seeds"], training["steps"], training["frames"]) == (4, [1, 2], 66, 120)
    assert training["seconds"] >= 0
    assert training["options"]["recipe"]["dose"] == [2000, 6000]
    assert training["options"]["frames"] == 30
    assert card.scores["recall"] > 0.8
    rows = (trained / "losses.csv").read_text().splitlines()
    assert [row.rsplit(",", 2)[0] for row in rows] == ["seed,step"] + [f"{s},{n}" for n in (50, 52, 66) for s in (1, 2)]


def test_the_card_names_no_folders(tmp_path: Path) -> None:
    """It goes to other machines and other people."""
    image, atoms, _ = labelled_files(tmp_path)
    plan = Training(labelled=(LabelledFrame(image=image, atoms=atoms),), baseline=tmp_path / "mine", **SMALL)
    options = train_module.card_of(plan).trained["options"]
    assert options["labelled"] == [{"image": image.name, "atoms": atoms.name}]
    assert options["baseline"] == "mine"


@pytest.mark.usefixtures("frames_once")
def test_a_member_that_was_not_saved_is_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the first member is written, with a checkpoint due at the same step."""
    monkeypatch.setattr(training_module, "CHECKPOINT_EVERY", 4)
    monkeypatch.setattr(validation, "generated", _generated)
    monkeypatch.setattr(train_module, "calibrate_folder", lambda folder, *_: ModelCard.read(folder))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(validation, "save_member", killed)
        with pytest.raises(KeyboardInterrupt):
            train(BRIEF, tmp_path / "cut")
    for folder in ("cut", "whole"):
        train(BRIEF, tmp_path / folder)
    for k in range(2):
        one, other = (load_file(member_file(tmp_path / folder, k)) for folder in ("cut", "whole"))
        assert all(np.array_equal(value, other[name]) for name, value in one.items())


@pytest.mark.usefixtures("frames_once")
def test_what_learnt_too_little_is_no_member(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="seed 1 learnt too little: overlap"):
        train(BRIEF.model_copy(update={"least_overlap": 0.9}), tmp_path)
    assert not list(tmp_path.glob("member-*"))


def labelled_files(folder: Path, pixel_size: float = 0.18, width: float = 27.0) -> tuple[Path, Path, Path]:
    """Write a frame, the table of its atoms, and a mask that says the same; return the three files."""
    image = graphene_image(width, pixel_size)
    sheet = graphene_sheet(width + 6)
    xy = sheet.positions[:, :2] - 3
    np.save(folder / "frame.npy", image.pixels)
    rows = "".join(f"{x:.6f},{y:.6f},C\n" for x, y in xy)
    (folder / "atoms.csv").write_text(f"x,y,species\n{rows}")
    # a disc per atom, drawn on the frame's own pixels
    rows_, columns = np.indices(image.shape) * pixel_size
    away = np.hypot(columns[..., None] - xy[:, 0], rows_[..., None] - xy[:, 1]).min(axis=-1)
    np.save(folder / "mask.npy", (away <= 0.42).astype(np.uint8))
    return folder / "frame.npy", folder / "atoms.csv", folder / "mask.npy"


@pytest.mark.parametrize(("pixel_size", "alike"), [(0.18, 1.0), (0.09, 0.95)])
def test_a_table_and_a_mask_say_the_same(pixel_size: float, alike: float, tmp_path: Path) -> None:
    """On the canonical grid exactly; from finer pixels but for the rims of the discs."""
    image, atoms, mask = labelled_files(tmp_path, pixel_size)
    common: dict[str, Any] = {"image": image, "pixel_size": pixel_size, "calibrate": False}
    recipe = Recipe()
    one = LabelledFrame(**common, atoms=atoms).patches(recipe)
    other = LabelledFrame(**common, mask=mask, mask_classes=("background", "C")).patches(recipe)
    assert np.array_equal(one[0], other[0])
    assert (one[1] == other[1]).mean() >= alike
    assert set(np.unique(one[1])) == {recipe.classes.index("C"), recipe.classes.index("background")}


def test_beyond_a_frame_there_are_no_labels(tmp_path: Path) -> None:
    """A frame whose stated pixel size is stretched back leaves corners on the grid that nobody has seen."""
    xy = graphene_sheet(40.0).positions[:, :2] - 4
    shear = np.array([[1.0, 0.09], [0.09, 1.0]])
    from stem2sim.imaging.forward import Probe, Scan

    clean = Probe().render(xy @ shear, np.full(len(xy), 6), 0.18, (150, 150))
    np.save(tmp_path / "frame.npy", Scan(dose=5000).expose(clean, 0.18, np.random.default_rng(0)))
    rows = "".join(f"{x:.4f},{y:.4f},C\n" for x, y in xy @ shear)
    (tmp_path / "atoms.csv").write_text(f"x,y,species\n{rows}")
    labelled = LabelledFrame(image=tmp_path / "frame.npy", pixel_size=0.18, atoms=tmp_path / "atoms.csv")
    pixels, labels = labelled.patches(Recipe())
    assert 0.02 < (labels == IGNORED).mean() < 0.5
    # where there are labels, discs lie on bright spots
    assert pixels[labels == 0].mean() > pixels[labels == len(Recipe().species)].mean() + 1


def broken(folder: Path, what: str) -> dict[str, Any]:
    """Spoil one thing about a labelled frame."""
    image, atoms, mask = labelled_files(folder, width=10.0)
    good: dict[str, Any] = {"image": image, "pixel_size": 0.18}
    masked = {**good, "mask": mask, "mask_classes": ("background", "C")}
    values = np.load(mask)
    if what == "shape":
        np.save(mask, values[1:])
    elif what == "values":
        np.save(mask, values + 1)
    elif what == "numbers":
        np.save(mask, values / 2)
    elif what == "class":
        masked["mask_classes"] = ("background", "Au")
    elif what == "picture":
        (folder / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
        masked["mask"] = folder / "mask.png"
    elif what == "gone":
        masked["mask"] = folder / "none.npy"
    else:
        text = {"species": "x,y,species\n1,1,Au\n", "symbol": "x,y,species\n1,1,Qq\n", "away": "x,y,species\n99,99,C\n"}
        atoms.write_text(text[what])
        return {**good, "atoms": atoms}
    return masked


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("shape", r"mask.npy has shape \(55, 56\), its image \(56, 56\)"),
        ("values", "mask.npy holds values 1 to 2, mask_classes lists 2: 0 to 1"),
        ("numbers", "mask.npy must hold whole numbers in rows and columns"),
        ("class", "mask_classes has Au; the classes are C, Si, Cr, background"),
        ("picture", "cannot read the mask mask.png"),
        ("gone", "cannot read the mask none.npy"),
        ("species", "atoms.csv has Au; the classes are C, Si, Cr"),
        ("symbol", "atoms.csv has unknown species 'Qq'"),
        ("away", r"no atom of atoms.csv lies in its image of 10.08 x 10.08 Å"),
    ],
)
def test_labels_that_do_not_fit_are_named_in_one_line(what: str, message: str, tmp_path: Path) -> None:
    plan = Training(labelled=(LabelledFrame(**broken(tmp_path, what)),), **SMALL)
    with pytest.raises(BadInput, match=message) as caught:
        train(plan, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "training.json").exists(), "a mended frame would be refused as another training"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 3", "stepz"),
        ("[recipe]\nmaterials = 'MoS2'", "recipe.materials"),
        ("[[labelled]]\nimage = 'a.npy'", "a.npy: give either atoms or mask"),
        ("[[labelled]]\nimage = 'a.npy'\nmask = 'm.png'", "mask and mask_classes"),
        ("seed = 995\nstarts = 5", "seed .* starts may be 996 at most"),
        ("steps = 0", "steps"),
    ],
)
def test_a_config_that_does_not_read_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text(text)
    with pytest.raises(BadInput, match=message) as caught:
        read_training(tmp_path / "train.toml")
    assert "\n" not in str(caught.value)


@given(shape=st.tuples(st.integers(8, 400), st.integers(8, 400)))
@settings(max_examples=25)
def test_patches_cover_the_frame_and_no_more(shape: tuple[int, int]) -> None:
    """Every pixel is in some patch with its own label; what pads a small frame is ignored."""
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    pixels, labels = cut(numbers, np.ones(shape, dtype=np.uint8))
    assert pixels.shape == labels.shape == (len(pixels), PATCH, PATCH)
    assert np.array_equal(np.unique(pixels[labels == 1]), numbers.ravel())
    assert set(np.unique(labels)) <= {1, IGNORED}
    padded = [max(PATCH, n) for n in shape]
    assert (IGNORED in labels) == (tuple(padded) != shape)


def test_own_frames_are_their_share_of_each_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(training_module, "generated", _generated)
    monkeypatch.setattr(trainer_module, "descend", lambda network, optimiser, x, y, weights: seen.append(y) or 0.0)
    own = torch.zeros(3, 1, PATCH, PATCH), torch.full((3, PATCH, PATCH), IGNORED, dtype=torch.uint8)
    plan = BRIEF.model_copy(update={"batch": 8, "labelled_share": 0.25})
    list(train_starts(plan, [1], tmp_path / "checkpoint", own))
    assert [int((y == IGNORED).all(dim=(1, 2)).sum()) for y in seen] == [2] * 7


def test_atomais_trainer_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    """At once: nothing is written."""
    plan = Training(recipe=EASY, trainer="atomai", **SMALL)
    with pytest.raises(BadInput, match="gives one member per start, not 4; snapshots = 1 with starts = 20"):
        train(plan, tmp_path / "out")
    with pytest.raises(BadInput, match="does not support the option average"):
        train(plan.model_copy(update={"snapshots": 1, "average": True}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_atomais_trainer_needs_every_class(tmp_path: Path) -> None:
    rare = Recipe.model_validate({**EASY.model_dump(), "impurities": [{"species": "Si", "mean": 0}]})
    plan = Training(recipe=rare, trainer="atomai", starts=1, snapshots=1, frames=4, batch=2, **SMALL)
    with pytest.raises(BadInput, match=r"these 4 contain no Si; use more frames"):
        train(plan, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("species", [(), ("Si",)])
def test_atomais_trainer_leaves_members_that_we_read(
    species: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With two classes, where AtomAI has one score, and with three; and nothing else is left or changed by it."""
    monkeypatch.setattr(train_module, "calibrate_folder", lambda folder, *_: ModelCard.read(folder))
    monkeypatch.chdir(tmp_path)
    impurities = [{"species": name, "mean": 3.0} for name in species]
    recipe = Recipe.model_validate({**EASY.model_dump(), "impurities": impurities, "pristine": 0, "vacancies": 0})
    options = {"starts": 1, "snapshots": 1, "frames": 24, "steps": 40, "batch": 6, "learning_rate": 0.02}
    plan = Training(recipe=recipe, trainer="atomai", **{**SMALL, **options})
    before = np.random.get_state()[1].tolist(), torch.get_rng_state()
    card = train(plan, tmp_path / "out")
    assert np.random.get_state()[1].tolist() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert capsys.readouterr().out == ""
    left = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert left == ["ensemble.json", "losses.csv", "member-00.safetensors", "training.json"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert card.classes == recipe.classes
    from stem2sim_unet.torch_backend import network_of

    (weights,) = Ensemble(tmp_path / "out").members
    shares = overlap(network_of(weights, card), *validation.held_out(recipe), len(recipe.classes))
    assert shares[0] > 0.4


def spoilt(trained: Path, folder: Path, *numbers: int) -> Path:
    """Copy an ensemble with the weights of some members shuffled."""
    shutil.copytree(trained, folder)
    rng = np.random.default_rng(0)
    for number in numbers:
        file = member_file(folder, number)
        save_file({name: rng.permuted(value) for name, value in load_file(file).items()}, file)
    return folder


def new_frames(count: int = 2) -> list[Image]:
    """Graphene with a wider probe than the ensemble has seen."""
    return [graphene_image(22.0, 0.15, dose=1500, seed=k).model_copy(update={"source": f"f{k}"}) for k in range(count)]


def test_adapting_drops_what_is_spoilt_and_says_why(trained: Path, tmp_path: Path) -> None:
    folder = spoilt(trained, tmp_path / "spoilt", 1)
    card = Adaptation(steps=0, calibration_frames=20).adapt(folder, new_frames(), EASY, tmp_path / "out")
    (decisions,) = card.trained["adapted"]["rounds"]
    assert [one["decision"].split(":")[0] for one in decisions.values()] == ["kept", "discarded", "kept", "kept"]
    assert decisions["member-01"]["score"] < 0.5 < decisions["member-00"]["score"]
    assert "best" in decisions["member-01"]["decision"]
    kept = [file.read_bytes() for file in sorted((tmp_path / "out").glob("member-*"))]
    assert kept == [member_file(trained, k).read_bytes() for k in (0, 2, 3)]
    assert card.trained["members"] == 3
    assert [one["frame"] for one in card.trained["adapted"]["frames"]] == ["f0", "f1"]
    assert card.confidence is not None
    assert card == ModelCard.read(tmp_path / "out")
    # done is done, and other frames are another adaptation
    again = Adaptation(steps=0, calibration_frames=20).adapt(folder, new_frames(), EASY, tmp_path / "out")
    assert again == card
    with pytest.raises(BadInput, match="holds another adaptation, with other options or data"):
        Adaptation(steps=0, calibration_frames=20).adapt(folder, new_frames(1), EASY, tmp_path / "out")


def test_two_members_are_always_kept(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapt_module, "calibrate_folder", lambda folder, *_: ModelCard.read(folder))
    card = Adaptation(keep=1.0, steps=0, calibration_frames=20).adapt(trained, new_frames(1), EASY, tmp_path / "out")
    (decisions,) = card.trained["adapted"]["rounds"]
    assert sorted(one["decision"].split(":")[0] for one in decisions.values()) == [
        "discarded", "discarded", "kept", "kept as one of the best 2",
    ]  # fmt: skip


def test_fine_tuned_weights_are_taken_only_where_better(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a run that was cut off between two members ends as one that was not."""
    folder = tmp_path / "pair"
    shutil.copytree(trained, folder)
    for number in (1, 3):
        member_file(folder, number).unlink()
    options: dict[str, Any] = {"steps": 8, "frames": 12, "calibration_frames": 20}
    monkeypatch.setattr(adapt_module, "calibrate_folder", lambda folder, *_: ModelCard.read(folder))
    saved = []

    def dying(network: nn.Module, path: Path, **facts: str) -> None:
        if saved:
            raise KeyboardInterrupt
        saved.append(path)
        training_files.save_member(network, path, **facts)

    with monkeypatch.context() as patched:
        patched.setattr(fine_tuning_module, "save_member", dying)
        with pytest.raises(KeyboardInterrupt):
            Adaptation(**options).adapt(folder, new_frames(1), EASY, tmp_path / "cut")
    cards = [Adaptation(**options).adapt(folder, new_frames(1), EASY, tmp_path / name) for name in ("cut", "whole")]
    assert cards[0] == cards[1]
    (decisions,) = cards[0].trained["adapted"]["rounds"]
    for k, (name, one) in enumerate(decisions.items()):
        tuned = one["fine-tuned"]
        better = tuned["after"]["score"] > tuned["before"]["score"]
        better &= tuned["overlap"][1] >= tuned["overlap"][0] - 0.02
        cut_off, whole = (load_file(member_file(tmp_path / there, k)) for there in ("cut", "whole"))
        parent = load_file(folder / f"{name}.safetensors")
        assert all(np.array_equal(value, whole[name]) for name, value in cut_off.items())
        assert any(not np.array_equal(value, parent[name]) for name, value in whole.items()) == better
        assert ("not taken" in one["decision"]) != better
    assert not list((tmp_path / "cut").glob("taught-*"))


def test_what_cannot_be_adapted_is_refused(trained: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    shutil.copytree(trained, one)
    for number in (1, 2, 3):
        member_file(one, number).unlink()
    noise = Image(pixels=np.random.default_rng(0).normal(size=(128, 128)), pixel_size=0.15)
    for folder, images, recipe, out, message in (
        (one, new_frames(1), EASY, tmp_path / "out", "needs at least 2 members to choose from"),
        (trained, [], EASY, tmp_path / "out", "requires at least one image"),
        (
            SHIPPED,
            [noise],
            Recipe(),
            tmp_path / "out",
            "all 1 images are outside the training data of the networks for graphene",
        ),
        (trained, new_frames(1), Recipe(), tmp_path / "out", "the recipe has classes C, Si, Cr, background"),
        (trained, new_frames(1), EASY, trained, "is the ensemble to adapt"),
        (trained, new_frames(1), EASY, one, "holds another ensemble"),
    ):
        with pytest.raises(BadInput, match=message) as caught:
            Adaptation().adapt(folder, images, recipe, out)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Adaptation(keep=2)


def test_labels_of_a_table_are_those_of_generated_frames(tmp_path: Path) -> None:
    """The user's atoms are drawn just as the generator draws its own."""
    image, atoms, _ = labelled_files(tmp_path, 0.18, 128 * 0.18)
    _, labels = LabelledFrame(image=image, pixel_size=0.18, atoms=atoms, calibrate=False).patches(EASY)
    grid = Grid.square((128, 128), 0.18)
    xy = graphene_sheet(128 * 0.18 + 6).positions[:, :2] - 3
    expected = draw_labels(grid.from_image(xy / 0.18), np.zeros(len(xy), dtype=np.int64), (128, 128), np.array([0]))
    assert np.array_equal(labels[0], expected)
