"""Laws of validation: what is wrong is named, what is right is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import find_mic
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import built, flake, stem2sim, table_of

from stem2sim.analysis.placement import check_within
from stem2sim.analysis.validation import CHECKS, CLASHING, LEAST_GAP, SHORT, validate
from stem2sim.geometry.affine import fit_affine
from stem2sim.geometry.bonds import apart
from stem2sim.segmentation import Segmentation
from stem2sim.structure import CLOSEST, Finding, Structure
from stem2sim_hterm.cell import Cell
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch
from stem2sim_hterm.periodic import Periodic

if TYPE_CHECKING:
    from pathlib import Path


def found(structure: Structure, check: str, severity: str = "") -> list[Finding]:
    return [f for f in validate(structure) if f.check == check and severity in ("", f.severity)]


@settings(max_examples=20)
@given(angle=st.floats(0, 60), size=st.integers(20, 60), noise=st.floats(0, 0.03), seed=st.integers(0, 99))
def test_a_closed_flake_has_nothing_wrong_with_it(angle: float, size: int, noise: float, seed: int) -> None:
    """Whatever its angle, size and noise: notes at most, and that its electrons may be odd."""
    sheet = flake(18, angle)
    sheet.atoms.positions[:, :2] += np.random.default_rng(seed).uniform(-noise, noise, (len(sheet.atoms), 2))
    made = built(sheet, Patch(size=size, center=(9, 9)), Hterm()).in_a_cell()
    assert {f.check for f in validate(made) if f.severity != "note"} <= {"electrons"}
    (note,) = found(made, "coordination")
    assert (
        note.text
        == f"{(made.atoms.numbers == 6).sum()} C with 3 neighbours, {(made.atoms.numbers == 1).sum()} H with 1"
    )
    periodic = built(flake(60, angle), Periodic(repeats=(5, 5), center=(30, 30)))
    assert {f.severity for f in validate(periodic)} == {"note"}
    for k in (0, seed % 50):  # at the border too
        vacant, doubled = periodic.atoms.copy(), periodic.atoms.copy()
        doubled.append(doubled[k])
        doubled.positions[-1] += [0.3, 0, 0]
        (twice,) = found(Structure(atoms=doubled), "lattice")
        assert twice.atoms == (k, 50)
        there = vacant.positions[k, :2]
        del vacant[k]
        (empty,) = found(Structure(atoms=vacant), "lattice")
        assert empty.text.count("Å") == 1
        told = np.array([float(part) for part in empty.text.split(": x ")[1].removesuffix(" Å").split(" y ")])
        across = np.append(told - there, 0)
        assert np.linalg.norm(find_mic(across, vacant.cell, True)[0]) < 0.2


@given(distance=st.floats(0.3, 2.5), across=st.booleans())
def test_two_atoms_too_close_are_an_error_across_borders_too(distance: float, across: bool) -> None:
    """Under 0.6 of the covalent sum (C-C 0.91 Å) an error, to 0.85 (1.29 Å) a warning, both with the atoms' numbers."""
    pair = Atoms("C2", positions=[[5, 5, 5], [5 + distance, 5, 5]], cell=[20, 20, 20], pbc=across)
    if across:
        pair.positions[0, 0], pair.positions[1, 0] = 0.1, 20.1 - distance
    close, short = found(Structure(atoms=pair), "close"), found(Structure(atoms=pair), "short")
    if abs(distance - 0.912) > 1e-3 and abs(distance - 1.292) > 1e-3:
        assert bool(close) == (distance < 0.912)
        assert bool(short) == (0.912 < distance < 1.292)
    for one in close + short:
        assert one.atoms == (0, 1)
        assert "C 0–C 1 " in one.text
        assert one.severity == ("error" if one in close else "warning")


@given(seed=st.integers(0, 10**6))
def test_a_distance_at_its_limit_is_not_an_error(seed: int) -> None:
    """Whichever way the pair is turned, and whatever the processor makes of the last bit."""
    rng = np.random.default_rng(seed)
    way = rng.normal(size=3)
    way /= np.linalg.norm(way)
    place = rng.uniform(-50, 50, 3)
    sums = 2 * covalent_radii[6]
    for limit, check in ((CLASHING * sums, "close"), (SHORT * sums, "short")):
        assert not found(Structure(atoms=Atoms("C2", [place, place + limit * way])), check)
        assert found(Structure(atoms=Atoms("C2", [place, place + (limit - 1e-5) * way])), check)
    closest = Structure(atoms=Atoms("C2", [place, place + CLOSEST * way]))
    closest.check_distances()
    assert len(apart(closest.atoms.positions, np.ones(2), CLOSEST)) == 2
    sheet = flake(14, float(rng.uniform(0, 60)))
    tight = built(sheet, Cell(vacuum=(10, 10, LEAST_GAP / 2)))
    tight.atoms.rotate(float(rng.uniform(0, 360)), "z", rotate_cell=True)
    assert not found(tight, "vacuum")
    corner = sheet.atoms.positions[:, :2].min(axis=0)
    turned = fit_affine(rng.uniform(0, 9, (9, 2)), rng.uniform(0, 9, (9, 2)))
    check_within(turned.undo(turned.apply(corner[None]))[0], sheet.atoms.positions[:, :2])


def test_every_kind_of_fault_is_named() -> None:
    """Lone atoms, too few and too many neighbours, little vacuum, odd electrons, doubled and empty sites."""
    whole = built(flake(24, 5), Patch(size=80, center=(12, 12)), Hterm())
    assert not found(whole.in_a_cell(), "lattice")
    xy = whole.atoms.positions[:, :2]
    middle = int(np.argmin(np.hypot(*(xy - 12).T)))
    holed = whole.atoms.copy()
    del holed[middle]
    missing = Structure(atoms=holed).in_a_cell()
    (empty,) = found(missing, "lattice")
    assert "single lattice sites without an atom" in empty.text
    (few,) = found(missing, "coordination", "warning")
    assert len(few.atoms) == 3
    doubled = whole.atoms.copy()
    doubled.extend(Atoms("C", positions=[whole.atoms.positions[middle] + [0.3, 0, 0]]))
    texts = [f.text for f in found(Structure(atoms=doubled).in_a_cell(), "lattice")]
    assert texts == [f"two atoms on one lattice site: C {middle}, C {len(doubled) - 1}"]
    lone = whole.atoms.copy()
    lone.extend(Atoms("C", positions=[[60.0, 60.0, 0]]))
    (alone,) = found(Structure(atoms=lone).in_a_cell(), "isolated")
    assert alone.atoms == (len(lone) - 1,)
    assert not found(Structure(atoms=Atoms("Cr", cell=[20, 20, 20], positions=[[1, 1, 1]])), "isolated")
    tight = built(whole, Cell(vacuum=(10, 3, 10)))
    assert [f.text for f in found(tight, "vacuum")] == [
        "6.0 Å of vacuum along b, less than 8 Å: periodic images interact"
    ]
    torn = whole.atoms.copy()
    right = torn.positions[:, 0] > xy[:, 0].mean()
    torn.positions[right, 0] += 0.62
    (long,) = found(Structure(atoms=torn).in_a_cell(), "long")
    assert long.text.startswith(
        "both lack a neighbour, but are more than 1.25 times the sum of the covalent radii apart: C "
    )
    assert {bool(right[k]) for k in long.atoms} == {True, False}
    charged = whole.in_a_cell().model_copy(update={"charge": 1})
    assert found(charged, "electrons")[0].text.endswith("(charge 1), an odd number: at least a doublet")


def test_a_species_in_doubt_is_named() -> None:
    """By what the segmenter thought of it; added atoms are not in doubt."""
    whole = built(flake(16), Patch(size=30), Hterm()).in_a_cell()
    count = int(whole.atoms.arrays["source"].max()) + 1
    share = np.full(count, 0.99)
    doubtful = int(whole.atoms.arrays["source"][4])
    share[doubtful] = 0.6
    table = table_of(np.zeros((count, 2))).model_copy(update={"shares": {"C": share, "Si": 1 - share}})
    (one,) = [f for f in validate(whole, Segmentation(atoms=table)) if f.check == "species"]
    assert one.atoms == (4,)


def test_checks_travel_with_the_structure(tmp_path: Path) -> None:
    whole = built(flake(16), Patch(size=30), Hterm()).in_a_cell()
    checked = whole.model_copy(update={"checks": validate(whole)})
    checked.write(tmp_path / "checked.extxyz")
    assert Structure.read(tmp_path / "checked.extxyz").checks == checked.checks
    assert {f.check for f in checked.checks} <= set(CHECKS)


def test_an_error_stops_the_run_and_allow_accepts_it(tmp_path: Path) -> None:
    """With the reason and the atoms' numbers, exit code 2, one line; what is allowed is still told, on the page too."""
    table = tmp_path / "atoms.csv"
    sheet = flake(10, 0).atoms.positions[:, :2]
    last = sheet[np.argmax(sheet[:, 0])]
    rows = [*(f"{x:.4f},{y:.4f},C" for x, y in sheet), f"{last[0] + 1.0:.4f},{last[1]:.4f},Si"]
    table.write_text("\n".join(["x,y,species", *rows]) + "\n")
    command = ["build", str(table), "--builder", "place", "--out", str(tmp_path / "run")]
    refused = stem2sim(*command)
    assert refused.returncode == 2
    assert "–Si " in refused.stderr
    assert "--allow close accepts it" in refused.stderr
    accepted = stem2sim(*command, "--allow", "close")
    assert accepted.returncode == 0, accepted.stderr
    structure = Structure.read(next((tmp_path / "run").glob("structure*.extxyz")))
    assert structure.checks[0].severity == "error"
    unknown = stem2sim(*command, "--allow", "clsoe")
    assert unknown.returncode == 2
    assert "no check named 'clsoe'" in unknown.stderr
    assert json.loads(stem2sim("schema").stdout)["properties"]["allow"]["items"]["enum"] == CHECKS


@pytest.mark.parametrize("text", ["allow = 3", "allow = [1]"])
def test_a_bad_list_of_what_to_allow_is_one_line(text: str, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(f'{text}\n[segment]\nuse = "atoms-table"\npath = "atoms.csv"\n')
    told = stem2sim("build", config)
    assert told.returncode == 2
    assert "allow is a list of checks" in told.stderr
