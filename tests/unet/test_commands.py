"""The commands of this plugin, and AtomAI's rules through the segmenter."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tests.conftest import stem2sim

from stem2sim.errors import BadInput
from stem2sim.image import Image
from stem2sim.testing import graphene_image
from stem2sim_unet import SHIPPED, atomai_compat
from stem2sim_unet.atomai_conversion import from_atomai, to_atomai
from stem2sim_unet.atomai_files import AtomaiModel, write_atomai
from stem2sim_unet.commands import read_training
from stem2sim_unet.network import UnetNetwork, Variant
from stem2sim_unet.training import Training
from stem2sim_unet.unet import Unet

if TYPE_CHECKING:
    from pathlib import Path


def small(path: Path, classes: int = 3, **options: object) -> UnetNetwork:
    """Write AtomAI's file of a small untrained network, and return it."""
    torch.manual_seed(0)
    network = UnetNetwork(classes, 4, (1, 1, 1, 1), Variant(**options)).eval()  # type: ignore[arg-type]
    write_atomai(path, AtomaiModel(classes, (network.state_dict(),), 4, (1, 1, 1, 1), **options))  # type: ignore[arg-type]
    return network


def test_weights_survive_the_way_to_atomai_and_back(tmp_path: Path) -> None:
    """Export, import: the same numbers in every member."""
    to_atomai(SHIPPED, tmp_path / "model.tar")
    from_atomai(tmp_path / "model.tar", ("C", "Si", "Cr"), None, tmp_path / "back")
    for file in sorted(SHIPPED.glob("member-*.safetensors"))[:3]:
        one, other = load_file(file), load_file(tmp_path / "back" / file.name)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name].astype(np.float32), other[name]) for name in one)
    with pytest.raises(BadInput, match=r"is not calibrated"):
        Unet(weights=tmp_path / "back").segment(graphene_image(10))


def test_the_command_refuses_what_it_cannot_import(tmp_path: Path) -> None:
    """One line and exit code 2; a pickle that would run something runs nothing."""
    small(tmp_path / "m.tar")
    done = stem2sim("unet", "import", tmp_path / "m.tar", "--classes", "C", "--out", tmp_path / "a")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "has 3 classes including the background; --classes lists 1 species" in done.stderr

    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {marker}",)

    torch.save({"weights": Evil()}, tmp_path / "evil.tar")
    done = stem2sim("unet", "import", tmp_path / "evil.tar", "--classes", "C,Si", "--out", tmp_path / "b")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "system" in done.stderr
    assert not marker.exists()
    assert not (tmp_path / "b").exists()

    other = Training.model_validate({"recipe": {"impurities": [{"species": "N"}]}})
    with pytest.raises(BadInput, match="--classes are C, Si, the recipe's are C, N"):
        from_atomai(tmp_path / "m.tar", ("C", "Si"), other, tmp_path / "e")
    assert not (tmp_path / "e").exists()

    small(tmp_path / "d.tar", dropout=True)
    done = stem2sim("unet", "import", tmp_path / "d.tar", "--classes", "C,Si", "--out", tmp_path / "c")
    assert done.returncode == 2
    assert "compat = 'atomai'" in done.stderr


def test_atomais_rules_through_the_segmenter(tmp_path: Path) -> None:
    """Positions, mean and spread are those that its rules give; nothing is calibrated, and that is said."""
    network = small(tmp_path / "m.tar")
    image = graphene_image(12.8, 0.1, 3000)
    pixels = torch.from_numpy((image.pixels - image.pixels.min()) / np.ptp(image.pixels))[None, None]
    with torch.no_grad():  # untrained scores are all alike: let half of the frame be of the first class
        network.px.weight[0] *= 1000
        network.px.weight[1:] = 0
        network.px.bias.zero_()
        network.px.bias[0] = -network(pixels)[0, 0].median()
    write_atomai(tmp_path / "m.tar", AtomaiModel(3, (network.state_dict(),), 4, (1, 1, 1, 1)))
    mean, variance = atomai_compat.predict([network], image.pixels)
    (expected,) = atomai_compat.locate(mean)
    assert len(expected) > 0
    unet = Unet(compat="atomai", weights=tmp_path / "m.tar", classes=("C", "Si"))
    found = unet.segment(image)
    assert found.mean is not None
    assert found.spread is not None
    assert np.allclose(np.moveaxis(found.mean, 0, -1), mean[0], atol=1e-6)
    assert np.allclose(found.spread**2, np.moveaxis(variance[0], -1, 0), atol=1e-6)
    assert np.allclose(found.atoms.positions, expected[:, [1, 0]] * 0.1)
    assert "not calibrated" in found.warnings[0]


def test_atomais_rules_ask_for_atomais_shapes_and_for_names(tmp_path: Path) -> None:
    image = graphene_image(12.8, 0.1, 3000)
    with pytest.raises(BadInput, match=r"multiples? of 8"):
        Unet(compat="atomai").segment(Image(pixels=image.pixels[:100, :100], pixel_size=0.1))
    small(tmp_path / "m.tar")
    with pytest.raises(BadInput, match=r"m\.tar has 2 species; list them in segment\.classes, got none"):
        Unet(compat="atomai", weights=tmp_path / "m.tar").segment(image)


def test_training_configs_that_do_not_fit_say_where(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    for text, message in (
        ("stats = 3", "t.toml: stats: unknown option; training takes recipe, "),
        ('[recipe]\nmaterial = "MoS2"\nimpurities = [{ species = "V", on = "W" }]', "'W' is not in Mo, S2"),
        ("starts = 0", "t.toml: starts: input should be greater than or equal to 1"),
        ("[recipe]\ndose = [100, 10]", "a range runs from the smaller to the larger"),
        ('[[labelled]]\nimage = "a.npy"', "give either atoms or mask"),
        ("[recipe]\nemty = 0.1", r"t.toml: recipe.emty: unknown option; recipe takes .*; did you mean 'empty'"),
        ("[[recipe.impurities]]\nspecies = 'Si'\nmen = 1", "men: unknown option; impurities takes species, on, "),
        (
            '[recipe]\nmaterial = "graphen"',
            r"t.toml: recipe.material: no material 'graphen'.*; did you mean 'graphene'",
        ),
        ('[[recipe.impurities]]\nspecies = "Sii"', "t.toml: recipe.impurities.0.species: 'Sii' is not a column"),
        ('trainer = "atmoai"', r"trainer: .* got 'atmoai' \(training loop to use\); did you mean 'atomai'\?"),
        ("[recipe]\nempty = 2", r"recipe.empty: input should be .*, got 2 \(fraction of images without atoms"),
    ):
        file.write_text(text)
        with pytest.raises(BadInput, match=message):
            read_training(file)
    file.write_text("stepps = 10\n[[recipe.impurities]]\nspecie = 'Si'")
    with pytest.raises(BadInput) as refused:
        read_training(file)
    assert str(refused.value).startswith("t.toml: 3 mistakes: (1) ")
    assert all(f"did you mean '{name}'?" in str(refused.value) for name in ("steps", "species"))
    done = stem2sim("train", tmp_path / "none.toml")
    assert (done.returncode, done.stderr) == (2, f"error: no training config at {tmp_path / 'none.toml'}\n")


def test_paths_in_a_training_config_count_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("frame.npy", "atoms.csv", "sheet.cif"):
        (tmp_path / "a" / name).touch()
    file = tmp_path / "a" / "t.toml"
    file.write_text('[recipe]\nmaterial = "graphene"\n[[labelled]]\nimage = "frame.npy"\natoms = "atoms.csv"\n')
    (labelled,) = read_training(file).labelled
    assert labelled.image == tmp_path / "a" / "frame.npy"
    assert labelled.atoms == tmp_path / "a" / "atoms.csv"


def test_the_card_is_printed() -> None:
    card = json.loads(stem2sim("unet", "card", "--json").stdout)
    assert card["classes"] == ["C", "Si", "Cr", "background"]
    assert card["limits"]


def test_help_names_the_commands_of_plugins() -> None:
    assert "Plugin commands: train, unet" in stem2sim("--help").stdout
    assert "Train an ensemble" in stem2sim("train", "--help").stdout
