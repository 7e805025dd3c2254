"""Laws of the stand-in for VASP: what other tests rest on."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read
from tests.vasp.potcars import write_potcar, write_potential

if TYPE_CHECKING:
    from collections.abc import Sequence

STANDIN = Path(__file__).parent / "standin"
OUTPUTS = ("OUTCAR", "vasprun.xml", "CONTCAR", "OSZICAR", "XDATCAR", "vasp.out")
RELAX = "IBRION=2\nISIF=2\nNSW=60\nEDIFF=1E-6\nEDIFFG=-1E-2\n"
NVE = "IBRION=0\nPOTIM=0.5\nTEBEG=300\nSMASS=-3\n"
NOSE = "IBRION=0\nPOTIM=0.5\nTEBEG=300\nMDALGO=2\nSMASS=0\n"
# an atom held, one free to move along z alone
FLAGS = ["F F F", "T T T", "F F T", *["T T T"] * 9]


def benzene() -> Atoms:
    """Return C6H6, carbon first, off its minimum, in a box that leaves vacuum."""
    atoms = molecule("C6H6")
    atoms.set_cell([11.0, 12.0, 9.0])
    atoms.center()
    atoms.rattle(0.02, seed=1)
    return atoms


def methane() -> Atoms:
    """Return CH4, close to its minimum."""
    atoms = molecule("CH4")
    atoms.set_cell([8.0, 8.0, 8.0])
    atoms.center()
    return atoms


def write_inputs(folder: Path, incar: str, flags: Sequence[str] = (), atoms: Atoms | None = None) -> Path:
    """Write what VASP reads, by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    atoms = benzene() if atoms is None else atoms
    symbols = atoms.get_chemical_symbols()
    species = list(dict.fromkeys(symbols))
    lines = ["a molecule", "1.0", *(" ".join(map(str, row)) for row in atoms.cell.array)]
    lines += [" ".join(species), " ".join(str(symbols.count(element)) for element in species)]
    lines += ["Selective dynamics", "Direct"] if flags else ["Direct"]
    rows = [" ".join(f"{x:.16f}" for x in row) for row in atoms.get_scaled_positions()]
    lines += [f"{row} {flag}" for row, flag in zip(rows, flags, strict=True)] if flags else rows
    (folder / "POSCAR").write_text("\n".join(lines) + "\n")
    (folder / "INCAR").write_text(incar)
    (folder / "KPOINTS").write_text("mesh\n0\nMonkhorst-Pack\n2 2 1\n0 0 0\n")
    write_potcar(folder / "POTCAR", species)
    return folder


def environment(**options: object) -> dict[str, str]:
    own = {f"VASP_STANDIN_{name}": str(value) for name, value in {"engine": "springs", **options}.items()}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("VASP_STANDIN_")}
    return plain | {"OMP_NUM_THREADS": "1"} | {name.upper(): value for name, value in own.items()}


def run(folder: Path, *, file_size: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the stand-in as a shell would, its standard output in vasp.out as custodian has it."""

    def limit() -> None:
        if file_size:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    command = [sys.executable, str(STANDIN)]
    result = subprocess.run(
        command, cwd=folder, env=environment(**options), capture_output=True, text=True, preexec_fn=limit, check=False
    )
    (folder / "vasp.out").write_text(result.stdout)
    return result


def numbers(path: Path, pattern: str) -> np.ndarray:
    return np.array([float(x) for x in re.findall(pattern, path.read_text())])


def contcar_rows(folder: Path, name: str = "CONTCAR") -> list[str]:
    """Return the lines of positions of a POSCAR or CONTCAR of benzene."""
    lines = (folder / name).read_text().splitlines()
    start = lines.index("Direct") + 1
    return lines[start : start + 12]


def positions(folder: Path) -> np.ndarray:
    return np.array([[float(x) for x in row.split()[:3]] for row in contcar_rows(folder)])


def test_forces_and_stress_are_the_slope_of_the_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the springs, by central differences, in a cell large and in one smaller than their reach."""
    monkeypatch.syspath_prepend(str(STANDIN))
    from standin_springs import Springs

    step = 1e-5
    springs = Springs(["C", "H", "Si"])
    for cell in (np.eye(3) * 9, np.array([[2.5, 0, 0], [-1.2, 2.2, 0], [0.3, 0.1, 8]])):
        places = np.array([[0.1, 0.1, 0.1], [0.25, 0.1, 0.12], [0.2, 0.3, 0.2]])
        _, forces, stress = springs.compute(places, cell)
        assert np.abs(forces).max() > 1
        for i, k in np.ndindex(3, 3):
            shift = np.zeros((3, 3))
            shift[i, k] = step
            moved = shift @ np.linalg.inv(cell)
            slope = (springs.compute(places + moved, cell)[0] - springs.compute(places - moved, cell)[0]) / (2 * step)
            assert -slope == pytest.approx(forces[i, k], abs=1e-6)
            strained = [springs.compute(places, cell @ (np.eye(3) + sign * shift))[0] for sign in (1, -1)]
            slope = (strained[0] - strained[1]) / (2 * step) / np.linalg.det(cell)
            assert slope == pytest.approx(stress[i, k], abs=1e-6)


@pytest.mark.parametrize("incar", [NVE, NOSE])
def test_dynamics_conserve_what_they_should(incar: str, tmp_path: Path) -> None:
    """ETOTAL within 5 meV over 300 steps; EKIN is half k T for each of the 3N-3 degrees of freedom."""
    folder = write_inputs(tmp_path, incar + "NSW=300\n", atoms=methane())
    assert run(folder).returncode == 0
    totals = numbers(folder / "OUTCAR", r"ETOTAL = +(\S+)")
    assert len(totals) == 300
    assert np.ptp(totals) < 5e-3
    kinetic = numbers(folder / "OUTCAR", r"EKIN   = +(\S+)")
    kelvin = numbers(folder / "OUTCAR", r"temperature +(\S+) K")
    assert kelvin[0] == pytest.approx(300, abs=0.01)
    assert kinetic == pytest.approx(0.5 * 12 * 8.617333e-5 * kelvin, abs=1e-4)


def test_flags_follow_the_lattice(tmp_path: Path) -> None:
    """In an oblique cell a held component is one of the fractional coordinates, and dynamics still conserve energy."""
    atoms = methane()
    atoms.set_cell([[8, 0, 0], [3, 8, 0], [0, 2, 8]])
    folder = write_inputs(tmp_path, NVE + "NSW=200\n", ["F T T", *["T F T"] * 4], atoms)
    assert run(folder).returncode == 0
    assert np.ptp(numbers(folder / "OUTCAR", r"ETOTAL = +(\S+)")) < 5e-3
    moved = read(folder / "CONTCAR").get_scaled_positions() - read(folder / "POSCAR").get_scaled_positions()
    assert np.abs(moved[0, 0]) < 1e-12
    assert np.abs(moved[1:, 1]).max() < 1e-12
    assert np.abs(moved[1:, 0]).max() > 1e-3


def test_a_ramp_heats(tmp_path: Path) -> None:
    """From TEBEG to TEEND, as a mean over the second half shows; held components have no share in it."""
    folder = write_inputs(tmp_path, NOSE + "TEEND=1500\nNSW=400\n", FLAGS)
    assert run(folder).returncode == 0
    kelvin = numbers(folder / "OUTCAR", r"temperature +(\S+) K")
    kinetic = numbers(folder / "OUTCAR", r"EKIN   = +(\S+)")
    assert kelvin[200:].mean() == pytest.approx(1200, rel=0.15)
    assert kinetic == pytest.approx(0.5 * 31 * 8.617333e-5 * kelvin, abs=1e-4)


def test_velocities_alone_are_taken_as_they_are(tmp_path: Path) -> None:
    """Where the block behind them was lost, as another program loses it; without velocities, TEBEG gives them."""
    folder = write_inputs(tmp_path, NVE + "NSW=1\n")
    moving = np.zeros((12, 3))
    moving[0, 2] = 0.01
    with (folder / "POSCAR").open("a") as file:
        file.write("\n" + "\n".join(" ".join(map(str, row)) for row in moving) + "\n")
    assert run(folder).returncode == 0
    (kinetic,) = numbers(folder / "OUTCAR", r"EKIN   = +(\S+)")
    assert kinetic == pytest.approx(0.5 * 12.011 * 103.642696 * 1e-4, abs=1e-6)


@pytest.mark.parametrize("incar", [NVE, NOSE])
@pytest.mark.parametrize("flags", [(), FLAGS])
def test_ten_steps_and_ten_are_twenty(incar: str, flags: Sequence[str], tmp_path: Path) -> None:
    """Through a CONTCAR copied byte for byte; held components keep every digit."""
    whole = write_inputs(tmp_path / "whole", incar + "NSW=20\n", flags)
    first = write_inputs(tmp_path / "first", incar + "NSW=10\n", flags)
    second = write_inputs(tmp_path / "second", incar + "NSW=10\n", flags)
    run(whole)
    run(first)
    shutil.copy(first / "CONTCAR", second / "POSCAR")
    run(second)
    assert np.abs(positions(second) - positions(whole)).max() < 1e-9
    parts = [numbers(folder / "OUTCAR", r"ETOTAL = +(\S+)") for folder in (first, second)]
    assert np.concatenate(parts) == pytest.approx(numbers(whole / "OUTCAR", r"ETOTAL = +(\S+)"), abs=2e-6)
    if flags:
        before, after = contcar_rows(whole, "POSCAR"), contcar_rows(second)
        assert before[0].split()[:3] == after[0].split()[:3]
        assert before[2].split()[:2] == after[2].split()[:2]
        assert before[2].split()[2] != after[2].split()[2]


def test_positions_of_dynamics_lead_its_energies(tmp_path: Path) -> None:
    """A frame holds the positions its energy was computed at, CONTCAR and finalpos the next ones."""
    folder = write_inputs(tmp_path / "a", NVE + "NSW=3\n")
    run(folder)
    following = write_inputs(tmp_path / "b", "NSW=0\n")
    shutil.copy(folder / "CONTCAR", following / "POSCAR")
    run(following)
    frames = read(folder / "vasprun.xml", index=":")
    last = frames[-1].get_potential_energy(force_consistent=True)
    next_one = read(following / "vasprun.xml").get_potential_energy(force_consistent=True)
    assert np.abs(frames[-1].positions - read(folder / "CONTCAR").positions).max() > 1e-4
    assert abs(last - next_one) > 1e-4
    longer = write_inputs(tmp_path / "c", NVE + "NSW=4\n")
    run(longer)
    assert read(longer / "vasprun.xml").get_potential_energy(force_consistent=True) == pytest.approx(next_one, abs=1e-7)


@pytest.mark.parametrize("ibrion", [1, 2, 3])
def test_relaxation_honours_its_criterion(ibrion: int, tmp_path: Path) -> None:
    """The largest force on a free component is below EDIFFG, which holds at the last step only."""
    folder = write_inputs(tmp_path, RELAX.replace("IBRION=2", f"IBRION={ibrion}"), FLAGS)
    assert run(folder).returncode == 0
    free = np.array([[flag == "T" for flag in row.split()] for row in FLAGS])
    largest = [np.linalg.norm(f.get_forces(apply_constraint=False) * free, axis=1).max() for f in frames_of(folder)]
    assert 2 < len(largest) < 60
    assert largest[-1] < 0.01 < min(largest[:-1])
    assert "reached required accuracy" in (folder / "OUTCAR").read_text()
    assert contcar_rows(folder)[0].split()[:3] == contcar_rows(folder, "POSCAR")[0].split()[:3]


def frames_of(folder: Path) -> list[Atoms]:
    frames = read(folder / "vasprun.xml", index=":")
    assert isinstance(frames, list)
    return frames


def test_relaxation_ends_for_four_reasons(tmp_path: Path) -> None:
    """By forces or by energy it succeeds and says so; NSW and STOPCAR leave exit status 0 and no such word."""
    for name, incar, stop, steps, success in [
        ("energy", RELAX + "EDIFFG=1E-3\n", "", 60, True),
        ("nsw", RELAX + "NSW=3\n", "", 3, False),
        ("soft", RELAX, "LSTOP = .TRUE.\n", 1, False),
        ("hard", RELAX, "LABORT = .TRUE.\n", 1, False),
    ]:
        # VASP takes the first of two equal tags
        folder = write_inputs(tmp_path / name, "\n".join(reversed(incar.splitlines())) + "\n")
        if stop:
            (folder / "STOPCAR").write_text(stop)
        assert run(folder).returncode == 0
        assert len(frames_of(folder)) <= steps
        assert ("reached required accuracy" in (folder / "OUTCAR").read_text()) == success
        assert (folder / "vasprun.xml").read_text().rstrip().endswith("</modeling>")
    for word in ("soft", "hard"):
        assert f"{word} stop encountered" in (tmp_path / word / "OUTCAR").read_text()


def test_a_cell_relaxes(tmp_path: Path) -> None:
    """ISIF=3 takes the pressure off a crystal; ISIF=4 keeps its volume."""
    for isif in (3, 4):
        silicon = Atoms("Si2", cell=[[0, 2.6, 2.6], [2.7, 0, 2.7], [2.7, 2.7, 0]], pbc=True)
        silicon.set_scaled_positions([[0, 0, 0], [0.26, 0.25, 0.25]])
        folder = write_inputs(tmp_path / str(isif), RELAX.replace("ISIF=2", f"ISIF={isif}"), atoms=silicon)
        assert run(folder).returncode == 0
        frames = frames_of(folder)
        assert "reached required accuracy" in (folder / "OUTCAR").read_text()
        volumes = [frame.get_volume() for frame in (frames[0], frames[-1])]
        assert (abs(volumes[0] - volumes[1]) < 1e-4) == (isif == 4)
        stress = frames[-1].get_stress(voigt=False)
        traceless = stress - np.eye(3) * np.trace(stress) / 3 * (isif == 4)
        assert np.abs(traceless).max() * volumes[1] / 2 < 0.01


def test_what_each_failure_leaves(tmp_path: Path) -> None:
    """An exit status, a message where custodian looks for it, two whole steps and no end; a retry succeeds."""
    from custodian.vasp.handlers import VaspErrorHandler

    for kind, status, error in [
        ("zhegv", 1, "edddav"),
        ("zbrent", 0, "zbrent"),
        ("kill", -signal.SIGKILL, ""),
        ("segv", 174, ""),
        ("full", 38, ""),
    ]:
        folder = write_inputs(tmp_path / kind, RELAX)
        result = run(folder, fail=f"{kind}@3")
        assert result.returncode == status
        assert len((folder / "OSZICAR").read_text().split(" F= ")) - 1 == 2
        assert "</modeling>" not in (folder / "vasprun.xml").read_text()
        assert (folder / f".standin_{kind}").exists()
        assert recognised(folder, VaspErrorHandler) == ({error} if error else set())
        assert ("forrtl" in result.stderr) == (kind in ("segv", "full"))
        shutil.copy(folder / "CONTCAR", folder / "POSCAR")
        assert run(folder, fail=f"{kind}@3").returncode == 0
        assert "reached required accuracy" in (folder / "vasp.out").read_text()
    assert run(folder, fail="segv@1", fail_always=1).returncode == 174
    assert run(folder, fail="segv@1", fail_always=1).returncode == 174
    for kind in ("brmix", "nelm"):
        folder = write_inputs(tmp_path / kind, RELAX)
        assert run(folder, fail=f"{kind}@2").returncode == 0
        assert recognised(folder, VaspErrorHandler) == ({"brmix"} if kind == "brmix" else set())
    assert run(write_inputs(tmp_path / "refuse", RELAX), fail="refuse").returncode == 1


def recognised(folder: Path, handler: type) -> set[str]:
    """Return the names of the errors that custodian sees in vasp.out."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        checker = handler(output_filename="vasp.out")
        checker.check(str(folder))
        return set(checker.errors)
    finally:
        os.chdir(here)


def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    """A file that may not grow, for whatever reason the system has, is named in Fortran's words."""
    folder = write_inputs(tmp_path, RELAX)
    result = run(folder, file_size=20_000)
    assert result.returncode == 38
    assert re.search(r"forrtl: File too large\nforrtl: .*(OUTCAR|vasprun.xml)", result.stderr)


def test_it_dies_when_it_is_told_to(tmp_path: Path) -> None:
    """SIGTERM ends a hang; SIGKILL in the middle of a step leaves files that are torn but right up to there."""
    folder = write_inputs(tmp_path / "hang", RELAX)
    hanging = start(folder, fail="hang@2")
    wait_for(folder / ".standin_hang")
    hanging.terminate()
    assert hanging.wait(10) == -signal.SIGTERM
    folder = write_inputs(tmp_path / "kill", RELAX)
    running = start(folder, sleep=1)
    wait_for(folder / "vasprun.xml", calculations=2)
    running.kill()
    assert running.wait(10) == -signal.SIGKILL
    text = (folder / "vasprun.xml").read_text()
    assert "</modeling>" not in text
    assert text.count("<calculation>") == text.count("</calculation>") + 1
    whole = write_inputs(tmp_path / "whole", RELAX)
    run(whole)
    frames, expected = frames_of(folder), frames_of(whole)
    finished = text.count("</calculation>")
    assert 0 < finished < len(expected)
    for frame, other in zip(frames[:finished], expected, strict=False):
        assert frame.get_potential_energy() == other.get_potential_energy()
    shutil.copy(folder / "CONTCAR", folder / "POSCAR")
    run(folder)
    ends = [frames_of(where)[-1].get_potential_energy() for where in (folder, whole)]
    assert ends[0] == pytest.approx(ends[1], abs=2e-3)


def start(folder: Path, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(STANDIN)]
    return subprocess.Popen(command, cwd=folder, env=environment(**options), stdout=subprocess.DEVNULL)


def wait_for(path: Path, calculations: int = 0) -> None:
    """Return when a file exists and has begun that many ionic steps."""
    deadline = time.monotonic() + 20
    while not path.exists() or path.read_text().count("<calculation>") < calculations:
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)


def test_the_flavours_differ_in_their_lies(tmp_path: Path) -> None:
    """VASP 5 claims that EDIFF is reached where NELM was hit, and has a wrong energy in vasprun.xml; VASP 6 not."""
    folders = {flavour: write_inputs(tmp_path / str(flavour), RELAX + "NELM=4\n") for flavour in (5, 6)}
    for flavour, folder in folders.items():
        assert run(folder, flavour=flavour).returncode == 0
        outcar = (folder / "OUTCAR").read_text()
        assert outcar.startswith(f" vasp.{'6.4.2' if flavour == 6 else '5.4.4.18Apr17'} ")
        assert ("because EDIFF is reached" in outcar) == (flavour == 5)
        assert ("EDIFF was not reached (unconverged)" in outcar) == (flavour == 6)
        last = (folder / "vasprun.xml").read_text().rpartition("</scstep>")[2]
        (energy,) = re.findall(r"e_0_energy\"> *(\S+)", last)
        right = frames_of(folder)[-1].get_potential_energy()
        assert (float(energy) == right) == (flavour == 6)
        assert abs(right) > 1 > abs(float(energy)) or flavour == 6
    refusals = {}
    for flavour, folder in folders.items():
        (folder / "POTCAR").unlink()
        result = run(folder, flavour=flavour)
        assert result.returncode == 1
        refusals[flavour] = result.stdout
    assert "|     No POTCAR found, STOPPING" in refusals[6]
    assert "\n No POTCAR found, STOPPING\n" in refusals[5]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("INCAR", None, "No INCAR found"),
        ("POSCAR", None, "No POSCAR found"),
        ("KPOINTS", None, "No KPOINTS found"),
        ("POSCAR", "short\n1.0\n", "POSCAR file is malformed"),
        ("POTCAR", "C", "number of potentials"),
        ("INCAR", "ISPIN=2\nMAGMOM=3*1\n", "MAGMOM has 3 entries"),
        ("INCAR", "NSW=many\n", "Error reading item NSW"),
        ("INCAR", "IBRION=0\nNSW=5\n", "POTIM"),
        ("INCAR", "IBRION=0\nNSW=5\nPOTIM=1\nMDALGO=3\n", "MDALGO=3"),
        ("INCAR", "IBRION=0\nNSW=5\nPOTIM=1\nSMASS=-1\n", "SMASS=-1"),
    ],
)
def test_what_vasp_refuses_it_refuses(name: str, text: str | None, message: str, tmp_path: Path) -> None:
    folder = write_inputs(tmp_path, RELAX)
    if text is None:
        (folder / name).unlink()
    elif name == "POTCAR":
        write_potcar(folder / name, [text])
    else:
        (folder / name).write_text(text)
    result = run(folder)
    assert result.returncode == 1
    assert message in result.stdout
    assert "I REFUSE TO CONTINUE" in result.stdout


def test_the_elements_are_those_of_the_potentials(tmp_path: Path) -> None:
    """In whatever order POSCAR has them: VASP warns and goes on with POTCAR's."""
    folder = write_inputs(tmp_path, "NSW=0\n")
    write_potcar(folder / "POTCAR", ["H", "C"])
    result = run(folder)
    assert result.returncode == 0
    assert "POTCAR overwrites the type information in POSCAR" in result.stdout
    assert read(folder / "vasprun.xml").get_chemical_symbols() == ["H"] * 6 + ["C"] * 6


@pytest.mark.parametrize("incar", [RELAX + "ISPIN=2\nMAGMOM=2 11*0\nLORBIT=11\n", NOSE + "NSW=6\nISIF=2\nTEEND=600\n"])
def test_others_read_what_it_writes(incar: str, tmp_path: Path) -> None:
    """ASE and pymatgen agree on energies, forces, positions and the number of frames; every file has the label."""
    from pymatgen.io.vasp import Oszicar, Outcar, Poscar, Vasprun, Xdatcar

    folder = write_inputs(tmp_path, incar)
    assert run(folder).returncode == 0
    for name in OUTPUTS:
        assert "STAND-IN" in (folder / name).read_text(), name
    for name in ("CONTCAR", "XDATCAR"):
        assert (folder / name).read_text().splitlines()[0].endswith(" STAND-IN")
    frames, outcar = frames_of(folder), read(folder / "OUTCAR", index=":")
    table = numbers(folder / "OSZICAR", r" F= *(\S+)")
    free = [frame.get_potential_energy(force_consistent=True) for frame in frames]
    assert free == pytest.approx(table, abs=1e-5)
    for frame, other in zip(frames, outcar, strict=True):
        assert frame.get_potential_energy() == other.get_potential_energy()
        assert frame.get_potential_energy() - frame.get_potential_energy(force_consistent=True) == pytest.approx(0.012)
        assert frame.get_forces() == pytest.approx(other.get_forces(), abs=1e-6)
        assert frame.get_stress() == pytest.approx(other.get_stress(), abs=1e-8)
        assert frame.positions == pytest.approx(other.positions, abs=1e-5)
    vasprun = Vasprun(folder / "vasprun.xml", parse_potcar_file=False)
    assert vasprun.converged
    assert vasprun.nionic_steps == len(frames)
    assert sum(vasprun.actual_kpoints_weights) == pytest.approx(1)
    assert float(vasprun.final_energy) == pytest.approx(frames[-1].get_potential_energy(), abs=1e-6)
    report = Outcar(folder / "OUTCAR")
    assert report.final_energy == pytest.approx(frames[-1].get_potential_energy())
    if "LORBIT" in incar:
        assert [ion["tot"] for ion in report.magnetization] == [2.0, *[0.0] * 11]
    assert len(Oszicar(folder / "OSZICAR").ionic_steps) == len(frames)
    assert len(Xdatcar(folder / "XDATCAR").structures) == len(frames) == len(read(folder / "XDATCAR", index=":"))
    assert Poscar.from_file(folder / "CONTCAR").site_symbols == ["C", "H"]
    assert len(read(folder / "CONTCAR")) == 12


def test_a_continued_comment_is_labelled_once(tmp_path: Path) -> None:
    folder = write_inputs(tmp_path, "NSW=0\n")
    for _ in range(2):
        run(folder)
        shutil.copy(folder / "CONTCAR", folder / "POSCAR")
    assert (folder / "CONTCAR").read_text().splitlines()[0] == "a molecule STAND-IN"


@pytest.mark.parametrize("engine", ["tblite", "emt", "lj"])
def test_real_engines_relax(engine: str, tmp_path: Path) -> None:
    """Energies fall; the label names the engine."""
    folder = write_inputs(tmp_path, RELAX.replace("NSW=60", "NSW=3") + "ISPIN=2\nMAGMOM=12*0\n")
    result = run(folder, engine=engine)
    assert result.returncode == 0
    energies = [frame.get_potential_energy() for frame in frames_of(folder)]
    assert energies[-1] < energies[0]
    names = {"tblite": "GFN1-xTB by tblite", "emt": "EMT by ASE", "lj": "Lennard-Jones by ASE"}
    assert f"(build STAND-IN, not VASP: {names[engine]}) complex" in result.stdout


def test_toy_potentials_are_found_and_read(tmp_path: Path) -> None:
    """By pymatgen in its layout, and with the right valence in both."""
    from pymatgen.io.vasp import Potcar, PotcarSingle

    single = PotcarSingle.from_file(write_potential(tmp_path, "Cr", "_pv", layout="pymatgen"))
    assert (single.element, single.symbol, single.zval, single.enmax) == ("Cr", "Cr_pv", 6, 400)
    assert write_potential(tmp_path, "Si") == tmp_path / "potpaw_PBE" / "Si" / "POTCAR"
    write_potcar(tmp_path / "POTCAR", ["Si", "H"])
    assert [potential.zval for potential in Potcar.from_file(tmp_path / "POTCAR")] == [4, 1]
