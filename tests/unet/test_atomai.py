"""AtomAI's files, networks, predictions and positions, ours against theirs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from stem2sim.errors import BadInput
from stem2sim.testing import graphene_image
from stem2sim_unet.atomai_compat import locate, predict
from stem2sim_unet.atomai_files import AtomaiModel, read_atomai, write_atomai
from stem2sim_unet.network import UnetNetwork, Variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL: dict[str, Any] = {"filters": 2, "depths": (1, 2, 2, 2)}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"batch_norm": False},
    {"dropout": True},
    {"upsampling": "nearest"},
    {"with_dilation": True},
    {"with_dilation": True, "dropout": True},
    {"with_dilation": True, "batch_norm": False, "upsampling": "nearest"},
]
FRAME = graphene_image(14.4, pixel_size=0.2).pixels


def named(options: dict[str, Any]) -> str:
    return ", ".join(options) or "plain"


def atomais(classes: int, options: dict[str, Any]) -> torch.nn.Module:
    """Return AtomAI's own network."""
    from atomai.nets import Unet as AtomaiUnet

    theirs = {"upsampling_mode" if name == "upsampling" else name: value for name, value in options.items()}
    network: torch.nn.Module = AtomaiUnet(classes, SMALL["filters"], layers=list(SMALL["depths"]), **theirs)
    return network.eval()


def seeing(classes: int, seed: int, options: dict[str, Any]) -> UnetNetwork:
    """Return a random network whose classes take turns over the frame, so that there are regions to locate."""
    torch.manual_seed(seed)
    network = UnetNetwork(classes, **SMALL, variant=Variant(**options)).eval()
    for name, value in network.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    with torch.inference_mode():
        x = torch.from_numpy((FRAME - FRAME.min()) / np.ptp(FRAME))[None, None]
        scores = network(x)[0]
    with torch.no_grad():
        scale = 6 / scores.std(dim=(1, 2))
        network.px.weight *= scale[:, None, None, None]
        network.px.bias = torch.nn.Parameter(scale * (network.px.bias - scores.mean(dim=(1, 2))))
    return network


def ensemble(classes: int, members: int = 2, **options: Any) -> AtomaiModel:
    states = tuple(seeing(classes, seed, options).state_dict() for seed in range(members))
    return AtomaiModel(classes=classes, members=states, **SMALL, **options)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a model's file with changes to what is in it."""

    def save(**changes: Any) -> Path:
        write_atomai(tmp_path / "whole.tar", ensemble(3, 1))
        content = torch.load(tmp_path / "whole.tar", weights_only=True)
        torch.save({**content, **changes}, tmp_path / "changed.tar")
        return tmp_path / "changed.tar"

    return save


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("options", VARIANTS, ids=named)
def test_every_unet_of_atomai_is_ours_too(options: dict[str, Any], classes: int) -> None:
    """Same names, same shapes, same output: weights pass both ways."""
    theirs, ours = atomais(classes, options), UnetNetwork(classes, **SMALL, variant=Variant(**options)).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    frame = torch.randn(2, 1, 32, 48)
    with torch.inference_mode():
        assert torch.allclose(ours(frame), theirs(frame), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "scratch", "baseline", "swag"])
@pytest.mark.parametrize("classes", [1, 3])
def test_what_atomai_trained_and_saved_is_read(kind: str, classes: int, tmp_path: Path) -> None:
    """A model with its optimizer, and ensembles of each kind: the same weights, bit for bit."""
    import atomai

    rng = np.random.default_rng(0)
    frames = rng.random((8, 16, 16))
    labels = rng.integers(0, max(classes, 2), frames.shape)
    labels[:, 0, :3] = np.arange(3) % max(classes, 2)  # AtomAI counts the classes in the labels
    data = (frames, labels, frames[:4], labels[:4])
    unet = {"nb_classes": classes, "nb_filters": 2, "layers": [1, 1, 1, 2], "dropout": True}
    how = {"batch_size": 2, "filename": str(tmp_path / kind), "plot_training_history": False}
    if kind == "model":
        atomai.models.Segmentor("Unet", **unet).fit(*data, training_cycles=2, **how)
    else:
        trainer = atomai.trainers.EnsembleTrainer("Unet", **unet)
        trainer.compile_ensemble_trainer(training_cycles=2, **how)
        if kind == "scratch":
            trainer.train_ensemble_from_scratch(*data, n_models=2)
        elif kind == "baseline":
            brief = {"training_cycles_base": 2, "training_cycles_ensemble": 2}
            trainer.train_ensemble_from_baseline(*data, n_models=2, **brief)
        else:
            trainer.train_swag(*data, n_models=2, training_cycles=30)  # fewer, and AtomAI has nothing to average
    path = tmp_path / f"{kind}{'' if kind == 'model' else '_ensemble'}_metadict{'_final' * (kind == 'model')}.tar"
    found = read_atomai(path)
    assert (found.classes, found.filters, found.depths, found.dropout) == (classes, 2, (1, 1, 1, 2), True)
    # our own test wrote this file, so it may be opened the unsafe way
    content = torch.load(path, weights_only=False)
    assert isinstance(content.get("optimizer"), torch.optim.Adam) == (kind == "model")
    there = [content["weights"]] if kind == "model" else list(content["weights"].values())
    assert len(found.members) == len(there) == (1 if kind == "model" else 2)
    for ours, theirs in zip(found.members, there, strict=True):
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
@pytest.mark.parametrize("options", VARIANTS, ids=named)
def test_atomai_loads_what_we_write(options: dict[str, Any], tmp_path: Path) -> None:
    import atomai

    model = ensemble(3, 2, **options)
    write_atomai(tmp_path / "one.tar", replace(model, members=model.members[:1]))
    write_atomai(tmp_path / "two.tar", model)
    one = atomai.models.load_model(str(tmp_path / "one.tar"))
    _, two = atomai.models.load_ensemble(str(tmp_path / "two.tar"))
    assert sorted(two) == [0, 1]
    for theirs, ours in ((one.net.state_dict(), 0), (two[0], 0), (two[1], 1)):
        assert all(torch.equal(theirs[name], value) for name, value in model.members[ours].items())
    with torch.inference_mode():
        x = torch.from_numpy(FRAME)[None, None]
        assert torch.allclose(one.net.eval()(x), next(model.networks())(x), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 3, 12])
def test_predictions_and_positions_are_atomais(classes: int, frames: int, tmp_path: Path) -> None:
    """Mean, variance and located atoms, for a frame and for stacks whose frames differ in brightness."""
    from atomai.models import load_ensemble
    from atomai.predictors import EnsemblePredictor, Locator

    write_atomai(tmp_path / "ensemble.tar", ensemble(classes, 3))
    pixels = FRAME if frames == 1 else np.stack([FRAME[:64] * (1 - k / 40) for k in range(frames)])
    skeleton, weights = load_ensemble(str(tmp_path / "ensemble.tar"))
    expected = EnsemblePredictor(skeleton, weights, nb_classes=classes).predict(pixels)
    mean, variance = predict(read_atomai(tmp_path / "ensemble.tar").networks(), pixels)
    np.testing.assert_allclose(mean, expected[0], atol=1e-4)
    np.testing.assert_allclose(variance, expected[1], atol=1e-4)
    assert variance.max() > 0.01
    atoms = locate(mean)
    theirs = Locator().run(expected[0])
    assert len(atoms) == len(theirs) == frames
    assert sum(map(len, atoms)) > 10 * frames
    for ours, known in zip(atoms, theirs.values(), strict=True):
        np.testing.assert_allclose(ours, known, atol=1e-4)


def test_a_model_comes_back_as_it_was_written(tmp_path: Path) -> None:
    model = ensemble(3, 2, dropout=True, upsampling="nearest", with_dilation=True)
    write_atomai(tmp_path / "model.tar", model)
    back = read_atomai(tmp_path / "model.tar")
    assert replace(back, members=()).__dict__ == replace(model, members=()).__dict__
    for ours, theirs in zip(back.members, model.members, strict=True):
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_atomai(tmp_path / name, ensemble(2))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_half_precision_and_no_counters_become_what_atomai_needs(tmp_path: Path) -> None:
    """As the shipped members are: float16, without the counters that only training reads."""
    model = ensemble(3)
    lean = tuple({n: v.half() for n, v in m.items() if not n.endswith("tracked")} for m in model.members)
    write_atomai(tmp_path / "model.tar", replace(model, members=lean))
    (first, *_) = read_atomai(tmp_path / "model.tar").members
    assert {name: (value.shape, value.dtype) for name, value in first.items()} == {
        name: (value.shape, value.dtype) for name, value in model.members[0].items()
    }


def test_weights_in_another_memory_order_are_read(saved: Callable[..., Path]) -> None:
    (state,) = ensemble(3, 1).members
    turned = {n: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for n, v in state.items()}
    (found,) = read_atomai(saved(weights=turned)).members
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_networks_are_made_without_random_numbers() -> None:
    model = ensemble(3)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    list(model.networks())
    assert torch.equal(torch.rand(1), expected)


class Evil:
    """An object that creates a file when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("where", ["weights", "optimizer", "nb_classes"])
@pytest.mark.parametrize("name", ["system", "eval"])
def test_nothing_in_a_file_runs(where: str, name: str, saved: Callable[..., Path], tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    command = Evil(os.system, f"touch {mark}") if name == "system" else Evil(eval, f"open({str(mark)!r}, 'w')")
    path = saved(**{where: command})
    with pytest.raises(BadInput, match=rf"changed.tar needs '\w+\.{name}', which no AtomAI model uses"):
        read_atomai(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "it would have run"


def with_pickle(path: Path, payload: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
    return path


@pytest.mark.parametrize(
    "payload",
    [
        # sets an attribute on what an allowed name stands for, as pickle's BUILD can
        b"\x80\x02ctorch.optim.adam\nAdam\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x08\x00\x00\x00__call__K\x01s\x86b.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02ctorch\nFloatStorage\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
        b"\x80\x02ctorch._utils\n_rebuild_wrapper_subclass\n)R.",
        # later protocols: names by another operation, and room claimed for bytes that are not there
        b"\x80\x02}X\x01\x00\x00\x00a\x96\x00\x00\x00\x00\x00\x01\x00\x00s.",
        pickle.dumps({"model_type": os.system}, protocol=4),
        b"\x80\x02]" + b"](" * 100 + b".",
        b"",
    ],
)
def test_a_forged_pickle_is_refused_and_changes_nothing(payload: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refusal:
        read_atomai(with_pickle(tmp_path / "forged.tar", payload))
    assert "\n" not in str(refusal.value)
    assert not hasattr(OrderedDict, "a")
    write_atomai(tmp_path / "good.tar", ensemble(3, 1))
    read_atomai(tmp_path / "good.tar")


def test_the_shape_of_a_forged_tensor_is_not_believed(saved: Callable[..., Path]) -> None:
    """A view with stride 0 states any size in four bytes; a name must be the network's before anything is read."""
    (state,) = ensemble(3, 1).members
    huge = torch.zeros(1).as_strided((10**9, 10**6), (0, 0))
    with pytest.raises(BadInput, match=r"px.weight has shape \(1000000000, 1000000\), a U-Net of 3 classes, 2 filters"):
        read_atomai(saved(weights={**state, "px.weight": huge}))


def _without(state: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != name}


STATE = dict(ensemble(3, 1).members[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "dilnet"}, "holds AtomAI's 'dilnet'; only its 'Unet' is read"),
        ({"model_type": "imspec"}, "holds an AtomAI model of type 'imspec'; only 'seg'"),
        ({"model_type": "x\ny" * 99}, "holds an AtomAI model of type 'x.ny"),
        ({"nb_classes": 2}, r"px.weight has shape \(3, 2, 1, 1\), a U-Net of 2 classes, .* needs \(2, 2, 1, 1\)"),
        ({"nb_classes": None}, "nb_classes must be a whole number from 1 to 1024, got None"),
        ({"nb_filters": 4}, "4 filters"),
        ({"nb_filters": 10**9}, "nb_filters must be a whole number from 1 to 1024, got 1000000000"),
        ({"layers": [1, 2, 2]}, r"layers must be four whole numbers, got \[1, 2, 2\]"),
        ({"layers": [1, 2, 2, 0]}, "layers must be a whole number from 1 to 1024, got 0"),
        ({"layers": [1, 2, 2, 3]}, "lacks the weights 'bn.block.6.weight' and 5 more of a U-Net"),
        ({"layers": [1, 2, 2, 1]}, "has, where none should be, the weights 'bn.block.3.weight' and"),
        ({"dropout": True}, "lacks the weights 'c3.block.3.running_mean' and .* layers 1-2-2-2, dropout"),
        ({"batch_norm": False}, "no batch norm"),
        ({"with_dilation": True}, "lacks the weights 'bn.atrous_module.0.weight' .*, dilation"),
        ({"upsampling": "cubic"}, "upsampling must be 'bilinear' or 'nearest', got 'cubic'"),
        ({"weights": {}}, "has no weights"),
        ({"weights": {0: STATE, 1: []}}, "member 1 has no weights"),
        ({"weights": {0: STATE, 1: _without(STATE, "px.bias")}}, "member 1 lacks the weights 'px.bias' of"),
        ({"weights": {**STATE, "px.bias": torch.tensor([1, np.nan, np.inf])}}, "2 of the weights px.bias are NaN"),
        ({"weights": {**STATE, "px.bias": torch.tensor([1, 1, 1e300], dtype=torch.float64)}}, "1 of the weights"),
        ({"weights": {**STATE, "px.bias": "three"}}, "damaged: \"TypeError: 'three' where a tensor should be"),
    ],
)
def test_a_file_that_is_no_unet_says_what_it_is(
    changes: dict[str, Any], message: str, saved: Callable[..., Path]
) -> None:
    with pytest.raises(BadInput, match=message) as refusal:
        read_atomai(saved(**changes))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 220


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.tar", tmp_path / "model.tar"
    write_atomai(whole, ensemble(3, 1))
    data = whole.read_bytes()

    def refused(message: str) -> None:
        with pytest.raises(BadInput, match=message) as refusal:
            read_atomai(path)
        assert "\n" not in str(refusal.value)

    refused("cannot read .*model.tar: No such file")
    for content in (b"", b"# a text", pickle.dumps({"model_type": "seg"})):
        path.write_bytes(content)
        refused("model.tar was not saved by torch 1.6 or newer")
    for cut in (100, len(data) // 2, len(data) - 30):
        path.write_bytes(data[:cut])
        refused("model.tar is damaged or truncated")
    flipped = bytearray(data)
    with zipfile.ZipFile(whole) as archive:
        flipped[archive.getinfo("archive/data/0").header_offset + 130] ^= 255
    path.write_bytes(flipped)
    refused("model.tar is damaged")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "")
    refused("model.tar is a zip file, but not one that torch has saved")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    refused("model.tar has compressed parts")
    torch.save(STATE, path)
    refused("describes no AtomAI model; weights alone do not identify their network")


def test_no_half_model_is_written(tmp_path: Path) -> None:
    """Refused weights leave the older file as it was, and nothing beside it."""
    path = tmp_path / "model.tar"
    path.write_text("older")
    model = ensemble(3)
    bad = {**model.members[1], "px.bias": torch.full((3,), np.nan)}
    with pytest.raises(BadInput, match=r"model.tar, member 1: 3 of the weights px.bias are NaN or infinite"):
        write_atomai(path, replace(model, members=(model.members[0], bad)))
    with pytest.raises(BadInput, match="the model has no members"):
        write_atomai(path, replace(model, members=()))
    assert [p.name for p in tmp_path.iterdir()] == ["model.tar"]
    assert path.read_text() == "older"


def test_optimizers_are_passed_over(saved: Callable[..., Path]) -> None:
    """Any of torch's: their numbers are not read, and their code does not run."""
    network = UnetNetwork(3, **SMALL)
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        optimizer = kind(network.parameters(), lr=1e-3)
        network(torch.rand(1, 1, 16, 16)).sum().backward()
        optimizer.step()
        assert len(read_atomai(saved(optimizer=optimizer)).members) == 1


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((100, 96)), "multiples of 8, got 100 x 96; crop to 96 x 96"),
        (np.zeros((16, 16)), "no contrast: every pixel is 0.0"),
        (np.full((16, 16), np.nan), "256 of 256 pixels are NaN or infinite"),
        (np.zeros(16), r"this is float64 of shape \(16,\)"),
        (np.zeros((16, 16), dtype=complex), "real numbers"),
    ],
)
def test_frames_that_atomai_cannot_read_are_refused(pixels: np.ndarray, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        predict(ensemble(3).networks(), pixels)


def test_no_networks_no_prediction() -> None:
    with pytest.raises(BadInput, match="no networks"):
        predict([], FRAME)


def test_whole_numbers_and_any_scale_are_the_same_frame() -> None:
    """Scaled to 0..1 before anything else: counts, and the same counts as floats with an offset."""
    counts = np.random.default_rng(0).integers(-100, 100, (16, 24)).astype(np.int8)
    one, _ = predict(ensemble(3).networks(), counts)
    other, _ = predict(ensemble(3).networks(), counts * 2.0 + 50)
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_regions_are_located_by_atomais_rules() -> None:
    """Above one half (not at it), connected through edges, all pixels alike, 5 pixels from the edge, per class."""
    maps = np.zeros((2, 32, 40, 3))
    maps[0, 10:13, 10:12, 0] = 0.9
    maps[0, 12, 10, 0] = 0.51
    maps[0, 13, 12, 0] = 0.9  # touches by a corner: another region
    maps[0, 20, 20, 0] = 0.5
    maps[0, 11, 10, 1] = 0.8  # claimed by two classes: reported twice
    maps[0, 4, 20, 0] = maps[0, 20, 36, 0] = 0.9  # too near an edge
    maps[0, 27, 35, 1] = maps[0, 5, 5, 1] = 0.9  # just not
    first, second = locate(maps)
    assert first.tolist() == [[11, 10.5, 0], [13, 12, 0], [5, 5, 1], [11, 10, 1], [27, 35, 1]]
    assert second.shape == (0, 3)
    with pytest.raises(BadInput, match=r"these have shape \(32, 40\)"):
        locate(maps[0, ..., 0])
