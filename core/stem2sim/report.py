"""The report: one page, readable without a network, of what was found, built and simulated."""

from __future__ import annotations

import base64
import html
import json
from collections import Counter
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from stem2sim import __version__, figures, records
from stem2sim.adsorption import CONVENTION, adsorption_energies
from stem2sim.bonds import bond_lengths
from stem2sim.comparison import Row, compared, displacement, engine_of, row, table
from stem2sim.config import read_toml, without_none
from stem2sim.defects import defects
from stem2sim.errors import BadInput
from stem2sim.files import write_text
from stem2sim.image import Image
from stem2sim.readers import ImageSource
from stem2sim.runfolder import CONFIG, REPORT, SEGMENTATION, RunFolder
from stem2sim.segmentation import Segmentation
from stem2sim.simulation import SimulationResult, variants
from stem2sim.spread import spread
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms

MOST_DOUBTS = 8
"""Listed on the page; all of them are with the segmentation."""


class Report(BaseModel):
    """Everything in a run folder, read for the page."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    folder: Path
    title: str
    config: str
    image: Image | None = None
    image_missing: str = ""
    segmentation: Segmentation | None = None
    structures: dict[str, Structure]
    results: dict[str, SimulationResult]

    @classmethod
    def of(cls, path: Path, image: Image | None = None) -> Self:
        """Read a run folder; the image too, from where the config says, unless it is given.

        Raises:
            BadInput: a folder without structures or segmentation.
        """
        folder = RunFolder(path)
        tree = read_toml(path / CONFIG)
        missing = ""
        if image is None and "image" in tree:
            try:
                image = ImageSource.model_validate(tree["image"]).read()
            except (BadInput, ValidationError) as problem:
                missing = " ".join(str(problem).split())
        segmentation = path / SEGMENTATION
        structures = {file.name: Structure.read(file) for file in folder.structures()}
        if not segmentation.is_file() and not structures:
            raise BadInput(f"nothing to report in {path}: no segmentation and no structure yet")
        results = {str(f.relative_to(path)): SimulationResult.read(f) for f in folder.simulations()}
        start = tree.get("image", {}).get("path") or tree.get("segment", {}).get("path") or tree.get("structure", "run")
        return cls(
            folder=path,
            title=Path(start).name,
            config=(path / CONFIG).read_text(encoding="utf-8"),
            image=image,
            image_missing=missing,
            segmentation=Segmentation.load(segmentation) if "segment" in tree and segmentation.is_file() else None,
            structures=structures,
            results=results,
        )

    def write(self, folder: Path) -> Path:
        """Write `report.html`, `results.db` and `ro-crate-metadata.json`; return the path of the page."""
        page = Template(files("stem2sim").joinpath("report.html").read_text(encoding="utf-8"))
        sections = [self._summary(), *self._frame(), *self._structures(), *self._simulations()]
        sections += [*self._side_by_side(), *self._adsorption(), *self._spread(), self._provenance()]
        made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        text = page.substitute(title=_text(self.title), body="\n".join(sections), version=__version__, made=made)
        write_text(folder / REPORT, text)
        records.write_database(folder, self.results)
        records.write_crate(folder, self.title, made, RunFolder(folder).all_files())
        return folder / REPORT

    def _summary(self) -> str:
        said = []
        if self.segmentation:
            found = " and ".join(f"{n} {s}" for s, n in self.segmentation.atoms.counts().items())
            where = "in the atoms table"
            if self.image:
                width, height = self.image.field_of_view
                where = f"in a frame of {width:.1f} × {height:.1f} Å"
            said.append(f"{found} found {where}.")
        for name, structure in self.structures.items():
            said.append(f"{name}: {structure.atoms.get_chemical_formula('hill')}, {len(structure.atoms)} atoms.")
        for name, result in self.results.items():
            mark = "" if result.converged else " NOT CONVERGED:"
            said.append(f"{Path(name).parent}:{mark} {result.reason}.")
        warnings = [self.image_missing] if self.image_missing else []
        warnings += self.image.warnings if self.image else ()
        warnings += self.segmentation.warnings if self.segmentation else ()
        warnings += [f"{n}: {r.reason}" for n, r in self.results.items() if not r.converged]
        warnings += [f"{n}: {warning}" for n, r in self.results.items() for warning in r.warnings]
        listed = "".join(f"<li>{_text(w)}</li>" for w in warnings)
        box = f'<ul class="warnings">{listed}</ul>' if listed else ""
        return _section("In short", "".join(f"<p>{_text(s)}</p>" for s in said) + box)

    def _frame(self) -> list[str]:
        found = self.segmentation
        if found is None:
            return []
        parts = []
        if self.image:
            png, panels = figures.frame(self.image, found.atoms)
            parts.append(_picture(png, "The frame, and the atoms found in it.", panels))
        caption = "Probability of each atom" + (
            ", and where the networks disagree about atom or background." if found.spread is not None else "."
        )
        unsure = _picture(figures.uncertainty(self.image, found), caption)
        std = found.atoms.position_std[np.isfinite(found.atoms.position_std)]
        rows = {
            "atoms": ", ".join(f"{n} {s}" for s, n in found.atoms.counts().items()),
            "less probable than 0.5": str(int((found.atoms.probability < 0.5).sum())),
            "position uncertainty per axis, median": f"{np.median(std):.3f} Å" if len(std) else "not known",
        }
        if found.out_of_distribution is not None:
            rows["how foreign the frame is (over 1 it would be refused)"] = f"{found.out_of_distribution:.2f}"
        if self.image:
            rows["pixel size used"] = f"{self.image.pixel_size:.4f} Å (from the {self.image.pixel_size_source})"
        if found.lattice and found.pixel_size:
            lattice = found.lattice
            rows["pixel size that the lattice calls for"] = (
                f"{lattice.pixel_size:.4f} Å ({100 * (lattice.ratio(found.pixel_size) - 1):+.1f} %), from a = "
                f"{lattice.lattice_constant} Å"
            )
            rows["stretch between directions"] = f"{100 * (lattice.anisotropy - 1):.1f} %"
        flags = Counter(flag for flags in found.atoms.flags for flag in flags.split(";") if flag)
        if flags:
            rows["flags"] = ", ".join(f"{count} {flag}" for flag, count in flags.most_common())
        if found.doubts:
            unsure += "<p>Places that could be read in two ways, the most doubtful first:</p>" + _table(
                {
                    f"x {one.x:.2f} Å, y {one.y:.2f} Å": " or ".join(f"{name} ({p:.2f})" for name, p in one.readings)
                    for one in found.doubts[:MOST_DOUBTS]
                }
            )
        return [
            _section("What was found", "".join(parts) + _table(rows)),
            _section("How sure", unsure),
        ]

    def _structures(self) -> list[str]:
        out = []
        for name, structure in self.structures.items():
            parts = []
            if self.image and self.segmentation and structure.atoms.has("source"):
                source = structure.atoms.arrays["source"]
                png, panels = figures.patch(self.image, self.segmentation.atoms, source)
                parts.append(_picture(png, "Where it lies.", panels))
            listed = "".join(f"<li>{_text(f)}</li>" for f in structure.findings)
            listed += "".join(f"<li><b>{c.severity}</b> ({c.check}): {_text(c.text)}</li>" for c in structure.checks)
            out.append(_section(f"Structure to simulate ({_text(name)})", "".join(parts) + f"<ul>{listed}</ul>"))
        return out

    def _simulations(self) -> list[str]:
        out = []
        for name, result in self.results.items():
            folder = Path(name).parent
            start = self._start(result)
            named = [("before", start.atoms)] if start else []
            named.append(("after", result.structure.atoms))
            lengths = [(title, bond_lengths(atoms)) for title, atoms in named]
            rows = {
                "engine": engine_of(result),
                "energy": f"{result.energy:.4f} eV",
                "largest force": f"{result.largest_force:.4f} eV/Å",
                "outcome": ("" if result.converged else "not converged: ") + result.reason,
            }
            rows["defects"] = "; ".join(f"{title}: {_defects(atoms)}" for title, atoms in named)
            for kind in sorted(lengths[-1][1]):
                rows[f"{kind} bonds"] = "; ".join(
                    f"{title} {d[kind].mean():.3f} ± {d[kind].std():.3f} Å ({len(d[kind])})"
                    for title, d in lengths
                    if kind in d
                )
            if start and len(start.atoms) == len(result.structure.atoms):
                moved = displacement(start.atoms, result.structure.atoms)
                rows["displacement, root mean square"] = f"{moved:.3f} Å (rigid motion removed)"
            parts = [
                _table(rows),
                _picture(figures.structures(named), "Before and after, along the beam and from the side."),
            ]
            if any(lengths[-1][1]):
                parts.append(_picture(figures.bond_histogram(lengths), "Bond lengths before and after."))
            if result.observables and len(next(iter(result.observables.values()))) > 1:
                parts.append(_picture(figures.series(result.observables), "Over the run."))
            title = f"Simulation {folder}" + (f", {result.label}" if result.label else "")
            out.append(_section(_text(title), "".join(parts)))
        return out

    def rows(self) -> list[tuple[Row, SimulationResult]]:
        """Return the numbers of each result, and the result."""
        found = []
        for name, result in self.results.items():
            folder = Path(name).parent
            found.append((row(folder.name, result, self._start(result), self.folder / folder), result))
        return found

    def _side_by_side(self) -> list[str]:
        if len(self.results) < 2:
            return []
        columns, cells = table(compared(self.rows()))
        head = "".join(f"<th>{_text(name)}</th>" for name in columns)
        body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in line) + "</tr>" for line in cells)
        note = (
            "<p>Bond lengths are means, over the second half of a trajectory at a temperature. Bonds and displacements "
            "are counted from where each simulation started; energies of different engines do not compare.</p>"
        )
        return [_section("Side by side", f'{note}<table class="wide"><tr>{head}</tr>{body}</table>')]

    def _adsorption(self) -> list[str]:
        """Energies at each site, for every simulation that has both references beside them."""
        out = []
        for use, named in self._alike():
            energies = adsorption_energies(named)
            if energies:
                rows = {site: str(energy) for site, energy in energies.items()}
                out.append(_section(f"Adsorption energies ({use})", f"<p>{_text(CONVENTION)}.</p>{_table(rows)}"))
        return out

    def _spread(self) -> list[str]:
        """What samples of one structure say together."""
        caption = "<p>Mean and standard deviation over structures drawn from what the frame leaves open.</p>"
        return [
            _section(f"{_text(name)}, taken together ({use})".capitalize(), caption + _table(rows))
            for use, named in self._alike()
            for name, rows in spread(named).items()
        ]

    def _alike(self) -> Iterator[tuple[str, list[tuple[str, SimulationResult]]]]:
        """Results that one simulation made of different structures, each with the name of its variant."""
        alike: dict[str, list[tuple[str, SimulationResult]]] = {}
        for name, result in self.results.items():
            made_by = json.dumps([Path(name).parent.name[:2], result.made_by], sort_keys=True, default=str)
            alike.setdefault(made_by, []).append((Path(name).parent.name, result))
        for named in alike.values():
            yield _text(named[0][1].made_by.get("use", "")), variants(named)

    def _start(self, result: SimulationResult) -> Structure | None:
        if result.started_from in self.structures:
            return self.structures[result.started_from]
        for name, other in self.results.items():
            if str(Path(name).with_suffix(".extxyz")) == result.started_from:
                return other.structure
        return None

    def _provenance(self) -> str:
        steps: list[tuple[str, dict[str, Any]]] = []
        if self.segmentation:
            steps.append(("segment", self.segmentation.made_by))
        for name, structure in self.structures.items():
            steps += [(f"build {name}", made) for made in structure.history]
        steps += [(f"simulate {Path(name).parent}", {**r.made_by, **r.details}) for name, r in self.results.items()]
        rows = "".join(
            f"<tr><td>{_text(where)}</td><td>{_text(made.get('use', ''))}</td><td>{_text(made.get('version', ''))}</td>"
            f"<td><code>{_text(_options(made))}</code></td></tr>"
            for where, made in steps
        )
        head = "<tr><th>step</th><th>stage</th><th>version</th><th>options</th></tr>"
        config = f"<details><summary>Config of this run</summary><pre>{_text(self.config)}</pre></details>"
        return _section("What ran", f'<table class="wide">{head}{rows}</table>{config}')


def _defects(atoms: Atoms) -> str:
    return ", ".join(one.told() for one in defects(atoms)) or "none with a name"


def _options(made: dict[str, Any]) -> str:
    kept = without_none({key: value for key, value in made.items() if key not in ("use", "version")})
    return ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in kept.items())


def _text(value: object) -> str:
    return html.escape(str(value))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _table(rows: dict[str, str]) -> str:
    return "<table>" + "".join(f"<tr><th>{_text(k)}</th><td>{_text(v)}</td></tr>" for k, v in rows.items()) + "</table>"


def _picture(png: bytes, caption: str, panels: Sequence[figures.Panel] = ()) -> str:
    """A figure; one with panels tells the place in the frame that is clicked on."""
    data = base64.b64encode(png).decode()
    width = int.from_bytes(png[16:20], "big") * 105 // figures.DOTS  # the PNG header: text of one size on every figure
    places = f' data-panels="{_text(json.dumps([[*one.box, *one.data] for one in panels]))}"' if panels else ""
    image = f'<img alt="{_text(caption)}" width="{width}"{places} src="data:image/png;base64,{data}">'
    more = " <output>Click on an atom for its place.</output>" if panels else ""
    return f"<figure>{image}<figcaption>{_text(caption)}{more}</figcaption></figure>"
