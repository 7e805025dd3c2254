"""Corrections when VASP fails: by custodian, where it is installed, within limits that the task sets."""

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
from stem2sim_vasp.outputs import CONTCAR, STDOUT

if TYPE_CHECKING:
    from pathlib import Path

    from stem2sim_vasp.request import Request

log = logging.getLogger("stem2sim")

EXTRA = "pip install 'stem2sim-vasp[recovery]'"

MOVING = ("eddrmm", "brions", "zpotrf", "zbrent")
"""Errors whose correction changes POTIM, which is the time step of dynamics."""

SCALING = ("zpotrf",)
"""Errors whose correction strains the cell, which would be mistaken for the relaxation of the cell."""

OF_THE_SEARCH = ("POTIM", "IBRION")
"""Physics in dynamics, but only ways to the same minimum in a relaxation."""


def installed() -> bool:
    """Return whether custodian is there."""
    return find_spec("custodian") is not None and find_spec("pymatgen") is not None


class Recovery:
    """Corrections of one run of VASP."""

    def __init__(self, wanted: bool | None, request: Request, folder: Path) -> None:
        """Begin with none; `wanted` None: where custodian is installed."""
        self.count = 0
        self._request, self._folder = request, folder
        self._wanted = installed() if wanted is None else wanted
        self._handlers: list[Any] = []

    def correct(self) -> bool:
        """Change the inputs so that VASP may continue; False where no correction is known.

        Raises:
            StageFailed: the correction would change what is computed; the inputs are restored.
        """
        if not self._wanted:
            return False
        if not installed():
            raise StageFailed(f"recovery = true needs custodian: {EXTRA}")
        self._handlers = self._handlers or _handlers(self._request)
        before = {name: (self._folder / name).read_bytes() for name in (INCAR, KPOINTS, POSCAR)}
        corrections = []
        for handler in self._handlers:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pymatgen's, of potentials that it does not know
                with suppress(FileNotFoundError):  # of files that VASP did not come to
                    if not handler.check(directory=str(self._folder)):
                        continue
                    correction = handler.correct(directory=str(self._folder))
            if correction.get("actions"):
                errors = ", ".join(map(str, correction["errors"]))
                corrections.append(f"{errors} -> {_actions(correction['actions'])}")
                break
        if not corrections:
            return False
        self._keep_the_physics(before, corrections[0])
        with write_atomically(self._folder / RAN) as part:
            part.write_bytes(before[INCAR])
        self.count += 1
        log.warning("%s: VASP failed; custodian corrects it: %s", self._folder.name, corrections[0])
        return True

    def _keep_the_physics(self, before: dict[str, bytes], correction: str) -> None:
        now = {name: (self._folder / name).read_bytes() for name in before}
        was, has = (incar.read(tags[INCAR].decode()) for tags in (before, now))
        spared = OF_THE_SEARCH if self._request.kind == "relaxation" else ()
        changed = [tag for tag in incar.PHYSICS if tag not in spared and not _alike(was.get(tag), has.get(tag))]
        changed += [KPOINTS] if now[KPOINTS] != before[KPOINTS] else []
        contcar = self._folder / CONTCAR
        if now[POSCAR] != before[POSCAR] and not (contcar.is_file() and now[POSCAR] == contcar.read_bytes()):
            changed.append(POSCAR)
        for name, text in before.items():
            # the geometry to continue from is ours to set, and nothing of a refused correction may stay
            if changed or name == POSCAR:
                with write_atomically(self._folder / name) as part:
                    part.write_bytes(text)
        if changed:
            raise StageFailed(
                f"VASP failed, and custodian's correction ({correction}) would change {', '.join(changed)}: that is "
                f"another calculation; the inputs were restored; log: {self._folder.name}/{STDOUT}"
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
    """Those that do not change what is computed, by task."""
    from custodian.vasp import handlers as of

    excluded: tuple[str, ...] = MOVING if request.kind == "dynamics" else ()
    if request.tags.get("ISIF") in range(3, 8):
        excluded += SCALING
    errors = [name for name in of.VaspErrorHandler.error_msgs if name not in excluded]
    chosen = [
        of.VaspErrorHandler(output_filename=STDOUT, errors_subset_to_catch=errors),
        of.StdErrHandler(output_filename=STDOUT),
    ]
    if request.kind == "relaxation":
        chosen.append(of.NonConvergingErrorHandler())
    return chosen
