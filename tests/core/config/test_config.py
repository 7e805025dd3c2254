from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import jsonschema
import pytest
from pydantic import Field

from stem2sim.builtin.atoms_table import AtomsTableSegmenter
from stem2sim.config.config import Changes, parse, read_config
from stem2sim.config.defaults import DEFAULTS
from stem2sim.config.explain import commented_toml, options
from stem2sim.config.schema import schema
from stem2sim.config.tree import read_toml, set_option
from stem2sim.errors import BadInput
from stem2sim.options import recorded_paths, table_with_paths
from stem2sim.registry import installed
from stem2sim.stages import Builder
from stem2sim_aimd.aimd import Aimd
from stem2sim_xtb.xtb import Xtb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.segmentation import Segmentation
    from stem2sim.structure import Structure

IMAGE = {"image": {"path": "frame.npy", "pixel_size": 0.1}}


def test_the_resolved_config_makes_the_same_pipeline_again() -> None:
    config = read_config({**copy.deepcopy(DEFAULTS), **IMAGE})
    again = read_config(tomllib.loads(config.to_toml()))
    assert again == config
    assert again.fingerprint() == config.fingerprint()


def test_resolved_configs_satisfy_the_schema() -> None:
    """The schema of the installed plugins accepts what they write, and refuses a wrong option."""
    tree = tomllib.loads(read_config({**copy.deepcopy(DEFAULTS), **IMAGE}).to_toml())
    jsonschema.validate(tree, schema())
    tree["simulate"][1]["engine"]["no-such"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, schema())


def test_set_reaches_every_option() -> None:
    tree: dict[str, Any] = copy.deepcopy(DEFAULTS)
    for assignment in (
        "simulate.1.temperature=500",
        "simulate.1.engine.method=GFN2-xTB",
        "image.path=a.npy",
        "build.1.center=[3.0, 4.5]",
    ):
        set_option(tree, assignment)
    config = read_config(tree)
    assert config.simulate[1].temperature == 500  # type: ignore[attr-defined]
    assert config.simulate[1].engine.method == "GFN2-xTB"  # type: ignore[attr-defined]
    assert config.build[1].center == (3.0, 4.5)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("temperature", "takes dotted.key=value"),
        (
            "simulate.7.temperature=1",
            r"--set simulate\.7: there is no simulate\.7; simulate\.0 is xtb, simulate\.1 is aimd",
        ),
        ("simulate.amd.steps=1", r"no simulate\.amd; simulate\.0 is xtb, simulate\.1 is aimd; did you mean 'aimd'\?"),
        ("simulate.1.temperature=-5", r"simulate\.1\.temperature: a temperature must be positive, got -5 K"),
        (
            "simulate.1.temprature=5",
            r"simulate\.1\.temprature: unknown option; aimd takes .*did you mean 'temperature'",
        ),
        ("simulate.0.use=vasq", r"simulate\.0: no simulator named 'vasq'; installed: "),
        ("simulate.0.method=GFN3", "GFN1-xTB"),
        ("simulate.1.engine.use=aimd", "'aimd' is not an engine .it provides no forces.; engines: "),
        ("simulate.1.engine.fmx=1", r"simulate\.1\.engine: fmx: unknown option; xtb takes"),
        ("simulate.0.accuracy=1000", "accuracy"),
        ("segment=3", "say which segmenter"),
        ("image.path=3", r"image\.path: input should be a path in quotes, got 3"),
        ("build=3", r"write \[\[build\]\]"),
        ("sement.use=unet", "unknown section 'sement'; .*did you mean 'segment'"),
        ("image.pixel_size=0", "image.pixel_size: input should be greater than 0, got 0"),
    ],
)
def test_every_mistake_names_its_place_and_what_would_do(assignment: str, message: str) -> None:
    tree: dict[str, Any] = {**copy.deepcopy(DEFAULTS), **copy.deepcopy(IMAGE)}

    def configure() -> None:
        set_option(tree, assignment)
        read_config(tree)

    with pytest.raises(BadInput, match=message) as caught:
        configure()
    assert "\n" not in str(caught.value)


def test_all_mistakes_of_a_config_come_in_one_error() -> None:
    """In the sections, in the options of stages and of engines within them, and in what the command line sets."""
    tree = {
        "image": {"path": "frame.npy", "pixel_sise": 0.1, "frame": -1},
        "segmnt": {},
        "segment": {"use": "unnet"},
        "build": [{"use": "place"}, {"use": "patch", "sise": 60}],
        "simulate": [{"use": "xtb", "fmx": 1, "max_steps": 0}, {"use": "aimd", "engine": {"use": "xtb", "metod": 1}}],
        "allow": ["clos"],
    }
    with pytest.raises(BadInput) as caught:
        parse(tree, Changes(assignments=["simulate.aimd.stps=5", "simulate.vasp.encut=400"]))
    text = str(caught.value)
    assert text.startswith("11 mistakes: (1) --set simulate.vasp: there is no simulate.vasp; simulate.0 is xtb, ")
    for mistake in (
        "image.pixel_sise: unknown option",
        "image.frame: input should be greater than or equal to 0",
        "unknown section 'segmnt'",
        "no segmenter named 'unnet'",
        "build.1.sise: unknown option; patch takes",
        "simulate.0.fmx: unknown option",
        "simulate.0.max_steps: input should be",
        "simulate.1.stps: unknown option",
        "simulate.1.engine: metod: unknown option",
        "allow: no check named 'clos'",
    ):
        assert mistake in text
    assert text.count("did you mean") == 8
    assert "\n" not in text


def test_set_finds_a_stage_by_its_name_where_it_has_it_alone() -> None:
    tree: dict[str, Any] = {**copy.deepcopy(DEFAULTS), "simulate": ["xtb", "aimd", "xtb"], "build": ["place", "patch"]}
    set_option(tree, "simulate.aimd.steps=800")
    set_option(tree, "build.patch.size=30")
    assert tree["simulate"][1] == {"use": "aimd", "steps": 800}
    assert tree["build"][1] == {"use": "patch", "size": 30}
    with pytest.raises(BadInput, match=r"several stages have this name; simulate\.0 is xtb, .*, simulate\.2 is xtb$"):
        set_option(tree, "simulate.xtb.fmax=0.1")


def test_an_accuracy_too_loose_for_fmax_is_refused() -> None:
    with pytest.raises(BadInput, match=r"use accuracy <= 0\.2"):
        read_config({**IMAGE, "simulate": [{"use": "xtb", "fmax": 1e-3, "accuracy": 1.0}]})


def test_relative_paths_count_from_the_config(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[image]\npath = "frame.npy"\n')
    assert read_toml(tmp_path / "a.toml")["image"]["path"] == str(tmp_path / "frame.npy")


def test_options_that_are_paths_count_from_the_config_whatever_they_are_called(tmp_path: Path) -> None:
    """Their type says which they are, in stages and in engines within stages; a config may lie anywhere."""
    (tmp_path / "a.toml").write_text(
        'image = { path = "frame.npy" }\nsegment = { use = "unet", weights = "nets/mine" }\n'
        '[[build]]\nuse = "adsorb"\npath = "guest.xyz"\n'
        '[[simulate]]\nuse = "aimd"\nengine = { use = "vasp", potentials = "paw", job = "/etc/job.sh" }\n'
    )
    config = parse(read_toml(tmp_path / "a.toml"))
    engine = config.simulate[0].engine  # type: ignore[attr-defined]
    assert config.segment.weights == tmp_path / "nets" / "mine"  # type: ignore[union-attr]
    assert config.build[0].path == tmp_path / "guest.xyz"  # type: ignore[attr-defined]
    assert (engine.potentials, engine.job) == (tmp_path / "paw", Path("/etc/job.sh"))
    made = config.simulate[0].model_dump(mode="json")
    assert recorded_paths("simulator", made) == [tmp_path / "paw", Path("/etc/job.sh")]


def test_the_content_of_a_file_that_an_option_names_counts(tmp_path: Path) -> None:
    """By default, for every stage: the same name with other content is another input."""
    (tmp_path / "atoms.csv").write_text("x,y,species\n0,0,C\n")
    table = AtomsTableSegmenter(path=tmp_path / "atoms.csv")
    before = table.input_fingerprint()
    (tmp_path / "atoms.csv").touch()
    assert before
    assert table.input_fingerprint() == before
    (tmp_path / "atoms.csv").write_text("x,y,species\n0,0,Si\n")
    assert table.input_fingerprint() != before


class Deep(Builder):
    """Takes paths in every way an option can."""

    name: ClassVar[str] = "deep"
    tables: dict[str, tuple[Path, ...]] = Field(default_factory=dict)
    either: Literal["small", "large"] | Path | None = None
    text: Path | str = ""

    def build(self, structure: Structure, segmentation: Segmentation) -> Iterator[Structure]:
        raise NotImplementedError


def test_paths_are_found_however_deep_and_texts_are_left(tmp_path: Path) -> None:
    table = {"tables": {"C": ["a", "/b"]}, "either": "c", "text": "d"}
    found = table_with_paths(Deep, table, lambda path: str(tmp_path / path))
    assert found["tables"] == {"C": [str(tmp_path / "a"), "/b"]}
    assert (found["either"], found["text"]) == (str(tmp_path / "c"), "d")
    assert table_with_paths(Deep, {"either": "small"}, lambda _: "wrong") == {"either": "small"}


def test_the_content_of_files_counts_however_deep_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    deep = Deep(tables={"C": (tmp_path / "a",)}, either=tmp_path / "missing")
    before = deep.input_fingerprint()
    (tmp_path / "a").write_text("2")
    assert before != deep.input_fingerprint() != ""
    assert Deep(either="small").input_fingerprint() == ""


def test_files_that_an_engine_reads_count_for_the_simulator_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aimd = Aimd(engine=Xtb())
    assert aimd.input_fingerprint() == ""
    monkeypatch.setattr(Xtb, "input_fingerprint", lambda _: "of its parameters")
    assert aimd.input_fingerprint() == "of its parameters"
    (tmp_path / "job.sh").write_text("sh run-vasp.sh")
    config = parse(None, Changes({**IMAGE, "simulate": [{"use": "vasp", "job": str(tmp_path / "job.sh")}]}))
    assert config.simulate[0].input_fingerprint() == ""  # it says where, not what


def test_allow_wins_over_an_assignment() -> None:
    config = parse(None, Changes(IMAGE, assignments=['allow=["lattice"]'], allow=["close"]))
    assert config.allow == ("close",)


def test_engine_flag_reaches_a_simulator_given_by_its_name_alone() -> None:
    config = parse({**IMAGE, "segment": "peaks", "simulate": ["aimd"]}, Changes(engine="xtb"))
    assert config.simulate[0].engine.name == "xtb"  # type: ignore[attr-defined]


def test_engine_flag_reaches_the_simulators_that_take_one() -> None:
    flags = {**IMAGE, "simulate": [{"use": "xtb"}, {"use": "aimd"}]}
    config = parse(None, Changes(flags, engine="xtb"))
    assert config.simulate[1].engine.name == "xtb"  # type: ignore[attr-defined]


def test_init_writes_a_config_that_runs() -> None:
    """As it stands it parses to the defaults; with every comment sign taken away it is still valid TOML."""
    text = commented_toml("frame.npy", None, None, None, None)
    config = read_config(tomllib.loads(text))
    expected = read_config({**copy.deepcopy(DEFAULTS), "image": {"path": "frame.npy"}})
    assert config == expected
    bare = "\n".join(
        line.removeprefix("# ") if " = " in line and " = ..." not in line else line for line in text.split("\n")
    )
    assert read_config(tomllib.loads(bare)) == expected


def test_every_option_of_every_stage_is_described() -> None:
    for offer in installed().offers:
        for option in options(offer.stage):
            assert option.description, f"{offer.stage.name}.{option.name}"
            assert option.type, f"{offer.stage.name}.{option.name}"
