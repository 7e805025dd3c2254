"""U-Net ensemble that locates atoms in STEM images, with bundled weights."""

from pathlib import Path

SHIPPED = Path(__file__).parent / "weights"
"""Folder of the ensemble that ships with this package."""
