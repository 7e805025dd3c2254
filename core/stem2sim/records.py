"""Records that other tools read: the results as an ASE database, the folder as an RO-Crate."""

from __future__ import annotations

from stem2sim.crate import CRATE, write_crate
from stem2sim.database import DATABASE, server, share, write_database

__all__ = ["CRATE", "DATABASE", "server", "share", "write_crate", "write_database"]
