"""Records that other tools read: the results as an ASE database, the folder as an RO-Crate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from stem2sim import __version__
from stem2sim.files import write_atomically, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stem2sim.simulation import SimulationResult

DATABASE, CRATE = "results.db", "ro-crate-metadata.json"


def write_database(folder: Path, results: Mapping[str, SimulationResult]) -> None:
    """Write one row per result to `results.db`: structure, energy, forces, and who made it."""
    with write_atomically(folder / DATABASE) as part:
        with connect(part, type="db", append=False) as database:
            for path, result in results.items():
                atoms = result.structure.atoms.copy()
                free = atoms.copy()
                atoms.set_constraint()
                atoms.calc = SinglePointCalculator(atoms, energy=result.energy, forces=result.forces)
                atoms.set_constraint(free.constraints)
                database.write(
                    atoms,
                    converged=result.converged,
                    simulator=str(result.made_by.get("use", "")),
                    step=str(Path(path).parent),
                    data={
                        "made_by": result.made_by,
                        "details": result.details,
                        "reason": result.reason,
                        "label": result.label,
                    },
                )
        if not results:
            part.touch()


def write_crate(folder: Path, title: str, made: str, files: Iterable[Path]) -> None:
    """Write `ro-crate-metadata.json` (RO-Crate 1.1): the files of the run, and the software that made them."""
    found = sorted(str(file.relative_to(folder)) for file in files)
    software = "#stem2sim"
    graph = [
        {
            "@id": CRATE,
            "@type": "CreativeWork",
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            "about": {"@id": "./"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"stem2sim run on {title}",
            "description": "Atoms found in a STEM frame, structures built from them, and simulations of these.",
            "datePublished": made[:10],
            "hasPart": [{"@id": name} for name in found],
        },
        {"@id": software, "@type": "SoftwareApplication", "name": "stem2sim", "version": __version__},
        {
            "@id": "#run",
            "@type": "CreateAction",
            "instrument": {"@id": software},
            "result": [{"@id": name} for name in found],
        },
        *({"@id": name, "@type": "File", "name": name} for name in found),
    ]
    crate = {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}
    write_text(folder / CRATE, json.dumps(crate, indent=1, ensure_ascii=False))
