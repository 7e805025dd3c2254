"""The command that this plugin adds: `stem2sim multislice`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stem2sim_abtem.multislice import Micrograph, Multislice

Folder = Annotated[Path, typer.Argument(help="A run folder.")]
Result = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Result to image, e.g. 02-aimd/result.json; default: the last with thermal motion."
    ),
]
Energy = Annotated[float, typer.Option(help="Beam energy (in keV).")]
Convergence = Annotated[float, typer.Option(help="Convergence semi-angle of the probe (in mrad).")]
Detector = Annotated[
    tuple[float, float], typer.Option(metavar="FROM TO", help="Inner and outer collection angle (in mrad).")
]
SourceSize = Annotated[float, typer.Option(help="Full width at half maximum of the source image (in Å).")]
PixelSize = Annotated[float | None, typer.Option(help="Pixel size (in Å); default: that of the image, else 0.1.")]
Phonons = Annotated[int, typer.Option(help="Frozen-phonon configurations: trajectory frames or random displacements.")]
Thermal = Annotated[float, typer.Option(help="Random displacements along each axis (in Å), used without a trajectory.")]
Dose = Annotated[float | None, typer.Option(help="Electrons per Å², for shot noise; default: no noise.")]
Seed = Annotated[int, typer.Option(help="Random seed of displacements and noise.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="File to write (.npz); default: multislice.npz next to the result.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON to standard output.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the log.")]


def multislice(
    run: Folder,
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
    """Simulate the dark-field image of a result by multislice, with frozen phonons from its trajectory (abTEM).

    Example: stem2sim multislice runs/graphene --result 02-aimd/result.json
    """
    from stem2sim.cli.console import console, print_json
    from stem2sim.errors import BadInput
    from stem2sim.runs.names import multislice_of
    from stem2sim.runs.run import Run
    from stem2sim_abtem.phonons import configurations, moving
    from stem2sim_abtem.runs import chosen

    microscope = _microscope(
        energy=energy, convergence=convergence, detector=detector, source_size=source_size, dose=dose, seed=seed
    )
    if pixel_size is not None and not 0.01 <= pixel_size <= 5:
        raise BadInput(f"the pixel size must be from 0.01 to 5 Å, got {pixel_size:g} Å")
    if out is not None and out.suffix != ".npz":
        raise BadInput(f"--out is the name of an .npz file, got {out}")
    of = Run(run)
    name = chosen(of, result)
    simulated, file = of.results[name], of.places[name].file
    stated = of.segmentation.pixel_size if of.segmentation else None
    with console(verbose):
        frames = configurations(simulated, of.trajectory(name), phonons, thermal, seed)
        micrograph = microscope.image(frames, pixel_size or stated or 0.1)
    origin = "frames of the trajectory" if moving(simulated) else f"displaced by {thermal:g} Å"
    target = out or multislice_of(file)
    micrograph.metadata.update(result=str(file.relative_to(run)), phonons=origin)
    micrograph.write(target)
    print_json(_outcome(target, micrograph)) if json else typer.echo(target)


def _microscope(**options: Any) -> Multislice:
    from pydantic import ValidationError

    from stem2sim.errors import BadInput
    from stem2sim.mistakes import explained
    from stem2sim_abtem.multislice import Multislice

    try:
        return Multislice(**options)
    except ValidationError as problem:
        raise BadInput(explained(problem, "", Multislice)) from None


def _outcome(target: Path, micrograph: Micrograph) -> dict[str, Any]:
    rows, columns = micrograph.image.shape
    return {
        "image": str(target),
        "picture": str(target.with_suffix(".png")),
        "rows": rows,
        "columns": columns,
        "pixel_size_A": micrograph.pixel_size,
        "origin_A": micrograph.origin,
        "brightest": float(micrograph.image.max()),
        **micrograph.metadata,
    }
