"""What VASP is asked, tag by tag; ASE and pymatgen read what we write."""

from __future__ import annotations

import gzip
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.build import molecule
from ase.constraints import FixAtoms, FixCartesian, FixedLine, FixScaled
from ase.io import read
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.conftest import built, flake, stem2sim
from tests.vasp.potcars import toy_potential, write_potential

from stem2sim.engines.engine_simulator import read_engine
from stem2sim.engines.motion import Bath
from stem2sim.errors import BadInput
from stem2sim.structure import Structure
from stem2sim.testing import check_stage
from stem2sim_aimd.aimd import Aimd
from stem2sim_hterm.cell import Cell
from stem2sim_hterm.constrain import Constrain
from stem2sim_hterm.hterm import Hterm
from stem2sim_hterm.patch import Patch
from stem2sim_vasp import incar, potcar
from stem2sim_vasp.request import request_for
from stem2sim_vasp.vasp import Vasp

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim_vasp.request import Request

EDGE = 25.786
"""[Å]; of the paper's cube."""

PAPER = {
    "GGA": "PE", "ENCUT": 400.0, "PREC": "Accurate", "EDIFF": 1e-6, "ISMEAR": 0, "SIGMA": 0.05, "ISYM": 0,
    "ALGO": "Normal", "NELM": 100, "NELMIN": 5, "LREAL": False, "LASPH": True, "LWAVE": False, "LCHARG": False,
    "NWRITE": 2, "ISPIN": 1,
}  # fmt: skip
RELAX = {**PAPER, "IBRION": 2, "NSW": 500, "POTIM": 0.5, "EDIFFG": -1e-3, "ISIF": 2}
MOVE = {
    **PAPER, "PREC": "Normal", "ALGO": "Fast", "LREAL": "Auto", "EDIFF": 1e-5, "NELMIN": 4, "MAXMIX": 40, "IBRION": 0,
    "NSW": 2000, "POTIM": 1.0, "TEBEG": 300.0, "TEEND": 300.0, "MDALGO": 2, "SMASS": 0, "ISIF": 2, "NBLOCK": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("VASP_PP_PATH", "PMG_VASP_PSP_DIR", "VASP_COMMAND", "ASE_VASP_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def patch() -> Structure:
    """91 C, their hydrogen, in the paper's cube."""
    return built(flake(26.0), Patch(size=91, center=(13.4, 14.0)), Hterm(), Cell(edge=EDGE))


def requested(structure: Structure, **options: Any) -> Request:
    engine = Vasp.model_validate(options)
    return request_for(engine, engine.adopt(structure), "relaxation", engine.max_steps)


def written(request: Request, folder: Path) -> dict[str, str]:
    request.write(folder)
    return incar.read((folder / "INCAR").read_text())


def check_tags(there: dict[str, str], table: dict[str, Any]) -> None:
    """Every tag of the table stands there with its value, and no other."""
    assert set(there) - {"SYSTEM"} == set(table)
    for tag, value in table.items():
        assert incar.same(value, there[tag]), f"{tag} is {there[tag]}, should be {value}"
        if isinstance(value, str):
            assert there[tag] == value


@pytest.mark.parametrize("mode", ["perimeter", "z-only", "hydrogen", "full"])
def test_the_papers_relaxations(mode: str, patch: Structure, library: Path, tmp_path: Path) -> None:
    """91 C with H in the 25.786 Å cube, four constraint modes: INCAR, KPOINTS, POSCAR, POTCAR as the paper asks."""
    atoms = patch.atoms
    symbols = np.array(atoms.get_chemical_symbols())
    assert (symbols == "C").sum() == 91
    hydrogen = int((symbols == "H").sum())
    held = {
        "perimeter": Constrain(hold="perimeter"), "hydrogen": Constrain(hold="hydrogen"),
        "z-only": Constrain(hold="all", axes="xy"),
    }  # fmt: skip
    structure = built(patch, held[mode]) if mode in held else patch
    request = requested(structure, preset="paper", potentials=library, relax_cell=mode == "full")
    check_tags(written(request, tmp_path), {**RELAX, "ISIF": 3} if mode == "full" else RELAX)
    assert (tmp_path / "KPOINTS").read_text().splitlines()[1:] == ["0", "Monkhorst-Pack", "2 2 2", "0 0 0"]
    lines = (tmp_path / "POSCAR").read_text().splitlines()
    assert lines[5].split() == ["H", "C"]
    assert [int(n) for n in lines[6].split()] == [hydrogen, 91]
    cell = np.array([[float(x) for x in line.split()] for line in lines[2:5]])
    assert np.allclose(cell, EDGE * np.eye(3))
    flags = [line.split()[3:] for line in lines[9:]] if lines[7] == "Selective dynamics" else []
    if mode == "full":
        assert not flags
    elif mode == "hydrogen":
        assert flags == [["F"] * 3] * hydrogen + [["T"] * 3] * 91
    elif mode == "z-only":
        assert flags == [["F", "F", "T"]] * len(atoms)
    else:
        rim = {int(k) for k in structure.atoms.constraints[0].index}
        assert [row == ["F"] * 3 for row in flags] == [int(k) in rim for k in request.order]
        assert {tuple(row) for row in flags} == {("F",) * 3, ("T",) * 3}
    # the permutation, there and back
    there = read(tmp_path / "POSCAR", format="vasp")
    assert np.allclose(there.positions, atoms.positions[request.order], atol=1e-9)
    titles = [potential.title for potential in potcar.listed((tmp_path / "POTCAR").read_text())]
    assert titles == ["PAW_PBE H 01Jan1970", "PAW_PBE C 01Jan1970"]
    assert (tmp_path / "POTCAR.spec").read_text() == "H\nC\n"


def test_the_papers_dynamics(patch: Structure, library: Path, tmp_path: Path) -> None:
    """NVT at 300 K, 2000 steps of 1 fs: MDALGO, SMASS and ISYM are never left to VASP's defaults, and momenta go in."""
    engine = {"use": "vasp", "preset": "paper-md", "potentials": str(library)}
    aimd = Aimd.model_validate({"preset": "paper", "temperature": 300, "steps": 2000, "engine": engine})
    assert aimd.moves_natively
    structure = aimd.engine.adopt(patch)
    atoms = structure.atoms
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)))
    freedom = 3 * len(atoms) - 3
    bath = Bath("nvt", "nose-hoover", 300.0, 1.0, 40.0, None, freedom)
    request = request_for(aimd.engine, structure, "dynamics", 2000, bath)  # type: ignore[arg-type]
    check_tags(written(request, tmp_path), MOVE)
    there = read(tmp_path / "POSCAR", format="vasp")
    assert np.allclose(there.get_velocities(), atoms.get_velocities()[request.order], atol=1e-9)


def test_nosés_mass_is_the_one_that_vasp_prints() -> None:
    """VASP 5.4.1, 84 atoms, TEEND = 600 K, POTIM = 2 fs, first vector 12.842 Å: SMASS = 0 became 0.24 (real OUTCAR)."""
    from ase import Atoms

    cell = [[11.797205, 0.043027, -5.073975], [2.441136, 11.820736, -2.822486], [-0.11163, -0.101968, 12.641328]]
    grid = np.stack(np.meshgrid(*[np.arange(5) / 5] * 3), axis=-1).reshape(-1, 3)[:84]
    atoms = Atoms("Si84", scaled_positions=grid, cell=cell, pbc=True)
    atoms.set_momenta(np.zeros((84, 3)))
    # an oscillation that is not quite 40 steps long, so that the mass is given as a number
    bath = Bath("nvt", "nose-hoover", 600.0, 2.0, 80.01, None, 249)
    request = request_for(Vasp(), Structure(atoms=atoms), "dynamics", 10, bath)
    assert request.tags["SMASS"] == pytest.approx(0.24, abs=0.005)


def test_heat_goes_to_the_freedom_that_counts(tmp_path: Path) -> None:
    """VASP counts every free component; where the whole may drift along z, TEBEG makes up for the one too many."""
    atoms = molecule("C6H6")
    atoms.center(vacuum=4)
    atoms.set_momenta(np.zeros((12, 3)))
    atoms.set_constraint(FixCartesian(range(12), mask=[True, True, False]))
    bath = Bath("nvt", "nose-hoover", 300.0, 1.0, 40.0, None, 11)
    request = request_for(Vasp(), Structure(atoms=atoms), "dynamics", 10, bath)
    assert request.tags["TEBEG"] == pytest.approx(300 * 11 / 12)


def test_ase_and_pymatgen_read_what_we_write(patch: Structure, library: Path, tmp_path: Path) -> None:
    """Every input file, by both: tags, mesh, flags, potentials."""
    from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar, Potcar

    structure = built(patch, Constrain(hold="perimeter"))
    chromium = structure.atoms.copy()
    chromium.append("Cr")
    chromium.positions[-1] = chromium.positions[:-1].mean(axis=0)
    chromium.positions[-1, 2] += 2.2
    request = requested(Structure(atoms=chromium), preset="cr-spin", potentials=library)
    request.write(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tags = Incar.from_file(tmp_path / "INCAR")
        mesh, atoms = Kpoints.from_file(tmp_path / "KPOINTS"), Poscar.from_file(tmp_path / "POSCAR")
        potentials = Potcar.from_file(tmp_path / "POTCAR")
    assert tags["ENCUT"] == 400
    assert tags["EDIFFG"] == -1e-3
    assert tags["ISPIN"] == 2
    assert tags["LORBIT"] == 11
    # per ion in the order of the POSCAR: of 117 atoms only the last, Cr, has a moment
    assert tags["MAGMOM"] == [0.0] * (len(chromium) - 1) + [6.0]
    assert mesh.style == Kpoints.supported_modes.Monkhorst
    assert mesh.kpts == [(2, 2, 2)]
    assert atoms.site_symbols == ["H", "C", "Cr"]
    flags = np.array(atoms.selective_dynamics)
    ours = read(tmp_path / "POSCAR", format="vasp")
    assert set(ours.constraints[0].index) == set(np.flatnonzero(~flags.any(axis=1)))
    assert [one.element for one in potentials] == ["H", "C", "Cr"]


def test_presets_give_way_to_options_and_options_to_tags(tmp_path: Path) -> None:
    structure = Structure(atoms=molecule("C6H6", vacuum=5))
    there = written(requested(structure, preset="paper", encut=520, incar={"ismear": 1, "EDIFFG": -0.02}), tmp_path)
    assert (there["ENCUT"], there["ISMEAR"], there["EDIFFG"]) == ("520", "1", "-0.02")
    dispersed = requested(structure, dispersion="d3-bj", ncore=4, kpar=2).tags
    assert (dispersed["IVDW"], dispersed["NCORE"], dispersed["KPAR"]) == (12, 4, 2)
    # parallel settings come from the config alone
    assert not {"NCORE", "KPAR", "NPAR"} & set(there)


def test_long_cells_get_their_amin(patch: Structure) -> None:
    long = built(flake(8.0), Hterm(), Cell(edge=60.0))
    assert requested(long).tags["AMIN"] == 0.01
    assert "AMIN" not in requested(patch).tags


def test_a_charge_is_counted_with_the_potentials(library: Path) -> None:
    """NELECT is the sum of ZVAL less the charge; without a potential that is an error, not a guess."""
    structure = Structure(atoms=molecule("C6H6", vacuum=5), charge=1)
    assert requested(structure, potentials=library).tags["NELECT"] == 6 * 4 + 6 - 1
    assert "NELECT" not in requested(structure, charge=0, potentials=library).tags
    with pytest.raises(BadInput, match=r"a charge of \+1 e needs the potential of H on this machine"):
        requested(structure)


def test_moments_are_those_of_the_atoms() -> None:
    """MAGMOM follows the atoms through the sorting; a multiplicity is held fixed."""
    atoms = molecule("CH3", vacuum=5)[[1, 0, 2, 3]]
    atoms.set_initial_magnetic_moments([0.25, 1.5, 0.5, 0.75])
    engine = Vasp(spin=True)
    request = request_for(engine, engine.adopt(Structure(atoms=atoms)), "relaxation", 10)
    assert request.tags["MAGMOM"] == (0.25, 0.5, 0.75, 1.5)
    assert engine.with_spin(3).unpaired == 2
    assert request_for(engine.with_spin(3), Structure(atoms=atoms), "relaxation", 10).tags["NUPDOWN"] == 2


@pytest.mark.parametrize("layout", ["ase", "pymatgen", "own", "variable"])
def test_potentials_are_found_where_others_find_them(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ASE's folders, pymatgen's (compressed), a plain folder, and the variable that ASE reads."""
    given: Path | None = tmp_path / "sets"
    if layout == "own":
        (tmp_path / "sets" / "Cr_pv").mkdir(parents=True)
        (tmp_path / "sets" / "Cr_pv" / "POTCAR").write_text(toy_potential("Cr", "_pv"))
    else:
        write_potential(tmp_path / "sets", "Cr", "_pv", layout="ase" if layout == "variable" else layout)  # type: ignore[arg-type]
    if layout == "variable":
        monkeypatch.setenv("VASP_PP_PATH", str(tmp_path / "sets"))
        given = None
    found = potcar.read("Cr", "_pv", given, "")
    assert found is not None
    one, text = found
    assert (one.element, one.valence, one.cutoff) == ("Cr", 6.0, 400.0)
    assert text.decode() == toy_potential("Cr", "_pv")
    assert len(one.digest) == 64
    assert potcar.read("Cr", "", given, "") is None
    assert potcar.read("Cr", "_pv", given, "54") is None or layout == "own"


def test_pymatgens_own_configuration_is_read(tmp_path: Path) -> None:
    write_potential(tmp_path / "sets", "C", layout="pymatgen")
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / ".pmgrc.yaml").write_text(f"PMG_VASP_PSP_DIR: {tmp_path / 'sets'}\n")
    assert potcar.read("C", "", None, "") is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"incar": {"NSW": 0}}, "NSW = 0 moves no atom, and this is a relaxation"),
        ({"incar": {"IBRION": 0}}, "IBRION = 0 is no relaxation; use 1, 2 or 3, or aimd for dynamics"),
        ({"incar": {"MAGMOM": [1.0]}}, "MAGMOM is set by the atoms' own initial magnetic moments"),
        ({"potentials": "/nowhere"}, "no folder of potentials at /nowhere"),
    ],
)
def test_tags_that_contradict_the_task_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        requested(Structure(atoms=molecule("C6H6", vacuum=5)), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"setups": {"c": "_pv"}}, "no element 'c'"),
        ({"unpaired": 2}, "unpaired electrons need spin = true"),
        ({"incar": {"encut": 300, "ENCUT": 400}}, "a tag is given twice"),
        ({"incar": {"A = 1\nNSW": 3}}, "is not the name of a tag"),
        ({"incar": {"SYSTEM": "x\\"}}, "would end its line of the INCAR, or swallow the next"),
        ({"kpoints": (0, 1, 1)}, "a mesh has at least one point"),
    ],
)
def test_options_without_a_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Vasp.model_validate(options)


def test_numbers_may_be_given_as_text() -> None:
    """From a shell they come so: the cell relaxes and is judged as if they had been numbers."""
    request = requested(
        Structure(atoms=molecule("C6H6", vacuum=5)), incar={"EDIFFG": "-1E-2", "isif": "3", "LREAL": ".FALSE."}
    )
    assert (request.tags["EDIFFG"], request.tags["ISIF"], request.tags["LREAL"]) == (-0.01, 3, False)


def test_words_are_compared_as_far_as_they_are_echoed() -> None:
    """N is Normal, and PE is not PS."""
    assert incar.same("Normal", "N")
    assert incar.same("Auto", "A")
    assert not incar.same("PE", "PS")
    assert not incar.same("Normal", "None")
    assert not incar.same(1e-8, 0.0)


def test_a_left_handed_cell_is_refused() -> None:
    atoms = molecule("C6H6")
    atoms.set_cell([[0, 14, 0], [14, 0, 0], [0, 0, 14]])
    atoms.center()
    with pytest.raises(BadInput, match="right-handed cells only; exchange two of the vectors"):
        requested(Structure(atoms=atoms))


def test_potentials_of_another_functional_are_told(tmp_path: Path) -> None:
    for element in ("C", "H"):
        path = write_potential(tmp_path, element)
        path.write_text(path.read_text().replace("LEXCH  = PE", "LEXCH  = CA"))
    request = requested(Structure(atoms=molecule("C6H6", vacuum=5)), potentials=tmp_path)
    assert "made for another functional (LEXCH = CA), not for PBE" in request.warnings[0]


def test_dynamics_is_said_by_aimd_alone() -> None:
    atoms = molecule("C6H6", vacuum=5)
    atoms.set_momenta(np.zeros((12, 3)))
    bath = Bath("nvt", "nose-hoover", 300.0, 1.0, 40.0, None, 33)
    for tag, words in (("POTIM", "time_step of aimd"), ("TEBEG", "temperature of aimd"), ("NSW", "steps of aimd")):
        with pytest.raises(BadInput, match=words):
            request_for(Vasp(incar={tag: 5}), Structure(atoms=atoms), "dynamics", 10, bath)
    with pytest.raises(BadInput, match="is a single one, not a chain of 4"):
        request_for(Vasp(), Structure(atoms=atoms), "dynamics", 10, Bath("nvt", "nose-hoover", 300.0, 1.0, 40.0, 4, 33))
    constant = request_for(
        Vasp(), Structure(atoms=atoms), "dynamics", 10, Bath("nve", "nose-hoover", 300.0, 1.0, 40.0, None, 33)
    )
    assert (constant.tags["MDALGO"], constant.tags["SMASS"]) == (0, -3)


def test_unknown_tags_are_told_with_the_nearest() -> None:
    request = requested(Structure(atoms=molecule("C6H6", vacuum=5)), incar={"ISMAER": 0, "LDAU": True})
    assert request.warnings == ("INCAR: ISMAER is not a known tag of VASP; did you mean 'ISMEAR'?",)
    # what we write ourselves is known
    assert not incar.unknown_tags(
        [*RELAX, *MOVE, "LORBIT", "MAGMOM", "NUPDOWN", "IVDW", "AMIN", "NCORE", "KPAR", "NELECT"]
    )


def test_held_motion_along_no_vector_is_refused() -> None:
    """A sheared cell has no vector along y: flags cannot hold it. Whole atoms, and z of a sheet, they can."""
    atoms = molecule("C6H6")
    atoms.set_cell([[14, 0, 0], [4, 14, 0], [0, 0, 14]])
    atoms.center()
    atoms.pbc = True
    for constraint in (FixAtoms([0]), FixCartesian([0], mask=[False, False, True]), FixedLine([0], [0, 0, 1]),
                       FixScaled([0], [True, False, False])):  # fmt: skip
        atoms.set_constraint(constraint)
        requested(Structure(atoms=atoms))
    atoms.set_constraint(FixCartesian([0], mask=[False, True, False]))
    with pytest.raises(BadInput, match=r"in a cell with angles 90\.0, 90\.0, 74\.1 degrees; use an orthogonal cell"):
        requested(Structure(atoms=atoms))
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(BadInput, match="ISIF = 3 relaxes the cell and every atom in it"):
        requested(Structure(atoms=atoms), relax_cell=True)


@given(
    numbers=st.lists(st.sampled_from([0.0, 1.0, -0.5, 5.0]), min_size=1, max_size=30),
    flag=st.booleans(),
    number=st.floats(-1e6, 1e6, allow_nan=False),
)
def test_what_is_written_is_read(numbers: list[float], flag: bool, number: float) -> None:
    """Lists, even shortened ones, logicals and numbers survive the INCAR, as VASP's rules and pymatgen read it."""
    from pymatgen.io.vasp.inputs import Incar

    text = incar.written({"MAGMOM": tuple(numbers), "LWAVE": flag, "ENCUT": number})
    there = incar.read(text)
    assert incar.same(flag, there["LWAVE"])
    assert incar.same(number, there["ENCUT"])
    assert Incar.from_str(text)["MAGMOM"] == pytest.approx(numbers)
    again = incar.read(incar.with_value(text, "ENCUT", 400))
    assert again == {**there, "ENCUT": "400"}


def test_the_first_of_two_tags_counts() -> None:
    """As in VASP: the first occurrence, comments and semicolons apart."""
    assert incar.read("ENCUT = 300 ! low\nencut = 500\nISMEAR = 0; SIGMA = 0.1 # eV\n") == {
        "ENCUT": "300", "ISMEAR": "0", "SIGMA": "0.1",
    }  # fmt: skip


def test_the_stage_keeps_the_rules_of_stages() -> None:
    for options in ({}, {"preset": "paper-md"}, {"preset": "cr-spin", "incar": {"ALGO": "All"}}):
        check_stage(Vasp.model_validate(options))
    assert read_engine({"use": "vasp", "command": "mpirun -n 4 'my vasp'"}).model_dump()["command"] == (
        "mpirun", "-n", "4", "my vasp",
    )  # fmt: skip


def test_bad_options_are_one_line_and_exit_2(tmp_path: Path) -> None:
    """No command, no potential, NSW = 0, a mesh of nothing, a tag that would break its line."""
    structure = Structure(atoms=molecule("C6H6", vacuum=5))
    structure.write(tmp_path / "start.extxyz")
    write_potential(tmp_path / "sets", "C")
    write_potential(tmp_path / "both", "C")
    write_potential(tmp_path / "both", "H")
    here = f"simulate.0.potentials={tmp_path}"
    whole = [f"{here}/both", "simulate.0.command=/bin/true"]
    for options, message in (
        ([f"{here}/both"], "missing: vasp: no command that runs VASP is configured (export VASP_COMMAND="),
        ([f"{here}/sets", "simulate.0.command=/bin/true"], "missing: vasp: no potential H in "),
        ([*whole, "simulate.0.incar.NSW=0"], "NSW = 0 moves no atom"),
        ([*whole, "simulate.0.kpoints=[0, 1, 1]"], "a mesh has at least one point"),
        ([*whole, 'simulate.0.incar.ALGO="All\\nNSW = 9"'], "would end its line"),
        ([f"{here}/both", "simulate.0.command=no-such-vasp"], "missing: vasp: there is no program no-such-vasp ("),
    ):
        flags = [word for option in options for word in ("--set", option)]
        done = stem2sim("simulate", tmp_path / "start.extxyz", "--simulator", "vasp", "--out", tmp_path / "out", *flags)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_doctor_says_what_is_missing(tmp_path: Path) -> None:
    write_potential(tmp_path / "sets", "C")
    done = stem2sim(
        "doctor", "--simulator", "vasp", "--elements", "C,Cr", "--set", f"simulate.0.potentials={tmp_path / 'sets'}"
    )
    assert done.returncode == 1
    assert "no command that runs VASP is configured" in done.stdout
    assert "PAW_PBE C 01Jan1970" in done.stdout
    assert "no potential Cr in" in done.stdout


def test_a_potential_of_another_element_is_refused(tmp_path: Path) -> None:
    path = write_potential(tmp_path, "C")
    path.write_text(toy_potential("Si"))
    with pytest.raises(BadInput, match="should hold one potential, of C; it holds PAW_PBE Si"):
        potcar.read("C", "", tmp_path, "")
    wrong = tmp_path / "POT_GGA_PAW_PBE" / "POTCAR.H.gz"
    wrong.parent.mkdir()
    wrong.write_bytes(gzip.compress((toy_potential("H") * 2).encode()))
    with pytest.raises(BadInput, match=r"should hold one potential, of H; it holds PAW_PBE H .*, PAW_PBE H"):
        potcar.read("H", "", tmp_path, "")
