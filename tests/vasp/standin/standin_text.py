"""Numbers as Fortran prints them, and files that say which of them was full."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


def fortran(value: float, digits: int, bare: bool = False) -> str:
    """Return a number with a mantissa below one, as Fortran's E format has it.

    Args:
        value: The number.
        digits: The digits of its mantissa.
        bare: Whether a negative one lacks the zero before the point, as where the field is narrow.
    """
    mantissa, _, exponent = f"{abs(value):.{digits - 1}E}".partition("E")
    power = int(exponent) + 1 if value else 0
    sign, zero = ("-", "" if bare else "0") if value < 0 else ("", "0")
    return f"{sign}{zero}.{mantissa.replace('.', '')}E{power:+03d}"


def table(rows: Iterable[Iterable[float]], template: str) -> str:
    """Return one line per row, each number in the same format."""
    return "".join("".join(format(x, template) for x in row) + "\n" for row in rows)


def volume_of(cell: np.ndarray) -> float:
    """Return the volume of a cell [Å³]."""
    return abs(float(np.linalg.det(cell)))


class Sheet:
    """An output file that is written from the start of the run to its end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: TextIO = open(name, "w", encoding="latin-1", errors="replace")  # noqa: SIM115

    def write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as error:
            raise self._named(error) from error

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise self._named(error) from error

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, self._name)
