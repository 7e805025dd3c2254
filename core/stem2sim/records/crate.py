"""The folder as an RO-Crate: which software made which file of which, with every option, seeds among them.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1), profile Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process/0.5): one
`CreateAction` per step that ran. The run folder is the crate's root; nothing in it is copied or changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stem2sim import __version__
from stem2sim.config.config import PATHS
from stem2sim.config.tree import SECTIONS, read_toml
from stem2sim.files import write_text
from stem2sim.records.database import DATABASE
from stem2sim.run.folder import ATOMS, CONFIG, LICENSED, LOG, REPORT, SEGMENTATION, STATE, RunFolder
from stem2sim.run.sessions import SESSIONS
from stem2sim.segmentation import Segmentation
from stem2sim.simulation import SimulationResult
from stem2sim.structure import Structure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rocrate.rocrate import ROCrate

CRATE = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"

GROWING = {LOG, STATE, SESSIONS}
"""Written to after the crate is: their sizes and hashes would not be those of the files that the reader finds."""

FORMATS = {
    ".csv": "text/csv", ".db": "application/vnd.sqlite3", ".dm3": "application/octet-stream",
    ".dm4": "application/octet-stream", ".extxyz": "chemical/x-xyz", ".h5": "application/x-hdf5", ".html": "text/html",
    ".json": "application/json", ".npz": "application/zip", ".png": "image/png", ".tif": "image/tiff",
    ".toml": "application/toml", ".traj": "application/octet-stream", ".xml": "application/xml",
}  # fmt: skip
"""Media type by suffix; what is not here and holds no null byte is text."""

KINDS = {
    CONFIG: "the resolved config of the run: every option of every step",
    STATE: "what of the run is up to date: steps with the hashes of their inputs",
    LOG: "what was done when",
    SESSIONS: "when the run was worked on, and how that ended",
    ATOMS: "the atoms that were found: positions [Å], species, probability",
    SEGMENTATION: "the atoms, and the maps of class probabilities that they were found in",
    REPORT: "the report: one page of what was found, built and simulated",
    DATABASE: "the results as a database of ASE (SQLite)",
}

MOST_FILES = 100
"""Of a folder that is an input; what holds more is named and not hashed."""


@dataclass
class Step:
    """One step that ran, as the crate tells it."""

    name: str
    title: str
    made: dict[str, Any]
    """Name of the stage (`use`), its options, its version, and its engine."""
    results: list[Path]
    inputs: list[Path] = field(default_factory=list)
    """Files of the run and from outside of it; the config is one of every step."""
    fingerprint: str = ""
    """Hash of everything that went into it."""
    told: str = ""
    status: str = "Completed"
    error: str = ""


def write_crate(folder: Path, title: str, made: str, files: Iterable[Path], failure: str = "") -> None:
    """Write `ro-crate-metadata.json`.

    Args:
        folder: of the run.
        title: what the run is about, such as the name of its image.
        made: when the report was written, an ISO 8601 date first.
        files: to name, all in `folder`.
        failure: what ended the run before its time, `<step>: <message>`; '' where it came to its end.
    """
    from rocrate.rocrate import ROCrate  # a fifth of a second to import

    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms["sha256"] = "http://schema.org/sha256"  # newer than the context of RO-Crate 1.1
    crate.name = f"stem2sim run on {title}"
    crate.description = "Atoms found in a STEM frame, structures built from them, and simulations of these."
    crate.datePublished = made[:10]
    root = crate.root_dataset
    root["license"] = _entity(
        crate,
        "#licence",
        "CreativeWork",
        name="no licence stated",
        description="Whoever made this run has not stated how it may be used; ask them.",
    )
    root["conformsTo"] = _entity(crate, PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
    listed = set(files)
    for file in sorted(listed):
        _file(crate, folder, file)
    tree = read_toml(folder / CONFIG)
    failed = [_failed(tree, failure)] if failure else []
    steps = [one for one in _finished(folder, tree, listed) if one.name not in {step.name for step in failed}] + failed
    root["mentions"] = [_action(crate, folder, step) for step in steps]
    write_text(folder / CRATE, json.dumps(crate.metadata.generate(), indent=1, ensure_ascii=False))


def _finished(folder: Path, tree: dict[str, Any], listed: set[Path]) -> Iterator[Step]:
    """Yield the steps of a run folder in the order they ran in, the report last."""
    run = RunFolder(folder)
    known = json.loads((folder / STATE).read_bytes()) if (folder / STATE).is_file() else {}
    order = ("segment", "build", "structure")
    current = sorted(run.current().items(), key=lambda one: (*(not one[0].startswith(s) for s in order), one[0]))
    all_files = run.all_files()
    for name, files in current:
        if name == REPORT:
            continue
        record = known[name]
        more = {"fingerprint": record["inputs"], "status": "Active" if record.get("partial", False) else "Completed"}
        if name == "segment":
            frame = {f"image.{key}": value for key, value in tree.get("image", {}).items()}
            given = [Path(tree["image"]["path"])] if frame else []
            segmentation = Segmentation.load(files[0])
            told = ", ".join(f"{count} {species}" for species, count in segmentation.atoms.counts().items())
            options = {**segmentation.made_by, **frame}
            yield Step(name, "find the atoms", options, files, given, told=f"found: {told}", **more)
        elif name.startswith("build/"):
            use = _builder(name, tree)
            history = [one for one in Structure.read(files[0]).history if one.get("use") == use]
            options = history[-1] if history else {"use": use}
            inputs = _before(folder, name, record.get("after", ""), known, tree)
            yield Step(name, f"build: {use}", options, files, inputs, **more)
        elif name.startswith("structure"):
            options = {"use": "cell and checks", "version": f"stem2sim {__version__}", "allow": tree.get("allow", [])}
            inputs = _before(folder, name, record.get("after", ""), known, tree)
            yield Step(name, "make the structure to simulate", options, files, inputs, **more)
        else:
            results = [SimulationResult.read(file) for file in files if file.suffix == ".json"]
            starts = dict.fromkeys(one.started_from for one in results)
            inputs = [folder / start if start else Path(tree["structure"]) for start in starts]
            own = sorted(all_files & set((folder / name).rglob("*")))
            told = "; ".join(f"{one.label}: {one.reason}".removeprefix(": ") for one in results)
            options = {**results[0].made_by, **results[0].details}
            yield Step(name, f"simulate: {options.get('use', name)}", options, own, inputs, told=told, **more)
    others = {folder / name for name in (CONFIG, *GROWING)} | {file for _, own in current for file in own}
    others |= {file for name, _ in current for file in (folder / name).rglob("*")}
    written = sorted((listed - others) | ({folder / REPORT} & listed))
    read = [file for name, files in current for file in files if not name.startswith(("build/", REPORT))]
    made = {"use": "report", "version": f"stem2sim {__version__}"}
    yield Step("report", "write the report", made, written, read)


def _before(folder: Path, name: str, after: str, known: dict[str, Any], tree: dict[str, Any]) -> list[Path]:
    """The file that a builder started from: of the variants of the step before it, the one it bears the name of."""
    if after == "segment":
        return [folder / ATOMS]
    if not after:
        return [Path(tree["structure"])] if "structure" in tree else []
    files = [folder / file for file in known.get(after, {}).get("files", [])]
    if len(files) < 2:
        return files
    own = _label(name, tree).removeprefix(_label(after, tree)).removeprefix("-")
    named = [file for file in files if Structure.read(file).label == own]
    numbered = [file for file in files if file.stem.endswith(f".{own}")]
    return named[:1] or numbered or files


def _label(step: str, tree: dict[str, Any]) -> str:
    """Which variant a step is of: `top-0` of `build/03-cell-top-0`."""
    stem = f"{step[:9]}{_builder(step, tree)}" if step.startswith("build/") else "structure"
    return step.removeprefix(stem).removeprefix("-")


def _builder(step: str, tree: dict[str, Any]) -> str:
    """The name of the stage of `build/NN-<name>`."""
    return str(tree["build"][int(step[6:8]) - 1]["use"])


def _failed(tree: dict[str, Any], failure: str) -> Step:
    """The step that ended a run: known from the config, with the version that is installed."""
    name, _, message = failure.partition(": ")
    place = re.fullmatch(r"(build/)?(\d\d)-.+", name)
    section = "segment" if name == "segment" else "" if not place else "build" if place[1] else "simulate"
    given = tree.get(section, {})
    if place:
        number = int(place[2]) - 1
        given = given[number] if number < len(given) else {}
    if "use" not in given:
        own = {"use": "run", "version": f"stem2sim {__version__}"}
        return Step("run", "run the pipeline", own, [], status="Failed", error=failure)
    made: dict[str, Any] = {**given, **_installed(section, given["use"])}
    if isinstance(given.get("engine"), dict):
        made["engine"] = {**given["engine"], **_installed(section, str(given["engine"].get("use")))}
    return Step(name, f"{section}: {given['use']}", made, [], status="Failed", error=message or failure)


def _installed(section: str, use: str) -> dict[str, str]:
    from stem2sim.registry import installed

    found = [o for o in installed().offers if o.kind == SECTIONS[section] and o.stage.name == use]
    return {"version": f"{found[0].distribution} {found[0].version}"} if found else {}


def _action(crate: ROCrate, folder: Path, step: Step) -> Any:
    """Add what a step did, with its options, inputs, results and software."""
    options = dict(_leaves({key: value for key, value in step.made.items() if key not in ("use", "version")}))
    options = {key: value for key, value in options.items() if value is not None}
    here = f"#{quote(step.name)}"
    values = [
        _entity(crate, f"{here}/{quote(key)}", "PropertyValue", name=key, value=value) for key, value in options.items()
    ]
    if step.fingerprint:
        told = "hash of everything that went into the step: options, versions, and all that was read"
        at = f"{here}/inputs"
        values.append(_entity(crate, at, "PropertyValue", name="inputs", value=step.fingerprint, description=told))
    paths = [value for key, value in options.items() if key.rpartition(".")[2] in (*PATHS, "weights")]
    outside = [Path(value) for value in paths if isinstance(value, str) and value]
    named = dict.fromkeys(file.resolve() for file in (folder / CONFIG, *step.inputs, *outside))
    inputs = [_input(crate, folder.resolve(), file) for file in named]
    settings = ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())
    more: dict[str, Any] = {"error": step.error} if step.error else {}
    if step.results:
        more["result"] = [_file(crate, folder, file) for file in step.results]
        ended = max(file.stat().st_mtime for file in step.results)
        more["endTime"] = datetime.fromtimestamp(ended, UTC).isoformat(timespec="seconds")
    return _entity(
        crate,
        here,
        "CreateAction",
        name=step.title,
        description="; ".join(filter(None, (step.told, settings))) or step.title,
        instrument=_stage(crate, step.made),
        object=[*inputs, *values],
        actionStatus=f"http://schema.org/{step.status}ActionStatus",
        **more,
    )


def _stage(crate: ROCrate, made: dict[str, Any]) -> Any:
    """Add the software of a stage: name, version and distribution, and the engine that it needs."""
    use = str(made.get("use", "unknown"))
    distribution, _, version = str(made.get("version", "")).rpartition(" ")
    engine = made.get("engine")
    needed = []
    if isinstance(engine, dict):
        needed.append(_stage(crate, engine))
    elif engine:
        program, _, release = str(engine).partition(" ")
        needed.append(_software(crate, program, program, release, program))
    name = f"{use} ({distribution})" if distribution else use
    return _software(crate, "-".join(filter(None, (distribution, use))), name, version, distribution, needed)


def _software(crate: ROCrate, key: str, name: str, version: str, distribution: str, needed: Iterable[Any] = ()) -> Any:
    more: dict[str, Any] = {"softwareVersion": version} if version else {}
    url = _homepage(distribution)
    more |= {"url": url} if url else {}
    more |= {"softwareRequirements": list(needed)} if needed else {}
    at = quote("-".join(filter(None, (key, version))))
    return _entity(crate, f"#software/{at}", "SoftwareApplication", name=name, **more)


def _homepage(distribution: str) -> str:
    """Where a Python distribution says that it lives; '' for one that is not installed or does not say."""
    try:
        about = metadata(distribution) if distribution else None
    except (PackageNotFoundError, ValueError):
        return ""
    told = [] if about is None else [*(about.get_all("Home-page") or []), *(about.get_all("Project-URL") or [])]
    stated = [text.rpartition(", ")[2] for text in told]
    return next((url for url in stated if url.startswith(("https://", "http://"))), "")


def _input(crate: ROCrate, folder: Path, path: Path) -> Any:
    """Add an input: a file of the run, or one from outside of it by name and hash."""
    if path.is_relative_to(folder):
        return _file(crate, folder, path)
    told = "an input from outside of the run folder, not copied"
    more: dict[str, Any] = {"encodingFormat": _format(path)} if path.is_file() else {}
    if path.name in LICENSED:
        more, told = {}, f"{told}; licensed, and known by its title and hash"
    elif path.is_file():
        more |= {"contentSize": str(path.stat().st_size), "sha256": _sha256(path)}
    elif path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.is_file())
        if len(inside) <= MOST_FILES and not any(file.name in LICENSED for file in path.rglob("*")):
            lines = "".join(f"{_sha256(file)}  {file.name}\n" for file in inside)
            more, told = {"sha256": sha256(lines.encode()).hexdigest()}, f"{told}; hash of what sha256sum prints in it"
    else:
        told += "; no longer there when this was written"
    key = quote(f"{path.name}-{more['sha256'][:12]}" if "sha256" in more else path.name)
    return _entity(crate, f"#input/{key}", "CreativeWork", name=path.name, description=told, **more)


def _file(crate: ROCrate, folder: Path, file: Path) -> Any:
    """Add a file of the run, once."""
    name = file.relative_to(folder).as_posix()
    known = crate.get(quote(name))
    if known is not None:
        return known
    described = {"name": name, "encodingFormat": _format(file)}
    if name in KINDS:
        described["description"] = KINDS[name]
    if name not in GROWING:
        described |= {"contentSize": str(file.stat().st_size), "sha256": _sha256(file)}
    return crate.add_file(dest_path=name, properties=described)


def _format(file: Path) -> str:
    known = FORMATS.get(file.suffix.lower())
    if known:
        return known
    with file.open("rb") as opened:
        return "application/octet-stream" if b"\0" in opened.read(4096) else "text/plain"


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def _entity(crate: ROCrate, at: str, type_: str, **properties: Any) -> Any:
    from rocrate.model import ContextEntity

    known = crate.get(at)
    if known is not None:
        return known
    single = {key: v[0] if isinstance(v, list) and len(v) == 1 else v for key, v in properties.items()}
    return crate.add(ContextEntity(crate, at, {"@type": type_, **single}))


def _leaves(tree: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every option by its dotted key; what is a list is told as JSON."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{at}.{key}" if at else str(key))
    else:
        yield at, json.dumps(tree, ensure_ascii=False) if isinstance(tree, list | tuple) else tree
