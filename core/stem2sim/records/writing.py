"""All the records of a run, written beside its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem2sim.config.records import server_address
from stem2sim.records.crate import write_crate
from stem2sim.records.database import share, write_database
from stem2sim.runs.movie_folder import movie_of

if TYPE_CHECKING:
    from stem2sim.runs.run import Run


def write_records(run: Run) -> None:
    """Write the results as a database, the folder's metadata as an RO-Crate, and rows on the server of the config.

    Of a run that failed nothing goes into a database: rows of an earlier run are worth more than none.

    Raises:
        BadInput, StageFailed: the server cannot be written to; all that lies in the folder is written by then.
    """
    if movie_of(run) is not None:  # which has no results for a database
        write_crate(run, run.files())
        return
    if not run.failure:
        write_database(run)
    write_crate(run, run.files())
    if not run.failure and (address := server_address(run.tree.get("records", {}).get("database"))):
        share(run, address)
