"""The results as a database of ASE: `results.db` in the run folder (SQLite), and rows on a server shared by many runs.

A server's address holds no password: PostgreSQL takes it from PGPASSWORD or ~/.pgpass. Where there is no other way, the
variable STEM2SIM_DATABASE may hold a whole address with one; it is recorded nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.db.core import convert_str_to_int_float_bool_or_str

from stem2sim.analysis.comparison import engine_of
from stem2sim.config.records import public_address
from stem2sim.errors import BadInput, StageFailed
from stem2sim.files import write_atomically
from stem2sim.runs.names import DATABASE
from stem2sim.runs.staleness import stale

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ase import Atoms

    from stem2sim.runs.run import Run


IDENTITY = "run_id"
"""Key of what tells this run from all others, in the metadata of `results.db` and in each row on a server."""

LOCK = 7395
"""Of PostgreSQL, among those that stem2sim takes: the tables are made, and rows numbered, by one run at a time."""


def write_database(run: Run) -> None:
    """Write one row per result to `results.db`."""
    file = run.folder / DATABASE
    identity = run.contents.of(file, _identity) or str(uuid4())
    with write_atomically(file) as part:
        with connect(part, type="db", append=False) as database:
            database.metadata = {IDENTITY: identity, "title": f"stem2sim run {run.folder.resolve().name}"}
            for atoms, keys, data in _rows(run):
                database.write(atoms, data=data, **keys)
        run.contents.written(file, part, identity)


def share(run: Run, address: str) -> None:
    """Write the rows of a run to a server, in place of those that it wrote there before; `results.db` is there already.

    Either all of it happens or nothing; rows of other runs are not touched. A run is the same one as long as its folder
    keeps its name and its `results.db`: a copy of the folder under another name is another run.

    Args:
        run: whose results.
        address: postgresql://user@host/database or mysql://user@host/database.

    Raises:
        BadInput: what talks to such a server is not installed.
        StageFailed: the server cannot be reached, or refuses.
    """
    folder = run.folder
    mine = {IDENTITY: run.contents.of(folder / DATABASE, _identity), "run": _word(folder.resolve().name)}
    postgresql = address.startswith("postgres")
    if postgresql and "connect_timeout=" not in address:
        address += f"{'&' if '?' in address else '?'}connect_timeout=10"
    try:
        with connect(address) as database:
            if postgresql:  # until the connection ends
                database.connection.cursor().execute(f"SELECT pg_advisory_lock({LOCK})")
            before = [row.id for row in database.select(include_data=False, **mine)]
            if postgresql:  # ASE reads the number of its last row back: nobody else may add one meanwhile
                database.connection.cursor().execute("LOCK TABLE systems IN SHARE ROW EXCLUSIVE MODE")
            database.delete(before)
            for atoms, keys, data in _rows(run):
                database.write(atoms, data=data, **keys, **{IDENTITY: mine[IDENTITY]})
    except ImportError as problem:
        needed = "pip install 'stem2sim[postgresql]'"
        raise BadInput(f"cannot write to {public_address(address)}: {problem}; {needed}") from problem
    except Exception as problem:  # of the server's driver, each with errors of its own
        first: BaseException = problem
        while first.__context__ is not None:  # ASE stumbles over its own rollback
            first = first.__context__
        why = (str(first).strip().splitlines() or [type(first).__name__])[0]
        password = urlsplit(address).password
        why = why.replace(password, "***") if password else why
        raise StageFailed(
            f"the results could not be written to {public_address(address)}: {why}; {DATABASE} holds them, and "
            f"stem2sim report {folder} tries again"
        ) from None


def _rows(run: Run) -> Iterator[tuple[Atoms, dict[str, Any], dict[str, Any]]]:
    """Yield structure with energy [eV] and forces [eV/Å], what to select rows by, and what else is known."""
    reasons = stale(run)
    for name, result in run.results.items():
        atoms = result.structure.atoms.copy()
        held = atoms.constraints
        atoms.set_constraint()
        atoms.calc = SinglePointCalculator(atoms, energy=result.energy, forces=result.forces)
        inner = result.made_by.get("engine")
        atoms.calc.name = str((inner if isinstance(inner, dict) else result.made_by).get("use", "unknown"))
        atoms.set_constraint(held)
        texts = {
            "run": run.folder.resolve().name,
            "step": str(run.places[name].step),
            "simulator": str(result.made_by.get("use", "")),
            "engine": engine_of(result),
            "label": result.label,
        }
        keys: dict[str, Any] = {key: _word(text) for key, text in texts.items() if text}
        keys |= {"converged": result.converged, "seconds": round(result.seconds, 3)}
        data = {
            "made_by": result.made_by,
            "details": result.details,
            "reason": result.reason,
            "label": result.label,
            "started_from": result.started_from,
            "warnings": list(result.warnings),
            "stale": reasons.get(name, ""),
        }
        yield atoms, keys, data


def _word(text: str) -> str:
    """Text as ASE takes it: what reads as a number or a truth would be refused."""
    return text if isinstance(convert_str_to_int_float_bool_or_str(text), str) else f"'{text}'"


def _identity(file: Path) -> str:
    """What tells this run from others: made once, kept in `results.db`; '' where there is none yet."""
    try:
        return str(connect(file, type="db").metadata.get(IDENTITY, "")) if file.is_file() else ""
    except Exception:  # a damaged or foreign database: it is about to be replaced
        return ""
