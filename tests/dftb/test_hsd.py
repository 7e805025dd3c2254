"""Input for DFTB+, and what can be checked of it without the binary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixedPlane

from stem2sim.errors import BadInput, StageFailed
from stem2sim_dftb import slater_koster
from stem2sim_dftb.binary import find
from stem2sim_dftb.failures import failure
from stem2sim_dftb.hsd import HsdBlock, Rows, Words, dumps
from stem2sim_dftb.input import geometry, movable_atoms
from stem2sim_dftb.results import energies_and_forces, frames, read_tag

if TYPE_CHECKING:
    from pathlib import Path


def test_a_tree_is_written_as_hsd() -> None:
    tree = {
        "Driver": HsdBlock("VelocityVerlet", {"TimeStep [fs]": 0.5, "MovedAtoms": [1, 2]}),
        "Options": {"WriteResultsTag": True, "Names": Words(["C", "H"])},
        "Mesh": HsdBlock("SupercellFolding", {"": Rows(np.eye(2))}),
    }
    assert dumps(tree) == (
        "Driver = VelocityVerlet {\n  TimeStep [fs] = 0.5\n  MovedAtoms = 1 2\n}\n"
        'Options {\n  WriteResultsTag = Yes\n  Names = "C" "H"\n}\n'
        "Mesh = SupercellFolding {\n    1.0 0.0\n    0.0 1.0\n}\n"
    )
    with pytest.raises(ValueError, match="HSD cannot hold"):
        dumps({"Prefix": 'a"b'})


def test_coordinates_keep_every_bit() -> None:
    positions = np.random.default_rng(0).normal(size=(5, 3)) * 20
    text = dumps(geometry(Atoms("C4H", positions=positions)))
    rows = [line.split() for line in text.splitlines() if re.match(r"\s+[12] ", line)]
    assert [row[0] for row in rows] == ["1", "1", "1", "1", "2"]
    assert np.array_equal(np.array([[float(v) for v in row[1:]] for row in rows]), positions)


def test_only_whole_atoms_can_be_fixed_by_its_own_drivers() -> None:
    atoms = Atoms("C4", positions=np.eye(4, 3))
    atoms.set_constraint([FixAtoms([1]), FixCartesian([2])])
    assert movable_atoms(atoms) == [1, 4]
    atoms.set_constraint(FixedPlane(0, [0, 0, 1]))
    with pytest.raises(BadInput, match="do not support the constraint FixedPlane"):
        movable_atoms(atoms)
    atoms.set_constraint(FixAtoms(range(4)))
    with pytest.raises(BadInput, match="all 4 atoms are fixed"):
        movable_atoms(atoms)


def test_results_are_read_or_their_absence_is_reported(tmp_path: Path) -> None:
    tag = tmp_path / "results.tag"
    tag.write_text(
        "mermin_energy       :real:0:\n -0.100000000000000E+001\n"
        "forces              :real:2:3,2\n 1.0 2.0 3.0\n 4.0 5.0 6.0\n"
        "scc_convergence     :logical:0:\n T\n"
    )
    results = energies_and_forces(tag)
    assert results["energy"] == pytest.approx(-27.2114, abs=1e-4)
    assert results["forces"] / 51.4221 == pytest.approx(np.array([[1, 2, 3], [4, 5, 6]]), rel=1e-5)
    assert read_tag(tag)["scc_convergence"] is True
    tag.write_text("")
    with pytest.raises(StageFailed, match="ended without a result"):
        energies_and_forces(tag)


def test_a_partial_last_frame_is_skipped(tmp_path: Path) -> None:
    text = "2\nGeometry Step: {}\nC 0.0 0.0 {}.0 4.0\nC 0.0 0.0 1.5 4.0\n"
    path = tmp_path / "geo_end.xyz"
    path.write_text(text.format(0, 0) + text.format(1, 1) + "2\nGeometry Step: 2\nC 0.0")
    atoms = Atoms("C2", positions=[[0, 0, 0], [0, 0, 1.5]])
    assert [(step, frame.positions[0, 2]) for step, frame in frames(path, atoms)] == [(0, 0.0), (1, 1.0)]


@pytest.mark.parametrize(
    ("log", "status", "reason"),
    [
        ("ERROR!\n-> SCC is NOT converged, maximal SCC iterations exceeded", 1, "did not converge"),
        ("ERROR!\n-> SK file with generated name '/set/C-Cr.skf' not found", 1, "missing (/set/C-Cr.skf)"),
        ("ERROR!\n-> Something new\nPath: a/b\nLine: 7-8", 1, "DFTB+: it reported: Something new Path: a/b Line: 7-8"),
        ("iSCC 1", -9, "killed by signal 9, often because memory ran out; stem2sim estimate shows"),
        ("", 127, "exit status 127: it printed nothing"),
    ],
)
def test_a_failure_is_one_line_with_its_log(log: str, status: int, reason: str, tmp_path: Path) -> None:
    (tmp_path / "dftb.out").write_text(log)
    message = failure(tmp_path / "dftb.out", status)
    assert reason in message
    assert message.endswith(f"; log: {tmp_path.name}/dftb.out")
    assert "\n" not in message


def test_a_set_is_checked_pair_by_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = "0.02 3\n0 0 0 0 0 0 0 0 0 0\n12.0 19*0.0\n20*1.0\n5*0.0 1.5 14*0.0\nSpline\n"
    for pair in ("C-C", "C-H", "H-C", "H-H"):
        (tmp_path / f"{pair}.skf").write_text(table)
    slater_koster.check(tmp_path, ["C", "H"])
    assert slater_koster.missing(tmp_path, ["C", "Si"]) == ["C-Si.skf", "Si-C.skf", "Si-Si.skf"]
    with pytest.raises(BadInput, match=r"lacks C-Si.skf, .*; pbc-0-3 covers C, Si"):
        slater_koster.check(tmp_path, ["C", "Si"])
    assert slater_koster.highest_shell(tmp_path, "C") == "p"
    monkeypatch.delenv(slater_koster.VARIABLE, raising=False)
    with pytest.raises(BadInput, match="or STEM2SIM_SLAKO to its folder"):
        slater_koster.folder_of(None)
    monkeypatch.setenv(slater_koster.VARIABLE, str(tmp_path))
    assert slater_koster.folder_of(None) == tmp_path


def test_a_missing_binary_is_reported() -> None:
    with pytest.raises(BadInput, match=r"no 'dftb-nowhere' on PATH: install DFTB\+ \(conda"):
        find("dftb-nowhere")
