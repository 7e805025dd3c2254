"""What is installed: finds plugins by entry point, and outlives those that are broken."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from stem2sim import hookspecs
from stem2sim.errors import BadInput, nearest
from stem2sim.packages import GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stem2sim.stages import Stage

HOOKS = {
    "segmenter": "stem2sim_segmenters",
    "builder": "stem2sim_builders",
    "simulator": "stem2sim_simulators",
}
"""Kind of stage -> hook that offers it."""


@dataclass(frozen=True)
class Offer:
    """One stage that an installed plugin offers."""

    kind: str
    stage: type[Stage]
    distribution: str
    version: str

    @property
    def summary(self) -> str:
        """First line of the class's docstring."""
        return (inspect.getdoc(self.stage) or "").partition("\n")[0]


@dataclass(frozen=True)
class Broken:
    """A plugin, or one of its hooks, that failed."""

    plugin: str
    distribution: str
    version: str
    reason: str

    def __str__(self) -> str:
        return f"plugin '{self.plugin}' ({self.distribution} {self.version}) {self.reason}"


@dataclass
class Registry:
    """All offers of all plugins that work, and what is wrong with the others."""

    offers: list[Offer] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def names(self, kind: str) -> list[str]:
        """Return the names on offer for one kind, sorted."""
        return sorted({offer.stage.name for offer in self.offers if offer.kind == kind})

    def find(self, kind: str, name: str) -> type[Stage]:
        """Return the stage class of that kind and name.

        Raises:
            BadInput: none, or more than one, has that name.
        """
        found = [offer for offer in self.offers if offer.kind == kind and offer.stage.name == name]
        if len(found) == 1:
            return found[0].stage
        if found:
            both = " and ".join(f"{offer.distribution} {offer.version}" for offer in found)
            raise BadInput(f"two {kind}s are named '{name}': from {both}; uninstall one of them")
        names = self.names(kind)
        message = f"no {kind} named '{name}'; installed: {', '.join(names) or 'none'}{nearest(name, names)}"
        other = [offer.kind for offer in self.offers if offer.stage.name == name]
        if other:
            message += f"; '{name}' is a {other[0]}"
        raise BadInput("; ".join([message, *(str(one) for one in self.broken)]))


def strict() -> bool:
    """Return whether STEM2SIM_STRICT=1 asks that what breaks a plugin is raised."""
    return os.environ.get("STEM2SIM_STRICT") == "1"


def load(found: Iterable[EntryPoint] | None = None) -> Registry:
    """Load every plugin and call every hook, each by itself, so that one broken plugin costs only its own offers.

    Args:
        found: entry points to load; default: those of the group `stem2sim`.
    """
    registry = Registry()
    points = entry_points(group=GROUP) if found is None else found
    for point in sorted(points, key=lambda p: p.name):
        offers, broken = _load_one(point)
        registry.offers += offers
        registry.broken += broken
    return registry


def _load_one(point: EntryPoint) -> tuple[list[Offer], list[Broken]]:
    distribution, version = (point.dist.name, point.dist.version) if point.dist else (point.value, "?")
    offers: list[Offer] = []
    broken: list[Broken] = []

    def attempt(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (Exception, SystemExit) as problem:  # foreign code: whatever it raises must not break the others
            if strict():
                raise
            reason = f"failed to load ({type(problem).__name__}: {problem})"
            broken.append(Broken(point.name, distribution, version, reason))
            return None

    manager = pluggy.PluginManager("stem2sim")
    manager.add_hookspecs(hookspecs)
    attempt(lambda: manager.register(point.load(), point.name))
    for name in vars(manager.hook):
        if not name.startswith("_") and not getattr(manager.hook, name).has_spec():
            reason = f"has a function for an unknown hook '{name}'; hooks: {', '.join(HOOKS.values())}"
            broken.append(Broken(point.name, distribution, version, reason))
    for kind, hook in HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            stages = attempt(partial(_called, implementation.function, kind)) or []
            offers += [Offer(kind, stage, distribution, version) for stage in stages]
    return offers, broken


def _called(hook: Callable[[], Any], kind: str) -> list[type[Stage]]:
    """Call one hook implementation and check what it returns."""
    from stem2sim import stages

    base = {"segmenter": stages.Segmenter, "builder": stages.Builder, "simulator": stages.Simulator}[kind]
    offered = list(hook())
    for stage in offered:
        if not (isinstance(stage, type) and issubclass(stage, base)):
            raise TypeError(f"{stage!r} is not a {base.__name__} class")
        if inspect.isabstract(stage):
            raise TypeError(f"{stage.__name__} lacks {', '.join(sorted(stage.__abstractmethods__))}")
        if not isinstance(getattr(stage, "name", None), str):
            raise TypeError(f"{stage.__name__} has no name: ClassVar[str]")
    return offered


@cache
def installed() -> Registry:
    """Return the registry of this environment, loaded once."""
    return load()
