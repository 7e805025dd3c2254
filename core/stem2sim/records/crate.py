"""The folder as an RO-Crate: which software made which file of which, with every option, seeds among them.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1), profile Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process/0.5): one
`CreateAction` per step that ran. The run folder is the crate's root; nothing in it is copied or changed.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stem2sim.config.tree import settings
from stem2sim.files import write_text
from stem2sim.records.actions import Action, actions
from stem2sim.runs.names import (
    ATOMS,
    CONFIG,
    CRATE,
    DATABASE,
    DRIFT,
    EVENTS,
    GROWING,
    LICENSED,
    LOG,
    REPORT,
    SEGMENTATION,
    SESSIONS,
    STATE,
    TRACKING,
    TRACKS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rocrate.rocrate import ROCrate

    from stem2sim.runs.run import Run

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"

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
    TRACKS: "every atom of every frame: track, positions [Å], species, probability",
    EVENTS: "appearance and disappearance of atoms, and changes of species",
    DRIFT: "drift of the specimen in each frame [Å]",
    TRACKING: "what was tracked, and with which options",
    DATABASE: "the results as a database of ASE (SQLite)",
}

MOST_FILES = 100
"""Of a folder that is an input; what holds more is named and not hashed."""


def write_crate(run: Run, files: Iterable[Path]) -> None:
    """Write `ro-crate-metadata.json`.

    Args:
        run: of the folder.
        files: to name, all in the folder.
    """
    from rocrate.rocrate import ROCrate  # a fifth of a second to import

    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms["sha256"] = "http://schema.org/sha256"  # newer than the context of RO-Crate 1.1
    crate.name = f"stem2sim run on {run.title}"
    crate.description = "Atoms found in a STEM image, structures built from them, and simulations of these."
    crate.datePublished = datetime.now(UTC).strftime("%Y-%m-%d")
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
    ran = list(actions(run, listed))  # before any file is hashed: what is read for them is hashed on the way
    for file in sorted(listed):
        _file(crate, run, file)
    root["mentions"] = [_action(crate, run, action) for action in ran]
    write_text(run.folder / CRATE, json.dumps(crate.metadata.generate(), indent=1, ensure_ascii=False))


def _action(crate: ROCrate, run: Run, action: Action) -> Any:
    """Add what a step did, with its options, inputs, results and software."""
    made = {key: value for key, value in action.made.items() if key not in ("use", "version")}
    options = {
        key: json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else value
        for key, value in settings(made)
        if value is not None
    }
    here = f"#{quote(action.name)}"
    values = [
        _entity(crate, f"{here}/{quote(key)}", "PropertyValue", name=key, value=value) for key, value in options.items()
    ]
    if action.fingerprint:
        what = "hash of everything that went into the step: options, versions, and all that was read"
        at = f"{here}/inputs"
        values.append(_entity(crate, at, "PropertyValue", name="inputs", value=action.fingerprint, description=what))
    named = dict.fromkeys(file.resolve() for file in (run.folder / CONFIG, *action.inputs))
    stated = ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())
    more: dict[str, Any] = {"error": action.error} if action.error else {}
    if action.results:
        more["result"] = [_file(crate, run, file) for file in action.results]
        ended = max(file.stat().st_mtime for file in action.results)
        more["endTime"] = datetime.fromtimestamp(ended, UTC).isoformat(timespec="seconds")
    return _entity(
        crate,
        here,
        "CreateAction",
        name=action.title,
        description="; ".join(filter(None, (action.description, stated))) or action.title,
        instrument=_stage(crate, action.made),
        object=[*(_input(crate, run, file) for file in named), *values],
        actionStatus=f"http://schema.org/{action.status}ActionStatus",
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
    links = [] if about is None else [*(about.get_all("Home-page") or []), *(about.get_all("Project-URL") or [])]
    stated = [text.rpartition(", ")[2] for text in links]
    return next((url for url in stated if url.startswith(("https://", "http://"))), "")


def _input(crate: ROCrate, run: Run, path: Path) -> Any:
    """Add an input: a file of the run, or one from outside of it by name and hash."""
    folder = run.folder.resolve()
    if path.is_relative_to(folder):
        return _file(crate, run, run.folder / path.relative_to(folder))
    description = "an input from outside of the run folder, not copied"
    more: dict[str, Any] = {"encodingFormat": _format(path, run)} if path.is_file() else {}
    if path.name in LICENSED:
        more, description = {}, f"{description}; licensed, and known by its title and hash"
    elif path.is_file():
        more |= {"contentSize": str(path.stat().st_size), "sha256": run.contents.sha256(path)}
    elif path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.is_file())
        if len(inside) <= MOST_FILES and not any(file.name in LICENSED for file in path.rglob("*")):
            lines = "".join(f"{run.contents.sha256(file)}  {file.name}\n" for file in inside)
            more, description = (
                {"sha256": sha256(lines.encode()).hexdigest()},
                f"{description}; hash of what sha256sum prints in it",
            )
    else:
        description += "; no longer there when this was written"
    key = quote(f"{path.name}-{more['sha256'][:12]}" if "sha256" in more else path.name)
    return _entity(crate, f"#input/{key}", "CreativeWork", name=path.name, description=description, **more)


def _file(crate: ROCrate, run: Run, file: Path) -> Any:
    """Add a file of the run, once."""
    name = file.relative_to(run.folder).as_posix()
    known = crate.get(quote(name))
    if known is not None:
        return known
    described = {"name": name, "encodingFormat": _format(file, run)}
    if name in KINDS:
        described["description"] = KINDS[name]
    if name not in GROWING:
        described |= {"contentSize": str(file.stat().st_size), "sha256": run.contents.sha256(file)}
    return crate.add_file(dest_path=name, properties=described)


def _format(file: Path, run: Run) -> str:
    known = FORMATS.get(file.suffix.lower())
    return known or ("application/octet-stream" if run.contents.is_binary(file) else "text/plain")


def _entity(crate: ROCrate, at: str, type_: str, **properties: Any) -> Any:
    from rocrate.model import ContextEntity

    known = crate.get(at)
    if known is not None:
        return known
    single = {key: v[0] if isinstance(v, list) and len(v) == 1 else v for key, v in properties.items()}
    return crate.add(ContextEntity(crate, at, {"@type": type_, **single}))
