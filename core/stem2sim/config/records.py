"""Where else results are recorded: the options, and the address of a database server."""

from __future__ import annotations

import os
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from stem2sim.errors import BadInput

VARIABLE = "STEM2SIM_DATABASE"


SCHEMES = ("postgresql", "postgres", "mysql", "mariadb")


def server_address(configured: str | None) -> str | None:
    """Return the address of the server to write to: as configured, else of STEM2SIM_DATABASE; None for no server.

    Raises:
        BadInput: not an address of a server, or a configured one that holds a password, which configs must not.
    """
    address = configured or os.environ.get(VARIABLE) or None
    if address is None:
        return None
    try:
        parts = urlsplit(address)
        hidden = parts.password is not None or "password" in parse_qs(parts.query)
        scheme, _ = parts.scheme, parts.port
    except ValueError:
        scheme, hidden = "", False
    if scheme not in SCHEMES:
        raise BadInput(f"the database's address must be postgresql://user@host/database, got {public_address(address)}")
    if hidden and configured:
        raise BadInput(
            f"the address {public_address(address)} holds a password, and a config is kept with the run: take it "
            f"out, and put it into ~/.pgpass or PGPASSWORD, or the whole address into {VARIABLE}"
        )
    return address


def public_address(address: str) -> str:
    """Return an address without its password, nor what could hide one."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "what cannot be read as an address"
    if parts.scheme not in SCHEMES:
        return "something else"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Records(BaseModel):
    """Where else the results are recorded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database: str | None = Field(
        None,
        description="database server that also receives the results, postgresql://user@host/database; password from "
        "PGPASSWORD or ~/.pgpass",
    )

    @field_validator("database")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        return value if value is None else server_address(value)
