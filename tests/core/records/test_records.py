"""What a run leaves for others: citations, differences, archives, an RO-Crate, a database."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from zipfile import ZipFile

import numpy as np
import pytest
from ase.build import molecule
from ase.db import connect
from tests.conftest import stem2sim
from tests.made_runs import run, run_with

from stem2sim.config.config import read_config
from stem2sim.config.records import server_address
from stem2sim.engines.engine_simulator import read_engine
from stem2sim.errors import BadInput, StageFailed
from stem2sim.packages import references
from stem2sim.records.archive import archive
from stem2sim.records.crate import write_crate
from stem2sim.records.database import share, write_database
from stem2sim.records.diff import differences
from stem2sim.registry import installed
from stem2sim.report.report import write_report
from stem2sim.runs.run import Run
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = {"article": {"author", "title", "journal", "volume", "year"}, "inproceedings": {"author", "title", "year"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs of benzene: twice the same, and once with a tighter relaxation."""
    folder = tmp_path_factory.mktemp("runs")
    atoms = molecule("C6H6", vacuum=5)
    atoms.rattle(0.02, seed=1)
    Structure(atoms=atoms).write(folder / "benzene.extxyz")
    (folder / "run.toml").write_text(
        'structure = "benzene.extxyz"\n[[simulate]]\nuse = "xtb"\nfmax = 0.05\n'
        '[[simulate]]\nuse = "aimd"\nsteps = 4\nthermostat = "csvr"\nengine = { use = "xtb", method = "GFN2-xTB" }\n'
    )
    for name, more in (("a", ()), ("b", ()), ("c", ("--set", "simulate.0.fmax=0.005"))):
        done = stem2sim("run", folder / "run.toml", "--out", folder / name, *more)
        assert done.returncode == 0, done.stderr
    return [folder / name for name in "abc"]


def test_what_ran_is_cited_and_nothing_else(runs: list[Path]) -> None:
    """Both parametrisations, the thermostat that was used, ASE and the paper; each entry is whole."""
    done = stem2sim("cite", runs[0])
    assert done.returncode == 0, done.stderr
    found = dict(re.findall(r"^@(\w+)\{([^,]+),", done.stdout, re.MULTILINE))
    assert set(re.findall(r"^@\w+\{([^,]+),", done.stdout, re.MULTILINE)) == {
        "ghosh2022", "larsen2017", "grimme2017gfn1", "bannwarth2019gfn2", "tblite", "bussi2007csvr",
        "flyvbjerg1989",
    }  # fmt: skip
    assert found
    for entry in re.split(r"\n\n(?=@)", done.stdout.strip()):
        assert entry.count("{") == entry.count("}")


def test_every_stage_cites_what_its_package_has() -> None:
    """No key without an entry, and every entry has what a bibliography needs, with a DOI that looks like one."""
    engines = [{"use": "vasp", "dispersion": "d3-bj", "scheme": "monkhorst-pack"}, {"use": "xtb", "method": "GFN2-xTB"},
               {"use": "lammps"}, {"use": "lammps", "potential": "tersoff"}]  # fmt: skip
    stages = [read_engine(options) for options in engines]
    for offer in installed().offers:
        try:
            stages.append(offer.stage())  # type: ignore[arg-type]
        except ValueError:  # it needs options: aimd an engine
            continue
    aimd = installed().find("simulator", "aimd")
    for options in ({"ensemble": "nve"}, {"thermostat": "langevin"}, {}):
        stages.append(aimd.model_validate({"engine": {"use": "xtb"}, **options}))  # type: ignore[arg-type]
    for stage in stages:
        if stage.name == "dftb":  # asks its set, which is not here
            continue
        for key, entry in stage.citations().items():
            kind = entry.partition("{")[0].lstrip("@")
            fields = dict(re.findall(r"^\s+(\w+)\s*=\s*\{(.*?)\},?$", entry, re.MULTILINE))
            assert FIELDS.get(kind, {"author", "title"}) <= set(fields), key
            assert re.fullmatch(r"10\.\d{4,}/\S+", fields.get("doi", "10.1000/1")), key
    assert references("stem2sim", ()) == {}


def test_equal_runs_do_not_differ(runs: list[Path]) -> None:
    assert differences(Run(runs[0]), Run(runs[1])) == []
    assert stem2sim("diff", runs[0], runs[1]).stdout == "no difference\n"


def test_a_changed_option_and_the_numbers_it_changed_are_named(runs: list[Path]) -> None:
    """The only option is fmax; the relaxation's numbers changed, and those of the dynamics that start from its end."""
    found = differences(Run(runs[0]), Run(runs[2]))
    assert [(one.kind, one.what, one.first, one.second) for one in found if one.kind == "option"] == [
        ("option", "simulate.0.fmax", 0.05, 0.005)
    ]
    assert not [one for one in found if one.kind == "version"]
    numbers = {one.what for one in found if one.kind == "result"}
    assert {"01-xtb/result: energy [eV]", "01-xtb/result: largest force [eV/Å]"} <= numbers
    assert not [name for name in numbers if "converged" in name or "rings" in name]
    told = json.loads(stem2sim("diff", runs[0], runs[2], "--json").stdout)
    assert told[0] == {"kind": "option", "what": "simulate.0.fmax", "first": 0.05, "second": 0.005}
    assert "simulate.0.fmax" in stem2sim("diff", runs[0], runs[2]).stdout


def test_an_archive_holds_the_run_and_nothing_licensed(runs: list[Path], tmp_path: Path) -> None:
    """All that belongs to the run, byte for byte; a POTCAR beside VASP's files stays behind."""
    potcar = runs[0] / "01-xtb" / "POTCAR"
    potcar.write_text("licensed")
    try:
        done = stem2sim("export", runs[0], tmp_path / "run.zip")
    finally:
        potcar.unlink()
    assert done.returncode == 0, done.stderr
    with ZipFile(tmp_path / "run.zip") as zipped:
        names = set(zipped.namelist())
        assert zipped.read("a/report.html") == (runs[0] / "report.html").read_bytes()
    expected = {f"a/{file.relative_to(runs[0])}" for file in Run(runs[0]).files()}
    assert names == expected | {"a/ro-crate-metadata.json"}
    assert not [name for name in names if "POTCAR" in name]
    again = stem2sim("export", runs[0], tmp_path / "run.zip")
    assert again.returncode == 2
    with pytest.raises(BadInput, match="is not a run folder"):
        archive(Run(tmp_path), tmp_path / "other.zip")
    for command in (("cite", tmp_path), ("diff", runs[0], tmp_path)):
        refused = stem2sim(*command)
        assert refused.returncode == 2
        assert "is not a run folder" in refused.stderr


STARTED = "/usr/lib/postgresql/*/bin"
RESULT = SimulationResult(
    structure=Structure(atoms=molecule("C6H6", vacuum=5)),
    energy=-1.0,
    forces=np.zeros((12, 3)),
    converged=True,
    made_by={"use": "xtb", "version": "stem2sim-xtb 0.1.0", "engine": "tblite 0.8.0"},
)


def described(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the entities of a crate by their ids; each is there once."""
    crate = json.loads((folder / "ro-crate-metadata.json").read_text())
    found = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(found) == len(crate["@graph"])
    return found


def ids(value: Any) -> list[str]:
    """Return what a property refers to."""
    return [one["@id"] for one in (value if isinstance(value, list) else [value])]


def actions(folder: Path) -> dict[str, dict[str, Any]]:
    return {at[1:]: one for at, one in described(folder).items() if one["@type"] == "CreateAction"}


def must(folder: Path) -> None:
    """Assert what RO-Crate 1.1 and Process Run Crate 0.5 say that a crate must have."""
    graph = described(folder)
    assert graph["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    root = graph["./"]
    assert {"name", "description", "datePublished", "license"} <= set(root)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", root["datePublished"])
    (profile,) = ids(root["conformsTo"])
    assert profile == "https://w3id.org/ro/wfrun/process/0.5"
    assert graph[profile]["@type"] == "CreativeWork"
    parts = set(ids(root["hasPart"]))
    assert parts == {at for at, one in graph.items() if one["@type"] == "File"}
    assert all((folder / unquote(at)).is_file() for at in parts)
    ran = {at for at, one in graph.items() if one["@type"] == "CreateAction"}
    assert set(ids(root["mentions"])) == ran
    for at in ran:
        (tool,) = ids(graph[at]["instrument"])
        assert graph[tool]["@type"] == "SoftwareApplication"
        assert all(other in graph for key in ("object", "result") if key in graph[at] for other in ids(graph[at][key]))


def test_the_crate_tells_which_software_made_which_file_of_which(runs: list[Path]) -> None:
    """Process Run Crate: each step is an action; the files of one are the inputs of the next, down to the start."""
    folder = runs[0]
    must(folder)
    graph, ran = described(folder), actions(folder)
    assert set(ran) == {"structure", "01-xtb", "02-aimd", "report"}
    assert "01-xtb/result.extxyz" in ids(ran["01-xtb"]["result"])
    assert "01-xtb/result.extxyz" in ids(ran["02-aimd"]["object"])
    assert "structure.extxyz" in ids(ran["01-xtb"]["object"])
    assert {"report.html", "results.db"} <= set(ids(ran["report"]["result"]))
    made = [at for one in ran.values() for at in ids(one["result"])]
    left = {at for at, one in graph.items() if one["@type"] == "File"} - set(made)
    assert left <= {"run.toml", "run.log", "state.json", "sessions.json"}, "every other file is some step's"
    assert len(made) == len(set(made)), "and of one only"
    assert all("run.toml" in ids(one["object"]) for one in ran.values())
    assert {one["actionStatus"] for one in ran.values()} == {"http://schema.org/CompletedActionStatus"}
    for action in ran.values():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", action["endTime"])
    (tool,) = ids(ran["02-aimd"]["instrument"])
    assert graph[tool]["softwareVersion"] == "0.1.0"
    (engine,) = ids(graph[tool]["softwareRequirements"])
    (program,) = ids(graph[engine]["softwareRequirements"])
    assert (graph[program]["name"], graph[program]["softwareVersion"]) == ("tblite", version("tblite"))


def test_the_crate_holds_every_option_and_seed(runs: list[Path]) -> None:
    graph, ran = described(runs[0]), actions(runs[0])
    for step, key, value in (
        ("01-xtb", "fmax", 0.05),
        ("02-aimd", "seed", 0),
        ("02-aimd", "engine.method", "GFN2-xTB"),
    ):
        (one,) = [graph[at] for at in ids(ran[step]["object"]) if graph[at].get("name") == key]
        assert (one["@type"], one["value"]) == ("PropertyValue", value)


def test_the_hashes_in_the_crate_are_those_of_the_files(runs: list[Path]) -> None:
    """Of all files of the run but those that go on growing, and of the input that lies outside of it."""
    graph = described(runs[0])
    files = {at: one for at, one in graph.items() if one["@type"] == "File"}
    for at, one in files.items():
        content = (runs[0] / unquote(at)).read_bytes()
        if at in ("run.log", "state.json", "sessions.json"):
            assert "sha256" not in one
        else:
            assert (one["sha256"], one["contentSize"]) == (sha256(content).hexdigest(), str(len(content)))
    start = runs[0].parent / "benzene.extxyz"
    (outside,) = [one for one in graph.values() if one["@type"] == "CreativeWork" and one.get("name") == start.name]
    assert outside["sha256"] == sha256(start.read_bytes()).hexdigest()
    assert outside["@id"] in ids(actions(runs[0])["structure"]["object"])


def test_writing_the_crate_adds_nothing_else(runs: list[Path], tmp_path: Path) -> None:
    """No preview and no copies; writing it again changes not a byte."""
    shutil.copytree(runs[0], tmp_path / "run")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*")}
    texts = []
    for _ in range(2):
        again = Run(tmp_path / "run")
        write_crate(again, again.files())
        texts.append((tmp_path / "run" / "ro-crate-metadata.json").read_bytes())
    after = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*")}
    assert {file.name for file, time in after.items() if before.get(file) != time} <= {"run", "ro-crate-metadata.json"}
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("failure", "step", "tool"),
    [
        ("02-aimd: the cell is too hot", "02-aimd", "stem2sim-aimd"),
        ("build/01-place: no atoms", "run", "stem2sim"),
        ("the disk is full", "run", "stem2sim"),
    ],
)
def test_a_failure_is_told_with_the_step_that_failed(
    runs: list[Path], tmp_path: Path, failure: str, step: str, tool: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs[0], folder)
    Run(folder).state.forget("02-aimd")
    stopped = Run(folder).under_way(failure)
    write_crate(stopped, stopped.files())
    must(folder)
    ran = actions(folder)
    failed = [name for name, one in ran.items() if one["actionStatus"].endswith("/FailedActionStatus")]
    assert failed == [step]
    assert ran[step]["error"] in failure
    assert tool in described(folder)[ids(ran[step]["instrument"])[0]]["name"]
    assert "result" not in ran[step]


def test_a_record_of_an_earlier_version_has_a_crate_too(runs: list[Path], tmp_path: Path) -> None:
    """It lacks what was added since, for which there are defaults."""
    copy = shutil.copytree(runs[0], tmp_path / "run")
    state = json.loads((copy / "state.json").read_text())
    old = {step: {key: value for key, value in record.items() if key != "partial"} for step, record in state.items()}
    (copy / "state.json").write_text(json.dumps(old))
    write_report(Run(copy))
    assert (copy / "ro-crate-metadata.json").read_text()


def test_a_variant_is_made_from_its_own_file(tmp_path: Path) -> None:
    """Of the several structures of a builder, each goes its own way, and the crate says which."""
    table = "x,y,species,probability,position_std\n"
    table += "".join(f"{x:.3f},{y:.3f},C,1,0.03\n" for x, y in molecule("C6H6").positions[:6, :2] + 5)
    (tmp_path / "atoms.csv").write_text(table)
    config = read_config(
        {
            "segment": {"use": "atoms-table", "path": str(tmp_path / "atoms.csv")},
            "build": [{"use": "place", "scale": "stated"}, {"use": "sample", "count": 2}, {"use": "hterm"}],
            "allow": ["close"],
        }
    )
    run(config, tmp_path / "run")
    must(tmp_path / "run")
    ran = actions(tmp_path / "run")
    built = [name for name in ran if name.startswith(("build/03", "structure"))]
    assert len(built) >= 4
    for name in built:
        (start,) = [at for at in ids(ran[name]["object"]) if at.endswith(".extxyz")]
        there = Structure.read(tmp_path / "run" / start)
        (end,) = ids(ran[name]["result"])
        made = Structure.read(tmp_path / "run" / end)
        carbon = there.atoms.symbols == "C"
        shift = made.atoms[made.atoms.symbols == "C"].positions - there.atoms[carbon].positions
        assert np.ptp(shift, axis=0).max() < 1e-6, "the same atoms, at most moved as a whole"
    assert len({str(ran[name]["object"]) for name in built}) == len(built)


def test_the_validator_finds_the_crate_valid(runs: list[Path]) -> None:
    """By `rocrate-validator`, where it is on the path: it cannot share an environment with stem2sim (rich < 14)."""
    validator = shutil.which("rocrate-validator")
    if validator is None:
        pytest.skip("no rocrate-validator: pipx install roc-validator")
    for profile in ("ro-crate-1.1", "process-run-crate-0.5"):
        command = [
            validator,
            "-y",
            "--disable-color",
            "validate",
            "--offline",
            "-np",
            "-p",
            profile,
            "--no-paging",
            "-v",
        ]
        done = subprocess.run([*command, str(runs[0])], capture_output=True, text=True, check=False)
        if "cache" in done.stdout + done.stderr and done.returncode:
            pytest.skip("rocrate-validator has no JSON-LD context here: rocrate-validator cache warm")
        assert f"is a valid {profile}" in done.stdout, done.stdout


def test_ase_lists_the_rows(runs: list[Path]) -> None:
    """`ase db results.db`: one row per result, with what to select it by."""
    columns = "formula,energy,+step,simulator,engine,converged"
    listed = subprocess.run(
        [Path(sys.executable).parent / "ase", "db", runs[0] / "results.db", "-c", columns],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    energies = [json.loads((runs[0] / s / "result.json").read_text())["energy"] for s in ("01-xtb", "02-aimd")]
    for line, step, energy in zip(listed.splitlines()[1:], ("01-xtb", "02-aimd"), energies, strict=False):
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[:3] == ["C6H6", f"{energy:.3f}", step]
        assert f"tblite {version('tblite')}" in cells
    assert "Rows: 2" in listed


@pytest.mark.parametrize("name", ["42", "1e5", "true", "tips & tricks"])
def test_any_folder_and_label_can_be_rows(tmp_path: Path, name: str) -> None:
    """ASE refuses text that reads as a number; people name folders so."""
    write_database(run_with(tmp_path / name, {"01-xtb/result.json": RESULT.model_copy(update={"label": name})}))
    (row,) = connect(tmp_path / name / "results.db").select()
    assert (row.step, row.data["label"], name in row.label, name in row.run) == ("01-xtb", name, True, True)


def test_no_results_make_an_empty_database(tmp_path: Path) -> None:
    write_database(run_with(tmp_path))
    assert len(connect(tmp_path / "results.db")) == 0


def test_passwords_stay_out_of_configs_and_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configured address with one is refused; only the environment may hold it, and no message shows it."""
    monkeypatch.delenv("STEM2SIM_DATABASE", raising=False)
    assert server_address(None) is None
    assert server_address("postgresql://me@host/db") == "postgresql://me@host/db"
    for address in ("postgresql://me:s3cret@host/db", "postgresql://host/db?user=me&password=s3cret"):
        with pytest.raises(BadInput, match=r"~/\.pgpass") as refused:
            server_address(address)
        assert "s3cret" not in str(refused.value)
        monkeypatch.setenv("STEM2SIM_DATABASE", address)
        assert server_address(None) == address
        monkeypatch.delenv("STEM2SIM_DATABASE")
    for address in ("results.db", "s3cret", "http://me:s3cret@host", "postgresql://me:s3cret@host:port/db"):
        with pytest.raises(BadInput, match="postgresql://user@host/database") as refused:
            server_address(address)
        assert "s3cret" not in str(refused.value)


def _written(run: Run, address: str) -> None:
    """Write the database of a run, and its rows on a server."""
    write_database(run)
    share(run, address)


def test_a_server_that_is_not_there_costs_no_results(tmp_path: Path) -> None:
    """One line, without the password; results.db is written."""
    pytest.importorskip("ase_db_backends", reason="needs ase-db-backends")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"postgresql://me:s3cret@127.0.0.1:{free.getsockname()[1]}/db"
    with pytest.raises(StageFailed, match=r"results\.db holds them") as failed:
        _written(run_with(tmp_path, {"01-xtb/result.json": RESULT}), address)
    assert "s3cret" not in str(failed.value)
    assert "\n" not in str(failed.value)
    assert len(connect(tmp_path / "results.db")) == 1


@pytest.fixture
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a private PostgreSQL server, on a socket of its own."""
    pytest.importorskip("ase_db_backends", reason="needs ase-db-backends")
    programs = os.pathsep.join([os.environ.get("PATH", ""), *glob(STARTED)])
    initdb, pg_ctl = (shutil.which(name, path=programs) for name in ("initdb", "pg_ctl"))
    if not (initdb and pg_ctl):
        pytest.skip("needs a PostgreSQL server: initdb and pg_ctl")
    folder = Path(mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has room for 107 characters
    user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        if not shutil.which("runuser"):
            pytest.skip("PostgreSQL does not run as root, and there is no runuser")
        user = ["runuser", "-u", "nobody", "--"]
        shutil.chown(folder, "nobody")

    def work(*command: str | None) -> None:
        subprocess.run([*user, *map(str, command)], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    try:
        work(initdb, "-D", f"{folder}/data", "-A", "trust", "-U", "stem2sim", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        work(pg_ctl, "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", options, "-w", "start")
        try:
            yield f"postgresql://stem2sim@/postgres?host={folder}"
        finally:
            work(pg_ctl, "-D", f"{folder}/data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def test_a_server_holds_each_run_once(postgresql: str, tmp_path: Path) -> None:
    """Written again, a run's rows are replaced; another run's, and foreign ones, stay as they are."""
    connect(postgresql).write(molecule("H2O"), name="foreign")
    first, second = tmp_path / "first", tmp_path / "second"
    _written(run_with(first, {"01-xtb/result.json": RESULT, "02-aimd/result.json": RESULT}), postgresql)
    _written(run_with(second, {"01-xtb/result.json": RESULT}), postgresql)
    kept = {row.id for row in connect(postgresql).select() if row.get("run") != "first"}
    changed = RESULT.model_copy(update={"energy": -2.0})
    for _ in range(2):
        _written(run_with(first, {"01-xtb/result.json": changed}), postgresql)
    rows = list(connect(postgresql).select())
    assert [row.energy for row in rows if row.get("run") == "first"] == [-2.0]
    assert {row.id for row in rows if row.get("run") != "first"} == kept
    assert rows[-1].forces == pytest.approx(np.zeros((12, 3)))
    copied = tmp_path / "copied"
    shutil.copytree(first, copied)
    _written(run_with(copied), postgresql)
    assert connect(postgresql).count(run="first") == 1, "a copy is another run"


def test_a_write_to_a_server_that_fails_changes_nothing(postgresql: str, tmp_path: Path) -> None:
    """All of a run's rows or none: the old ones are still there when the second of the new ones cannot be written."""
    _written(run_with(tmp_path, {"01-xtb/result.json": RESULT}), postgresql)
    broken = RESULT.model_copy(update={"made_by": {"use": "xtb", "odd": object()}})
    changed = RESULT.model_copy(update={"energy": -3.0})
    now = run_with(tmp_path, {"01-xtb/result.json": changed, "02-xtb/result.json": broken})
    with pytest.raises(StageFailed):
        share(now, postgresql)
    assert [row.energy for row in connect(postgresql).select()] == [-1.0]


def test_runs_that_end_together_do_not_mix(postgresql: str, tmp_path: Path) -> None:
    """Eight runs write to a fresh server at once: each row's keys are its own."""
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda k: _written(run_with(tmp_path / f"run-{k}", {f"{k:02d}-xtb/result.json": RESULT}), postgresql),
                range(8),
            )
        )
    database = connect(postgresql)
    assert database.count() == 8
    for k in range(8):
        (row,) = database.select(run=f"run-{k}")
        assert row.step == f"{k:02d}-xtb"
