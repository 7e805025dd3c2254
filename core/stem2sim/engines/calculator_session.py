"""An engine's calculator for as long as work takes, which starts anew whenever it is told to."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ase import Atoms
    from ase.calculators.calculator import Calculator


class Borrowed:
    """Energies and forces of an engine.

    What an engine keeps in memory (a wave function) makes its next answer depend on its last, within its own noise.
    Work that starts the engine anew at every checkpoint goes on from one exactly as if it had never been cut off.
    """

    def __init__(self, lent: Callable[[], AbstractContextManager[Calculator]]) -> None:
        """Borrow nothing yet; `lent` returns a fresh calculator."""
        self._lent = lent
        self._open = ExitStack()
        self._calculator: Calculator | None = None

    def compute(self, atoms: Atoms, wanted: tuple[str, ...] = ("energy", "forces")) -> dict[str, Any]:
        """Return properties of these atoms by name, as ASE's units have them; constraints are not applied.

        Raises:
            StageFailed: the engine failed; what an engine says of it comes from its own context.
        """
        try:
            if self._calculator is None:
                self._calculator = self._open.enter_context(self._lent())
            return {name: self._calculator.get_property(name, atoms) for name in wanted}
        except BaseException as problem:  # Ctrl-C too: an engine's process must hear of it in the middle of a step
            calculator, self._calculator = self._calculator, None
            if calculator is not None:
                self._open.__exit__(type(problem), problem, problem.__traceback__)
            raise

    def anew(self) -> None:
        """Give the calculator back; the next answer comes from a fresh one."""
        self._calculator = None
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.anew()
