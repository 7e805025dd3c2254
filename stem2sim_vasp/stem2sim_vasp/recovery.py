"""What can be mended when VASP fails: by custodian, where it is installed, within limits that the task sets."""

from __future__ import annotations

import logging
import warnings
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from stem2sim.errors import StageFailed
from stem2sim.files import write_atomically
from stem2sim_vasp import incar
from stem2sim_vasp.folder import INCAR, KPOINTS, POSCAR, RAN
from stem2sim_vasp.outputs import CONTCAR, SAID

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim_vasp.request import Request
    from stem2sim_vasp.vasp import Vasp

log = logging.getLogger("stem2sim")

EXTRA = "pip install 'stem2sim-vasp[recovery]'"

MOVING = ("eddrmm", "brions", "zpotrf", "zbrent")
"""Errors whose correction changes POTIM, which is the time step of dynamics."""

SCALING = ("zpotrf",)
"""Errors whose correction strains the cell, which a relaxation of the cell would take for its own."""

OF_THE_SEARCH = ("POTIM", "IBRION")
"""Physics in dynamics, but only ways to the same minimum in a relaxation."""


def installed() -> bool:
    """Return whether custodian is there."""
    return find_spec("custodian") is not None and find_spec("pymatgen") is not None


class Recovery:
    """Corrections of one run of VASP."""

    def __init__(self, engine: Vasp, request: Request, folder: Path) -> None:
        """Begin with none."""
        self.count = 0
        self._request, self._folder = request, folder
        self._wanted = engine.recovery if engine.recovery is not None else installed()
        self._handlers: list[Any] = []

    def correct(self) -> bool:
        """Change the inputs so that VASP may go on; False where nobody knows how.

        Raises:
            StageFailed: the correction would change what is computed; the inputs are as they were.
        """
        if not self._wanted:
            return False
        if not installed():
            raise StageFailed(f"recovery = true needs custodian: {EXTRA}")
        self._handlers = self._handlers or _handlers(self._request)
        before = {name: (self._folder / name).read_bytes() for name in (INCAR, KPOINTS, POSCAR)}
        told = []
        for handler in self._handlers:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pymatgen's, of potentials that it does not know
                with suppress(FileNotFoundError):  # of files that VASP did not come to
                    if not handler.check(directory=str(self._folder)):
                        continue
                    found = handler.correct(directory=str(self._folder))
            if found.get("actions"):
                told.append(f"{', '.join(map(str, found['errors']))} -> {_actions(found['actions'])}")
                break
        if not told:
            return False
        self._keep_the_physics(before, told[0])
        with write_atomically(self._folder / RAN) as part:
            part.write_bytes(before[INCAR])
        self.count += 1
        log.warning("%s: VASP failed and is corrected by custodian: %s", self._folder.name, told[0])
        return True

    def _keep_the_physics(self, before: dict[str, bytes], told: str) -> None:
        now = {name: (self._folder / name).read_bytes() for name in before}
        was, has = (incar.read(tags[INCAR].decode()) for tags in (before, now))
        spared = OF_THE_SEARCH if self._request.kind == "relaxation" else ()
        changed = [tag for tag in incar.PHYSICS if tag not in spared and not _alike(was.get(tag), has.get(tag))]
        changed += [KPOINTS] if now[KPOINTS] != before[KPOINTS] else []
        contcar = self._folder / CONTCAR
        if now[POSCAR] != before[POSCAR] and not (contcar.is_file() and now[POSCAR] == contcar.read_bytes()):
            changed.append(POSCAR)
        for name, text in before.items():
            # where to go on from is ours to say; and nothing may stay of what is refused
            if changed or name == POSCAR:
                with write_atomically(self._folder / name) as part:
                    part.write_bytes(text)
        if changed:
            raise StageFailed(
                f"VASP failed, and custodian's correction ({told}) would change {', '.join(changed)}: that is another "
                f"calculation; the inputs are as they were; its output: {self._folder.name}/{SAID}"
            )


def _alike(was: str | None, has: str | None) -> bool:
    if was is None or has is None:
        return was == has
    with suppress(ValueError):
        return float(was) == float(has)
    return was.strip().upper()[:2] == has.strip().upper()[:2]


def _actions(actions: Any) -> str:
    return "; ".join(
        f"{key.strip('_')} {value}"
        if not isinstance(value, dict)
        else ", ".join(f"{k} = {v}" for k, v in value.items())
        for action in actions
        for key, value in dict(action.get("action", {})).items()
    )


def _handlers(request: Request) -> list[Any]:
    """Those that mend without changing what is computed, by task."""
    from custodian.vasp import handlers as of

    left_out: tuple[str, ...] = MOVING if request.kind == "dynamics" else ()
    if request.tags.get("ISIF") in range(3, 8):
        left_out += SCALING
    errors = [name for name in of.VaspErrorHandler.error_msgs if name not in left_out]
    found = [
        of.VaspErrorHandler(output_filename=SAID, errors_subset_to_catch=errors),
        of.StdErrHandler(output_filename=SAID),
    ]
    if request.kind == "relaxation":
        found.append(of.NonConvergingErrorHandler())
    return found
