from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from stem2sim import hookimpl
from stem2sim.builtin.atoms_table import AtomsTableSegmenter
from stem2sim.errors import BadInput
from stem2sim.registry import Registry, load

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EntryPoint]:
    """Return a function that makes a module of hooks, and the entry point that leads to it."""

    def make(name: str, **functions: Any) -> EntryPoint:
        module = ModuleType(f"fake_{name}")
        for key, function in functions.items():
            setattr(module, key, hookimpl(function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return EntryPoint(name, module.__name__, "stem2sim")

    return make


def offers(registry: Registry) -> list[str]:
    return [offer.stage.name for offer in registry.offers]


def table() -> list[type]:
    return [AtomsTableSegmenter]


def explodes() -> list[type]:
    raise RuntimeError("boom")


def test_a_broken_plugin_costs_only_itself(plugin: Callable[..., EntryPoint]) -> None:
    """One that cannot be imported, one whose hook raises, one that offers nonsense: the good one still works."""
    registry = load(
        [
            EntryPoint("absent", "no_such_module", "stem2sim"),
            plugin("boom", stem2sim_segmenters=explodes, stem2sim_builders=lambda: []),
            plugin("nonsense", stem2sim_builders=lambda: [int]),
            plugin("good", stem2sim_segmenters=table),
        ]
    )
    assert offers(registry) == ["atoms-table"]
    reasons = {one.plugin: one.reason for one in registry.broken}
    assert "ModuleNotFoundError" in reasons["absent"]
    assert "RuntimeError: boom" in reasons["boom"]
    assert "is not a Builder class" in reasons["nonsense"]


def test_the_error_for_a_missing_name_says_what_is_broken(plugin: Callable[..., EntryPoint]) -> None:
    registry = load([EntryPoint("unet", "no_such_module", "stem2sim"), plugin("good", stem2sim_segmenters=table)])
    with pytest.raises(BadInput) as caught:
        registry.find("segmenter", "unet")
    assert str(caught.value).startswith("no segmenter named 'unet'; installed: atoms-table; plugin 'unet'")
    assert "No module named 'no_such_module'" in str(caught.value)


def test_a_misspelt_hook_is_reported(plugin: Callable[..., EntryPoint]) -> None:
    registry = load([plugin("typo", stem2sim_segmentrs=table)])
    assert "unknown hook 'stem2sim_segmentrs'" in registry.broken[0].reason


def test_two_plugins_with_one_name_are_both_named(plugin: Callable[..., EntryPoint]) -> None:
    registry = load([plugin("one", stem2sim_segmenters=table), plugin("two", stem2sim_segmenters=table)])
    with pytest.raises(BadInput, match=r"two segmenters are named 'atoms-table': from fake_one .* and fake_two"):
        registry.find("segmenter", "atoms-table")


def test_strict_raises_what_broke(plugin: Callable[..., EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEM2SIM_STRICT", "1")
    with pytest.raises(RuntimeError, match="boom"):
        load([plugin("boom", stem2sim_segmenters=explodes)])


def test_a_near_miss_is_suggested(plugin: Callable[..., EntryPoint]) -> None:
    registry = load([plugin("good", stem2sim_segmenters=table)])
    with pytest.raises(BadInput, match="did you mean 'atoms-table'"):
        registry.find("segmenter", "atom-table")
    with pytest.raises(BadInput, match="'atoms-table' is a segmenter"):
        registry.find("builder", "atoms-table")
