"""Real outputs of VASP 4.6 to 6.4 against numbers that were read off them by hand, with grep and eyes."""

from __future__ import annotations

import gzip
import shutil
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest
from ase.io import read as ase_read
from tests.conftest import SHARED
from tests.vasp.runs import benzene, move

from stem2sim_vasp import folder as contract
from stem2sim_vasp.failures import failure
from stem2sim_vasp.outputs import Part, read

if TYPE_CHECKING:
    from pathlib import Path

REAL = SHARED / "data" / "vasp"

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no real files of VASP's: ../shared/data/vasp is absent")


@dataclass(frozen=True)
class Expected:
    """What one file holds."""

    version: str
    species: dict[str, int]
    complete: int
    begun: int
    first: float | None = None
    """Free energy of the first complete step [eV]."""
    energies: tuple[float, float, float] | None = None
    """Free, without entropy, sigma -> 0, of the last [eV]."""
    force: tuple[float, float, float] | None = None
    """On the last atom in the last step [eV/Å]."""
    largest: float | None = None
    """[eV/Å] in the last step, over all components."""
    stress: tuple[float, float, float] | None = None
    """xx, yy, zz of the last [kB]."""
    cell: tuple[float, float, float] | None = None
    """First vector in the last step [Å]."""
    moving: tuple[float, float] | None = None
    """Kinetic energy and conserved quantity in the last step [eV]."""
    loops: tuple[int, ...] = ()
    """Electronic steps in each."""
    unconverged: tuple[int, ...] = ()
    closed: bool = True
    reached: bool = False
    missing: tuple[str, ...] = ()
    """Words that must be among those that say what is missing."""
    parameters: dict[str, float] = field(default_factory=dict)


FILES = {
    "relax_v642_OUTCAR.gz": Expected(
        "6.4.2", {"Si": 2}, 3, 3, -10.83820748, (-10.84147289, -10.84147204, -10.84147246), (0, 0, 0), 0.0,
        (-0.48135, -0.48135, -0.48135), (0, 2.734878460, 2.734878460), None, (11, 4, 4), reached=True,
        parameters={"NSW": 99, "IBRION": 2, "ISIF": 3, "NELM": 100, "EDIFF": 1e-4, "EDIFFG": 1e-3, "ENCUT": 520},
    ),
    "relax_v642_vasprun.xml.gz": Expected(
        "6.4.2", {"Si": 2}, 3, 3, -10.83820748, (-10.84147289, -10.84147204, -10.84147246), (0, 0, 0), 0.0,
        (-0.48135140, -0.48135140, -0.48135140), (0, 2.73487846, 2.73487846), None, (11, 4, 4),
        parameters={"NSW": 99, "IBRION": 2, "ISIF": 3, "NELM": 100, "EDIFF": 1e-4, "EDIFFG": 1e-3, "ENMAX": 520},
    ),
    "relax_selective_v4628_vasprun.xml": Expected(
        "4.6.28", {"Al": 16, "H": 4, "N": 20}, 4, 4, -119.68387327, (-179.58411663, -179.56924050, -179.58039760),
        (0.0, 0.00011866, 13.38807946), 16.31021818, (203.92605328, 203.35792826, 944.35266488), (5.543717, 0, 0), None,
        (31, 40, 40, 25), (2, 3), parameters={"NSW": 10, "IBRION": 1, "ISIF": 2, "NELM": 40, "EDIFF": 1e-5},
    ),
    "md_csvr_selective_v544_vasprun.xml": Expected(
        "5.4.4", {"Ge": 48, "H": 161, "Ne": 18, "O": 64}, 2, 2, -1834.23081944,
        (-1835.12118695, -1835.08725457, -1835.10422076), (-2.31444836, 8.15846153, 1.69506482), 12.42837664, None,
        (11.58368, 0, 0), (0.28205161, -1834.83913534), (26, 12),
        parameters={"NSW": 2, "IBRION": 0, "MDALGO": 5, "ISIF": 0, "NELM": 100, "POTIM": 0.5, "TEBEG": 400},
    ),
    "md_nose_v541_OUTCAR": Expected(
        "5.4.1", {"Li": 28, "P": 12, "S": 44}, 10, 10, -368.90689173, (-368.92647971, -368.92647971, -368.92647971),
        (0.037043, 0.001822, -0.044266), 0.128437, None, (11.797205, 0.043027, -5.073975), (0.041864, -369.544440),
        (13, 4, 4, 4, 4, 4, 4, 4, 4, 4),
        parameters={"NSW": 10, "IBRION": 0, "ISIF": 0, "NELM": 500, "TEEND": 600, "SMASS": 0.24, "POTIM": 2},
    ),
    "md_nwrite0_v630_OUTCAR": Expected(
        "6.3.0", {"Ti": 32}, 2, 10, -253.15557734, (-252.38626263, -252.36530395, -252.37927641),
        (-0.159353, 0.130727, -0.465234), 1.417382, (-150.15310, 8.47953, 1.85892), (5.871982203, 0, 0),
        (1.232824, -251.153438), missing=("no forces of steps 2-9 (NWRITE = 0", "positions of 2 of its 10 steps only"),
        parameters={"NSW": 10, "IBRION": 0, "ISIF": 2, "NELM": 100, "TEBEG": 500, "ENCUT": 350},
    ),
    "md_nwrite0_v630_vasprun.xml": Expected(
        "6.3.0", {"Ti": 32}, 10, 10, -253.15557734, (-252.38626263, -252.36530395, -252.37927641),
        (-0.15935303, 0.13072693, -0.46523408), 1.41738232, (-150.15310495, 8.47953302, 1.85891868),
        (5.87198220, 0, 0), (1.23282418, -251.15343845), (17, 11, 8, 6, 6, 6, 6, 6, 6, 6),
        parameters={"NSW": 10, "IBRION": 0, "MDALGO": 0, "NWRITE": 0, "POTIM": 2, "SMASS": -3},
    ),
    "md_elec_unconverged_v544_OUTCAR": Expected(
        "5.4.4", {"H": 4, "C": 1}, 3, 3, -23.96537837, (-23.94708651, -23.95905886, -23.95107730),
        (-0.797374, -0.742916, 1.686781), 2.008223, (-1.88733, -0.47624, -1.40245), (9.743894238, 0, 0),
        (0.031001, -23.912290), (15, 15, 12), (1,),
        parameters={"NSW": 3, "IBRION": 0, "ISIF": 2, "NELM": 15, "EDIFF": 1e-6, "SMASS": 0, "TEBEG": 50},
    ),
    "ionic_unconverged_v544_OUTCAR": Expected(
        "5.4.4", {"Si": 2}, 5, 5, -6.50214658, (-10.53731840, -10.53672155, -10.53701997),
        (-0.340957, 2.279063, -0.517928), 2.361912, (22.93383, -7.62320, 22.05087), (0, 2.734364, 2.734364), None,
        (12, 9, 10, 9, 8), parameters={"NSW": 5, "IBRION": 1, "NELM": 20, "EDIFF": 1e-6, "EDIFFG": 0.05},
    ),
    "ionic_unconverged_v544_vasprun.xml": Expected(
        "5.4.4", {"Si": 2}, 5, 5, -6.50214658, (-10.53731840, -10.53672155, -10.53701997),
        (-0.34095681, 2.27906251, -0.51792770), 2.36191164, (22.93383145, -7.62320203, 22.05087013),
        (0, 2.734364, 2.734364), None, (12, 9, 10, 9, 8), parameters={"NSW": 5, "NELM": 20, "EDIFFG": 0.05},
    ),
    "elec_unconverged_v620_OUTCAR": Expected(
        "6.2.0", {"Si": 1}, 5, 5, -1.38713455, (-1.97479978, -1.97024688, -1.97252333), (0, 0, 0), 0.0,
        (1.02875, 1.02875, 1.02875), (2.368377208, 2.368377208, 0), None, (15, 11, 14, 15, 14), (1,),
        parameters={"NSW": 5, "ISIF": 3, "NELM": 15, "EDIFF": 1e-9, "ISPIN": 2},
    ),
    "relax_truncated_v541_vasprun.xml": Expected(
        "5.4.1", {"Si": 8}, 18, 19, -42.91231666, (-43.39066158, -43.39023009, -43.39044584),
        (0.00072262, 0.01087852, 0.01087852), 0.02239007, (-0.01805257, -0.01749370, -0.01749370), (5.46762337, 0, 0),
        None, (18, 6, 7, 4, 4, 2, 4, 2, 2, 4, 4, 2, 3, 2, 3, 2, 2, 2), closed=False,
        missing=("step 19 was begun and is not complete", "VASP did not come to its end"),
        parameters={"NSW": 80, "NELM": 60, "EDIFF": 1e-4, "EDIFFG": -0.01, "ISIF": 3},
    ),
    "crashed_zhegv_selective_v544_vasprun.xml": Expected(
        "5.4.4", {"N": 64, "Nb": 1, "Ni": 124, "Ti": 64}, 0, 1, closed=False,
        missing=("step 1 was begun and is not complete", "VASP did not come to its end"),
        parameters={"NSW": 100, "NELM": 100, "ISPIN": 2, "ENMAX": 450},
    ),
}  # fmt: skip


def part_of(name: str, folder: Path) -> Part:
    """Read one of the files as if it were all that a run has left."""
    kind = "OUTCAR" if "OUTCAR" in name else "vasprun.xml"
    shutil.copy(REAL / name, folder / (kind + (".gz" if name.endswith(".gz") else "")))
    return read(folder)


@pytest.mark.parametrize("name", FILES)
def test_real_files_hold_what_was_read_by_hand(name: str, tmp_path: Path) -> None:
    """Version, atoms, steps, energies by name, forces, stress, cell, convergence of every step, and what is missing."""
    expected, part = FILES[name], part_of(name, tmp_path)
    assert part.program.startswith(expected.version)
    assert {e: part.elements.count(e) for e in part.elements} == expected.species
    assert (len(part.steps), part.begun) == (expected.complete, expected.begun)
    assert (part.closed, part.reached) == (expected.closed, expected.reached)
    assert part.unconverged() == list(expected.unconverged)
    for tag, value in expected.parameters.items():
        assert part.parameters[tag] == pytest.approx(value), tag
    for words in expected.missing:
        assert any(words in text for text in part.missing), part.missing
    if expected.first is not None:
        assert part.steps[0].free == pytest.approx(expected.first, abs=1e-8)
    if expected.loops:
        assert tuple(step.loops for step in part.steps) == expected.loops
    if not part.steps:
        return
    last = part.steps[-1]
    assert last.forces is not None
    assert (last.free, last.without_entropy, last.extrapolated) == pytest.approx(expected.energies, abs=1.5e-8)
    assert last.forces[-1] == pytest.approx(expected.force, abs=1e-8)
    assert np.linalg.norm(last.forces, axis=1).max() == pytest.approx(expected.largest, abs=1e-6)
    assert last.cell[0] == pytest.approx(expected.cell, abs=1e-8)
    assert (last.stress is None) == (expected.stress is None)
    if last.stress is not None:
        assert np.diag(last.stress) == pytest.approx(expected.stress, abs=1e-8)
    if expected.moving is not None:
        assert (last.kinetic, last.conserved) == pytest.approx(expected.moving, abs=1e-8)


@pytest.mark.parametrize("name", [n for n in FILES if "crashed" not in n and n != "md_nwrite0_v630_OUTCAR"])
def test_ase_reads_the_same(name: str, tmp_path: Path) -> None:
    """Positions, forces and energies agree with ASE's reader in every step of what ASE can read."""
    part = part_of(name, tmp_path)
    file = tmp_path / name.removesuffix(".gz")
    opened = gzip.open if name.endswith(".gz") else open
    with opened(REAL / name, "rb") as there:
        file.write_bytes(there.read())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = "vasp-out" if "OUTCAR" in name else "vasp-xml"
        theirs = ase_read(str(file), index=":", format=kind)
    assert len(theirs) == len(part.steps)
    for ours, atoms in zip(part.steps, theirs, strict=True):
        assert np.allclose(ours.positions @ ours.cell, atoms.positions, atol=2e-5)
        assert ours.free == pytest.approx(atoms.get_potential_energy(force_consistent=True), abs=2e-8)
        assert np.allclose(ours.forces, atoms.get_forces(apply_constraint=False), atol=1e-6)
        if ours.stress is not None and atoms.calc.results.get("stress") is not None:
            assert np.allclose(-ours.stress / 1602.1766208, atoms.get_stress(voigt=False), atol=1e-6)


def test_selective_dynamics_are_those_of_the_start(tmp_path: Path) -> None:
    """VASP 4.6.28 writes garbage at the end; 5.4.4 lets four oxygen move."""
    counts = {}
    for name in ("relax_selective_v4628_vasprun.xml", "md_csvr_selective_v544_vasprun.xml",
                 "crashed_zhegv_selective_v544_vasprun.xml"):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        flags = part_of(name, folder).selective
        assert flags is not None
        counts[name[:4]] = int(flags.sum())
    assert counts == {"rela": 12, "md_c": 12, "cras": 417}


def test_temperatures_follow_from_kinetic_energies(tmp_path: Path) -> None:
    """T = 2 EKIN / (3N - 3) k, as VASP prints: 1.00 and 3.90 K of 84 atoms; 96.70 and 59.96 K of five."""
    for name, freedom, temperatures in (
        ("md_nose_v541_OUTCAR", 249, (1.00, 3.90)),
        ("md_elec_unconverged_v544_OUTCAR", 12, (96.70, 59.96)),
    ):
        folder = tmp_path / name
        folder.mkdir()
        steps = part_of(name, folder).steps
        found = [2 * float(step.kinetic or 0) / (freedom * 8.617333262e-5) for step in (steps[0], steps[-1])]
        assert found == pytest.approx(temperatures, abs=0.01)


def test_a_real_contcar_is_whole_and_its_beginnings_are_not() -> None:
    """Positions, velocities and predictor-corrector block: cut anywhere in the numbers, it is not taken for whole."""
    text = (REAL / "md_nve_v544_CONTCAR").read_text()
    assert contract.poscar_atoms(text) == 6
    assert contract.is_complete(text, 6, moving=True)
    cell, positions = contract.geometry(text)
    assert cell[2] == pytest.approx([0.1411083, -0.0595569, 10.0])
    assert positions[0] == pytest.approx([0.4279782637129850, 0.4239240389084223, 0.5200537141966768])
    assert positions[-1] == pytest.approx([0.2298253974014383, 0.5900831576167281, 0.0239966797433423])
    lines = text.splitlines(keepends=True)
    # velocities alone are what MDALGO > 0, or another program, writes; positions alone are enough to relax
    for moving, whole in ((True, {21, 22}), (False, {14, 15, 21, 22})):
        for count in range(len(lines)):
            assert contract.is_complete("".join(lines[:count]), 6, moving) == (count in whole), count
        assert not contract.is_complete(text[:-10], 6, moving)


def test_a_real_crash_is_named(tmp_path: Path) -> None:
    shutil.copy(REAL / "crashed_zhegv_v544_stdout.txt", tmp_path / "vasp.out")
    message = failure(tmp_path, 1)
    assert message.startswith("VASP: the electronic minimisation failed (ZHEGV); incar = { ALGO = 'All' } often helps")
    assert "Error EDDDAV: Call to ZHEGV failed. Returncode =  14 1  15" in message


def skeleton(file: Path) -> set[str]:
    """Element paths of a vasprun.xml with the names that VASP gives them, down to the energies of a step."""
    found: set[str] = set()
    path: list[str] = []
    for event, element in ElementTree.iterparse(file, events=("start", "end")):
        if event == "start":
            name = element.get("name")
            path.append(element.tag + (f"[{name}]" if name and element.tag != "separator" else ""))
            if element.tag not in ("v", "rc", "c", "set", "field", "dimension") and "separator" not in path:
                found.add("/".join(path))
        else:
            path.pop()
    return found


def test_the_stand_in_speaks_as_vasp_does(tmp_path: Path, library: Path, quick: None) -> None:
    """Dynamics of the stand-in beside real dynamics of VASP 6.3: no element that is not in the real one."""
    move(benzene(), tmp_path, library, 3)
    ours = skeleton(tmp_path / "dynamics-300K" / "vasprun.xml")
    theirs = skeleton(REAL / "md_nwrite0_v630_vasprun.xml")
    body = {path for path in ours if "/calculation" in path or "/generator" in path or "/atominfo" in path}
    assert len(body) > 30
    assert body <= theirs, sorted(body - theirs)
    # and what we read is there in both
    for words in ("energy/i[e_fr_energy]", "energy/i[kinetic]", "energy/i[total]", "varray[forces]", "scstep/energy"):
        assert any(words in path for path in ours)
        assert any(words in path for path in theirs)
