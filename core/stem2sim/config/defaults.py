"""What counts when nothing else is asked for: the one place where the core names plugins, and elements."""

from __future__ import annotations

from typing import Any

ENGINE = "xtb"

DEFAULTS: dict[str, Any] = {
    "segment": {"use": "unet"},
    "build": [{"use": "place"}, {"use": "patch"}, {"use": "hterm"}, {"use": "ripple"}],
    "simulate": [{"use": ENGINE}, {"use": "aimd", "engine": {"use": ENGINE}}],
}
"""Sections of the default config; each stage at its own defaults."""

ELEMENTS = ("C", "H", "Si")
"""Those of the reference case: what `stem2sim doctor` checks for where nothing says yet which there will be."""
