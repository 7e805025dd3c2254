"""What a run leaves for others: citations, differences, archives."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest
from ase.build import molecule
from tests.conftest import stem2sim

from stem2sim.archive import archive
from stem2sim.citations import entries
from stem2sim.config import read_engine
from stem2sim.difference import differences
from stem2sim.errors import BadInput
from stem2sim.registry import installed
from stem2sim.runfolder import RunFolder
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from pathlib import Path

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
    assert entries("stem2sim", ()) == {}


def test_equal_runs_do_not_differ(runs: list[Path]) -> None:
    assert differences(runs[0], runs[1]) == []
    assert stem2sim("diff", runs[0], runs[1]).stdout == "no difference\n"


def test_a_changed_option_and_the_numbers_it_changed_are_named(runs: list[Path]) -> None:
    """The only option is fmax; the relaxation's numbers changed, and those of the dynamics that start from its end."""
    found = differences(runs[0], runs[2])
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
    expected = {f"a/{file.relative_to(runs[0])}" for file in RunFolder(runs[0]).all_files()}
    assert names == expected | {"a/ro-crate-metadata.json"}
    assert not [name for name in names if "POTCAR" in name]
    again = stem2sim("export", runs[0], tmp_path / "run.zip")
    assert again.returncode == 2
    with pytest.raises(BadInput, match="is not a run folder"):
        archive(tmp_path, tmp_path / "other.zip")
    for command in (("cite", tmp_path), ("diff", runs[0], tmp_path)):
        refused = stem2sim(*command)
        assert refused.returncode == 2
        assert "is not a run folder" in refused.stderr
