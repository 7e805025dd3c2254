"""Commands that this plugin adds: `stem2sim train` and `stem2sim unet ...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stem2sim_unet.card import Card
    from stem2sim_unet.training import Training

Folder = Annotated[Path, typer.Argument(help="Folder of an ensemble.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write the ensemble to.")]
Json = Annotated[bool, typer.Option("--json", help="Print the card as JSON on standard output.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the log.")]

unet = typer.Typer(help="Exchange, adapt and describe ensembles of U-Nets.", no_args_is_help=True)


def train(
    config: Annotated[Path | None, typer.Argument(help="Training config (.toml); left out, as the shipped.")] = None,
    out: Out = Path("ensemble"),
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train an ensemble on generated frames, labelled frames of your own, or both. Goes on where it was cut off."""
    from stem2sim.cli.console import console
    from stem2sim_unet.train import train as train_ensemble

    with console(verbose):
        card = train_ensemble(read_training(config), out)
    _print(card, out, json)


@unet.command("import")
def import_(
    model: Annotated[Path, typer.Argument(help="AtomAI's file of one model or an ensemble (.tar).")],
    out: Out,
    classes: Annotated[str, typer.Option(help="Species of its classes in order, without background: C,Si")],
    recipe: Annotated[Path | None, typer.Option(help="Training config whose recipe to calibrate on.")] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Read AtomAI's model file, without running anything in it, into a folder of safetensors."""
    from stem2sim.cli.console import console
    from stem2sim_unet.exchange import from_atomai

    with console(verbose):
        card = from_atomai(model, tuple(classes.split(",")), read_training(recipe) if recipe else None, out)
    _print(card, out, json)


@unet.command("export")
def export(folder: Folder, model: Annotated[Path, typer.Argument(help="File to write, such as model.tar.")]) -> None:
    """Write an ensemble as a file that AtomAI's load_model or load_ensemble reads."""
    from stem2sim_unet.exchange import to_atomai

    to_atomai(folder, model)
    typer.echo(model)


@unet.command("adapt")
def adapt(
    images: Annotated[list[Path], typer.Argument(help="Frames of the new kind.")],
    out: Out,
    weights: Annotated[Path | None, typer.Option(help="Ensemble to adapt; left out, the shipped one.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Training config of that ensemble.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Where the files do not say [Å].")] = None,
    rounds: Annotated[int, typer.Option(help="Times to select and fine-tune.")] = 1,
    steps: Annotated[int, typer.Option(help="Fine-tuning steps per member; 0 selects only.")] = 150,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Fit an ensemble to new frames: members that fit them are kept and fine-tuned on what they agree about."""
    from stem2sim.cli.console import console
    from stem2sim.imaging.readers import read_image
    from stem2sim_unet import SHIPPED
    from stem2sim_unet.adapt import adapt as adapt_ensemble

    with console(verbose):
        frames = [read_image(path, pixel_size) for path in images]
        plan = read_training(recipe)
        card = adapt_ensemble(weights or SHIPPED, frames, plan.recipe, out, rounds=rounds, steps=steps)
    _print(card, out, json)


@unet.command("card")
def card(folder: Annotated[Path | None, typer.Argument(help="Folder of an ensemble; the shipped one.")] = None) -> None:
    """Print the card of an ensemble: how it was trained, how good it is, what it is not for."""
    from stem2sim_unet import SHIPPED
    from stem2sim_unet.card import Card

    typer.echo(Card.read(folder or SHIPPED).model_dump_json(indent=1))


def read_training(path: Path | None) -> Training:
    """Return the training of a TOML file; the shipped ensemble's where there is none.

    Raises:
        BadInput: a file that does not read, or an option that does not exist or fit.
    """
    from pydantic import ValidationError

    from stem2sim.config.tree import read_toml
    from stem2sim.errors import BadInput
    from stem2sim_unet.training import Training

    if path is None:
        return Training()
    if not path.is_file():
        raise BadInput(f"no training config at {path}")
    tree = read_toml(path)
    _resolve(tree, path.parent)
    try:
        return Training.model_validate(tree)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{path.name}: {where}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _resolve(tree: dict[str, Any], folder: Path) -> None:
    """Let paths in a config count from the config's own folder."""
    places = [(tree, "baseline"), (tree.get("recipe"), "material")]
    places += [(one, key) for one in tree.get("labelled", []) for key in ("image", "atoms", "mask")]
    for table, key in places:
        if isinstance(table, dict) and isinstance(table.get(key), str) and (folder / table[key]).exists():
            table[key] = str((folder / table[key]).resolve())


def _print(card: Card, folder: Path, json: bool) -> None:
    if json:
        typer.echo(card.model_dump_json(indent=1))
        return
    for name, value in card.scores.items():
        typer.echo(f"{name}: {value:g}")
    typer.echo(folder)
