"""An engine's calculator for as long as the work takes; it can be restarted at any point."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ase import Atoms
    from ase.calculators.calculator import Calculator


class CalculatorSession:
    """Energies and forces of an engine, from one calculator at a time.

    What an engine keeps in memory (a wave function) makes each answer depend on the one before, within its own noise.
    Work that restarts the engine at every checkpoint resumes from one exactly as if it had never been interrupted.
    """

    def __init__(self, open_calculator: Callable[[], AbstractContextManager[Calculator]]) -> None:
        """Open nothing yet; `open_calculator` returns a fresh calculator."""
        self._open_calculator = open_calculator
        self._contexts = ExitStack()
        self._calculator: Calculator | None = None

    def compute(self, atoms: Atoms, properties: tuple[str, ...] = ("energy", "forces")) -> dict[str, Any]:
        """Return properties of these atoms by name, in ASE's units; constraints are not applied.

        Raises:
            StageFailed: the engine failed; the message comes from the engine's own context.
        """
        try:
            if self._calculator is None:
                self._calculator = self._contexts.enter_context(self._open_calculator())
            return {name: self._calculator.get_property(name, atoms) for name in properties}
        except BaseException as problem:  # Ctrl-C too: it must reach the engine's process in the middle of a step
            calculator, self._calculator = self._calculator, None
            if calculator is not None:
                self._contexts.__exit__(type(problem), problem, problem.__traceback__)
            raise

    def restart(self) -> None:
        """Close the calculator; the next answer comes from a fresh one."""
        self._calculator = None
        self._contexts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restart()
