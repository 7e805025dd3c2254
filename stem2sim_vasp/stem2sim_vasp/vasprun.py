"""vasprun.xml as it grows: complete steps are read once, whether VASP still writes the file or was interrupted."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

import numpy as np

from stem2sim_vasp.ionic import Ionic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

VASPRUN = "vasprun.xml"

CHUNK = 1 << 20


class Vasprun:
    """A reader that remembers its position in the file."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet; the file may come later."""
        self.path = path
        self.program: dict[str, str] = {}
        """Of the generator: program, version, subversion, ..."""
        self.incar: dict[str, Any] = {}
        """The INCAR as VASP read it."""
        self.parameters: dict[str, Any] = {}
        """Every tag with the value that VASP uses."""
        self.elements: list[str] = []
        """Of each atom."""
        self.potentials: list[str] = []
        """TITEL of each species."""
        self.selective: NDArray[np.bool_] | None = None
        """(atoms, 3) which components may move; None without selective dynamics."""
        self.closed = False
        """Whether VASP has ended the file."""
        self.broken = ""
        """Where the XML is damaged, if anywhere."""
        self.begun = 0
        """Ionic steps that were begun."""
        self._offset = 0
        self._parser: Any = XMLPullParser(("start", "end"))  # its types know no events of ours
        self._depth: list[Element] = []

    def more(self) -> Iterator[Ionic]:
        """Yield the ionic steps that have become complete since the last call."""
        if self.broken or self.closed or not self.path.is_file():
            return
        opened = gzip.open if self.path.suffix == ".gz" else Path.open
        with opened(self.path, "rb") as file:
            file.seek(self._offset)
            while chunk := file.read(CHUNK):
                self._offset += len(chunk)
                try:
                    self._parser.feed(chunk)
                except ParseError as problem:
                    yield from self._complete_steps()
                    self.broken = f"{self.path.name} is damaged: {problem}"
                    return
                yield from self._complete_steps()

    def _complete_steps(self) -> Iterator[Ionic]:
        try:
            for event, element in self._parser.read_events():
                if event == "start":
                    self._depth.append(element)
                    self.begun += element.tag == "calculation"
                    continue
                self._depth.pop()
                if element.tag == "calculation":
                    step = _ionic(element)
                    if step is not None:
                        yield step
                elif element.tag == "modeling":
                    self.closed = True
                elif len(self._depth) == 1:
                    self._head(element)
                if len(self._depth) <= 1 and self._depth:  # a whole section: a long run must not fill the memory
                    self._depth[-1].remove(element)
        except ParseError as problem:
            self.broken = f"{self.path.name} is damaged: {problem}"

    def _head(self, element: Element) -> None:
        if element.tag == "generator":
            self.program = {str(i.get("name")): (i.text or "").strip() for i in element.iter("i")}
        elif element.tag == "incar":
            self.incar = _first(element)
        elif element.tag == "parameters":
            self.parameters = _first(element)
        elif element.tag == "atominfo":
            for array in element.iter("array"):
                rows = [[(c.text or "").strip() for c in row.iter("c")] for row in array.iter("rc")]
                if array.get("name") == "atoms":
                    self.elements = [row[0] for row in rows]
                elif array.get("name") == "atomtypes":
                    self.potentials = [row[4] for row in rows]
        elif element.tag == "structure" and element.get("name") == "initialpos":
            for flags in element.iter("varray"):
                if flags.get("name") == "selective":
                    self.selective = np.array([[w[:1] == "T" for w in (v.text or "").split()] for v in flags])


def _first(element: Element) -> dict[str, Any]:
    """Tags by name; of those that stand there twice (NELM, of the response functions as well) the first is meant."""
    tags: dict[str, Any] = {}
    for name, value in _items(element):
        tags.setdefault(name, value)
    return tags


def _items(element: Element) -> Iterator[tuple[str, Any]]:
    for item in element.iter():
        name = item.get("name")
        if item.tag == "i" and name:
            yield name.upper(), _value((item.text or "").strip(), item.get("type", "float"))
        elif item.tag == "v" and name:
            kind = item.get("type", "float")
            yield name.upper(), tuple(_value(word, kind) for word in (item.text or "").split())


def _value(text: str, kind: str) -> Any:
    if kind == "logical":
        return text[:1].upper() == "T"
    try:
        return int(text) if kind == "int" else float(text) if kind == "float" else text
    except ValueError:
        return text


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:  # ******** where Fortran ran out of digits
        return float("nan")


def _rows(parent: Element, name: str) -> NDArray[np.float64] | None:
    for array in parent.findall("varray"):
        if array.get("name") == name:
            rows = [[_number(word) for word in (row.text or "").split()] for row in array.findall("v")]
            if rows and all(len(row) == 3 for row in rows):
                return np.array(rows)
    return None


def _energies(parent: Element) -> dict[str, float]:
    block = parent.find("energy")
    return {} if block is None else {str(i.get("name")): _number(i.text) for i in block.findall("i")}


def _ionic(element: Element) -> Ionic | None:
    """One step; None without a structure or an energy."""
    structure, energies = element.find("structure"), _energies(element)
    if structure is None or "e_fr_energy" not in energies:
        return None
    crystal = structure.find("crystal")
    cell = None if crystal is None else _rows(crystal, "basis")
    positions = _rows(structure, "positions")
    if cell is None or positions is None:
        return None
    loops = [_energies(loop) for loop in element.findall("scstep")]
    free = energies["e_fr_energy"]
    return Ionic(
        cell=cell,
        positions=positions,
        free=free,
        without_entropy=_relative_to_free(free, loops, "e_wo_entrp"),
        extrapolated=_relative_to_free(free, loops, "e_0_energy"),
        forces=_rows(element, "forces"),
        stress=_rows(element, "stress"),
        loops=len(loops),
        change=loops[-1].get("e_fr_energy", np.nan) - loops[-2].get("e_fr_energy", np.nan) if len(loops) > 1 else None,
        seconds=_seconds(element),
        kinetic=energies.get("kinetic"),
        conserved=energies.get("total"),
    )


def _seconds(element: Element) -> float:
    for time in element.findall("time"):
        words = (time.text or "").split()
        if time.get("name") == "totalsc" and words:
            return float(np.nan_to_num(_number(words[-1])))
    return 0.0


def _relative_to_free(free: float, loops: list[dict[str, float]], name: str) -> float | None:
    """An energy by its distance to the free energy in the last electronic step.

    In the ionic step VASP 5 writes something else under these names; the electronic step lacks van der Waals terms.
    """
    last = loops[-1] if loops else {}
    return free + last[name] - last["e_fr_energy"] if name in last and "e_fr_energy" in last else None
