"""U-Net ensemble that finds atoms in STEM images, with shipped weights."""

from pathlib import Path

SHIPPED = Path(__file__).parent / "weights"
"""Folder of the ensemble that ships with this package."""
