"""The command that this plugin adds: `stem2sim multislice`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import ValidationError


Run = Annotated[Path, typer.Argument(help="A run folder.")]
Result = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Result in it, such as 02-aimd/result.json; left out, the last in motion."),
]
Energy = Annotated[float, typer.Option(help="Of the electrons [keV].")]
Convergence = Annotated[float, typer.Option(help="Semi-angle of the probe [mrad].")]
Detector = Annotated[tuple[float, float], typer.Option(metavar="FROM TO", help="Angles that it covers [mrad].")]
SourceSize = Annotated[float, typer.Option(help="Full width at half maximum of the source's image [Å].")]
PixelSize = Annotated[float | None, typer.Option(help="[Å]; left out, that of the run's frame, else 0.1.")]
Phonons = Annotated[int, typer.Option(help="Frozen phonons: frames of the trajectory, or displaced at random.")]
Thermal = Annotated[float, typer.Option(help="Random displacements along each axis, without a trajectory [Å].")]
Dose = Annotated[float | None, typer.Option(help="Electrons per Å², for counting noise; left out, none.")]
Seed = Annotated[int, typer.Option(help="Of displacements and noise.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="File to write (.npz); left out, multislice.npz beside the result.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON on standard output.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the log.")]


def multislice(
    run: Run,
    result: Result = None,
    energy: Energy = 60.0,
    convergence: Convergence = 31.0,
    detector: Detector = (86.0, 200.0),
    source_size: SourceSize = 0.7,
    pixel_size: PixelSize = None,
    phonons: Phonons = 8,
    thermal: Thermal = 0.08,
    dose: Dose = None,
    seed: Seed = 0,
    out: Out = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Simulate the dark field image of a result by multislice, frozen phonons from its trajectory (abTEM)."""
    from pydantic import ValidationError

    from stem2sim.cli.console import console, print_json
    from stem2sim.errors import BadInput
    from stem2sim_abtem.multislice import Multislice
    from stem2sim_abtem.phonons import configurations, moving
    from stem2sim_abtem.runs import chosen, pixel_size_of

    try:
        microscope = Multislice(
            energy=energy, convergence=convergence, detector=detector, source_size=source_size, dose=dose, seed=seed
        )
    except ValidationError as problem:
        raise BadInput(_describe(problem)) from None
    if pixel_size is not None and not 0.01 <= pixel_size <= 5:
        raise BadInput(f"the pixel size must be from 0.01 to 5 Å, got {pixel_size:g} Å")
    if out is not None and out.suffix != ".npz":
        raise BadInput(f"--out is the name of an .npz file, got {out}")
    file, found = chosen(run, result)
    with console(verbose):
        frames = configurations(found, file.parent, phonons, thermal, seed)
        micrograph = microscope.image(frames, pixel_size or pixel_size_of(run) or 0.1)
    origin = "frames of the trajectory" if moving(found) else f"displaced by {thermal:g} Å"
    stem = file.stem.replace("result", "multislice", 1)
    target = out or file.with_name(f"{stem}.npz")
    micrograph.metadata.update(result=str(file.relative_to(run)), phonons=origin)
    micrograph.write(target)
    if not json:
        typer.echo(target)
        return
    rows, columns = micrograph.image.shape
    outcome = {
        "image": str(target),
        "picture": str(target.with_suffix(".png")),
        "rows": rows,
        "columns": columns,
        "pixel_size_A": micrograph.pixel_size,
        "origin_A": micrograph.origin,
        "brightest": float(micrograph.image.max()),
        **micrograph.metadata,
    }
    print_json(outcome)


def _describe(problem: ValidationError) -> str:
    """One line about an option that does not fit."""
    first = problem.errors()[0]
    cause = first.get("ctx", {}).get("error")
    if cause is not None:
        return str(cause)
    return (
        f"{str(first['loc'][0]).replace('_', ' ')}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']}"
    )
