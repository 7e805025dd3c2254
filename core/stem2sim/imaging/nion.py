"""Metadata that Nion Swift writes beside an array: what its dimensions mean, and the size of a pixel along each."""

from __future__ import annotations

import json
from typing import Any

from stem2sim.errors import BadInput

CALIBRATIONS = ("dimensional_calibrations", "spatial_calibrations")
"""In a library and in an export."""


def properties(text: Any) -> dict[str, Any] | None:
    """Return the properties that a dataset of an HDF5 file carries, None where they are not Nion's."""
    try:
        metadata = json.loads(text)
    except (TypeError, ValueError):
        return None
    is_nion = isinstance(metadata, dict) and any(key in metadata for key in (*CALIBRATIONS, "data_shape"))
    return metadata if is_nion else None


def pixel_calibrations(name: str, metadata: dict[str, Any], shape: tuple[int, ...]) -> list[tuple[float, str]]:
    """Return size and unit of a pixel along rows and along columns; empty where the file does not state it.

    Args:
        name: of the file, for messages.
        metadata: its properties.
        shape: of its array.

    Raises:
        BadInput: the array holds spectra, or pixels of several colours, not frames.
    """
    collection, datum = metadata.get("collection_dimension_count"), metadata.get("datum_dimension_count")
    if isinstance(collection, int) and isinstance(datum, int):
        if datum != 2 and (datum, collection) != (0, 2):
            raise BadInput(f"{name} holds {collection}-dimensional data of {datum}-dimensional items, not frames")
        dimensions = bool(metadata.get("is_sequence")) + collection + datum
        if dimensions != len(shape):
            raise BadInput(f"{name} has shape {shape}, but its metadata say {dimensions} dimensions: is it in colour?")
    given = next((metadata[key] for key in CALIBRATIONS if key in metadata), None)
    if not isinstance(given, list) or len(given) != len(shape):
        return []
    try:
        return [(abs(float(axis["scale"])), str(axis.get("units") or "")) for axis in given[-2:]]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []
