"""Commands that this plugin adds: `stem2sim train` and `stem2sim unet ...`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from stem2sim_unet import SHIPPED
from stem2sim_unet.runtimes import require

if TYPE_CHECKING:
    from pydantic import BaseModel

    from stem2sim_unet.model_card import ModelCard
    from stem2sim_unet.training import Training

Options = TypeVar("Options", bound="BaseModel")

Folder = Annotated[Path, typer.Argument(help="Folder of an ensemble.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write the ensemble to.")]
Json = Annotated[bool, typer.Option("--json", help="Print the model card as JSON to standard output.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the log.")]

unet = typer.Typer(help="Import, export, adapt and describe ensembles of U-Nets.", no_args_is_help=True)


def train(
    config: Annotated[
        Path | None, typer.Argument(help="Training config (.toml); default: the config of the bundled ensemble.")
    ] = None,
    out: Out = Path("ensemble"),
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train an ensemble on synthetic images, on your own labelled images, or on both. Resumes if interrupted.

    Example: stem2sim train recipe.toml --out ensemble
    """
    from stem2sim.cli.console import console

    with console(verbose):
        training = read_training(config)
        require("training", "torch", "atomai")
        from stem2sim_unet.train import train as train_ensemble

        card = train_ensemble(training, out)
    _print_new(card, out, json)


@unet.command("import")
def import_(
    model: Annotated[Path, typer.Argument(help="AtomAI file of a model or an ensemble (.tar).")],
    out: Out,
    classes: Annotated[str, typer.Option(help="Species of its classes in order, excluding the background, e.g. C,Si.")],
    recipe: Annotated[Path | None, typer.Option(help="Training config whose recipe is used for calibration.")] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Convert an AtomAI model file to safetensors without executing code from the file.

    Example: stem2sim unet import model.tar --classes C,Si --recipe recipe.toml --out ensemble
    """
    from stem2sim.cli.console import console

    with console(verbose):
        training = read_training(recipe) if recipe else None
        require("reading AtomAI's model files", "torch")
        from stem2sim_unet.atomai_conversion import from_atomai

        card = from_atomai(model, tuple(classes.split(",")), training, out)
    _print_new(card, out, json)


@unet.command("export")
def export(folder: Folder, model: Annotated[Path, typer.Argument(help="File to write, e.g. model.tar.")]) -> None:
    """Write an ensemble to a file readable by AtomAI's load_model or load_ensemble.

    Example: stem2sim unet export ensemble model.tar
    """
    require("writing AtomAI's model files", "torch")
    from stem2sim_unet.atomai_conversion import to_atomai

    species = to_atomai(folder, model).species
    _announce("segment.compat=atomai", f"segment.weights={model}", f"segment.classes={list(species)}")
    typer.echo(model)


@unet.command("adapt")
def adapt(
    images: Annotated[list[Path], typer.Argument(help="Images to adapt to.")],
    out: Out,
    weights: Annotated[Path | None, typer.Option(help="Ensemble to adapt; default: the bundled one.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Training config of that ensemble.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size (in Å), for files that do not state it.")] = None,
    rounds: Annotated[int, typer.Option(help="Number of rounds of selection and fine-tuning.")] = 1,
    steps: Annotated[int, typer.Option(help="Fine-tuning steps per member; 0: selection only.")] = 150,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Adapt an ensemble to new images.

    Select the best-performing members and fine-tune them on their consensus labels.

    Example: stem2sim unet adapt frame1.tif frame2.tif --pixel-size 0.08 --out adapted
    """
    from stem2sim.cli.console import console
    from stem2sim.imaging.readers import read_image

    with console(verbose):
        require("adapting an ensemble", "torch")
        from stem2sim_unet.adapt import Adaptation

        adaptation = _validated(Adaptation, {"rounds": rounds, "steps": steps})
        frames = [read_image(path, pixel_size) for path in images]
        card = adaptation.adapt(weights or SHIPPED, frames, read_training(recipe).recipe, out)
    _print_new(card, out, json)


@unet.command("card")
def card(
    folder: Annotated[Path | None, typer.Argument(help="Folder of an ensemble; default: the bundled one.")] = None,
    json: Json = False,
) -> None:
    """Print the model card of an ensemble: training, accuracy and limits.

    Example: stem2sim unet card ensemble
    """
    from stem2sim_unet.model_card import ModelCard

    _print(ModelCard.read(folder or SHIPPED), folder or SHIPPED, json)


def read_training(path: Path | None) -> Training:
    """Return the training of a TOML file; the bundled ensemble's where there is none.

    Raises:
        BadInput: a file that cannot be read, an unknown option, or a value that an option does not accept.
    """
    from stem2sim.config.tree import read_toml
    from stem2sim.errors import BadInput
    from stem2sim_unet.training import Training

    if path is None:
        return Training()
    if not path.is_file():
        raise BadInput(f"no training config at {path}")
    tree = read_toml(path)
    _resolve_paths(tree, path.parent)
    return _validated(Training, tree, f"{path.name}: ")


def _validated(model: type[Options], values: dict[str, Any], source: str = "") -> Options:
    """Return the options; BadInput in one line where they are wrong."""
    from pydantic import ValidationError

    from stem2sim.errors import BadInput
    from stem2sim.mistakes import explained

    try:
        return model.model_validate(values)
    except ValidationError as problem:
        raise BadInput(f"{source}{explained(problem, '', model)}") from None


def _resolve_paths(tree: dict[str, Any], folder: Path) -> None:
    """Resolve relative paths in a config against its own folder."""
    places = [(tree, "baseline"), (tree.get("recipe"), "material")]
    places += [(frame, key) for frame in tree.get("labelled", []) for key in ("image", "atoms", "mask")]
    for table, key in places:
        if isinstance(table, dict) and isinstance(table.get(key), str) and (folder / table[key]).exists():
            table[key] = str((folder / table[key]).resolve())


def _print_new(card: ModelCard, folder: Path, json: bool) -> None:
    """Print the card of an ensemble that was made, and its folder."""
    _print(card, folder, json)
    if not json:
        typer.echo(folder)


def _print(card: ModelCard, folder: Path, json: bool) -> None:
    """Print a card; the command that uses its ensemble goes to standard error."""
    from stem2sim_unet.card_text import card_text

    if json:
        typer.echo(card.model_dump_json(indent=1))
        return
    typer.echo(card_text(card, folder))
    options = [] if folder == SHIPPED else [f"segment.weights={folder}"]
    options += [] if card.confidence else ["segment.compat=atomai"]
    _announce(*options)


def _announce(*options: str) -> None:
    """Print the command that segments an image with these options."""
    typer.echo(shlex.join(["next:", "stem2sim", "segment", "IMAGE", *(f"--set={one}" for one in options)]), err=True)
