"""Files of Nion Swift: what its library keeps (.ndata, .h5) and what it exports (.ndata1, .nhdf)."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from stem2sim.errors import BadInput
from stem2sim.imaging.readers import read_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAMES = np.random.default_rng(0).integers(0, 60000, (3, 24, 40)).astype(np.uint16)
COUNTS = {"collection_dimension_count": 0, "datum_dimension_count": 2}


def said(*pixels: tuple[float, str], key: str = "dimensional_calibrations", **more: Any) -> dict[str, Any]:
    """Return metadata with a calibration per dimension."""
    calibrations = [{"offset": -1.0, "scale": scale, "units": units} for scale, units in pixels]
    return {key: calibrations, **COUNTS, **more}


def ndata(path: Path, array: np.ndarray, metadata: dict[str, Any], how: int = zipfile.ZIP_STORED) -> None:
    content = io.BytesIO()
    np.save(content, array)
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("data.npy", content.getvalue())
        archive.writestr("metadata.json", json.dumps(metadata))


def library_h5(path: Path, array: np.ndarray, metadata: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = array
        file["data"].attrs["properties"] = json.dumps(metadata)


def export_h5(path: Path, array: np.ndarray, metadata: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        file["data/0"] = array
        file["data/0"].attrs["properties"] = json.dumps(metadata)
        file.create_group("index")


FILES: list[tuple[str, Callable[[Path, np.ndarray, dict[str, Any]], None]]] = [
    ("a.ndata1", ndata),
    ("a.ndata", ndata),
    ("a.h5", library_h5),
    ("a.nhdf", export_h5),
]


@pytest.mark.parametrize(("name", "write"), FILES)
@pytest.mark.parametrize("pixel", [(0.02, "nm"), (20.0, "pm"), (2e-5, "um"), (2e-5, "µm"), (0.2, "Å"), (-0.02, "nm")])
def test_rows_come_first_and_any_unit_is_angstrom(
    tmp_path: Path, name: str, write: Callable[..., None], pixel: tuple[float, str]
) -> None:
    write(tmp_path / name, FRAMES[0], said(pixel, pixel))
    image = read_image(tmp_path / name)
    assert np.array_equal(image.pixels, FRAMES[0].astype(np.float32))
    assert image.pixel_size == pytest.approx(0.2)
    assert image.pixel_size_source == "file"


@pytest.mark.parametrize(("name", "write"), FILES)
def test_a_sequence_is_a_stack(tmp_path: Path, name: str, write: Callable[..., None]) -> None:
    """The calibration of its time axis is not a pixel size."""
    write(tmp_path / name, FRAMES, said((0.5, "s"), (0.02, "nm"), (0.02, "nm"), is_sequence=True))
    image = read_image(tmp_path / name, frame=1)
    assert np.array_equal(image.pixels, FRAMES[1].astype(np.float32))
    assert image.pixel_size == pytest.approx(0.2)
    with pytest.raises(BadInput, match=r"image\.frame \(0 to 2\)"):
        read_image(tmp_path / name)


def test_an_export_says_spatial_calibrations(tmp_path: Path) -> None:
    """And may be compressed, by whoever packed it again."""
    metadata = said((0.02, "nm"), (0.02, "nm"), key="spatial_calibrations")
    ndata(tmp_path / "a.ndata1", FRAMES[0], metadata, zipfile.ZIP_DEFLATED)
    assert read_image(tmp_path / "a.ndata1").pixel_size == pytest.approx(0.2)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        said((1.0, ""), (1.0, "")),
        said((0.02, "1/nm"), (0.02, "1/nm")),
        said((0.0, "nm"), (0.0, "nm")),
        said((0.02, "nm")),
        {"dimensional_calibrations": [{"offset": 0}, {"offset": 0}], **COUNTS},
        {"dimensional_calibrations": "none", **COUNTS},
    ],
)
def test_no_calibration_is_no_pixel_size(tmp_path: Path, metadata: dict[str, Any]) -> None:
    for name, write in FILES:
        write(tmp_path / name, FRAMES[0], metadata)
        with pytest.raises(BadInput, match="does not state its pixel size"):
            read_image(tmp_path / name)
        assert read_image(tmp_path / name, pixel_size=0.1).pixel_size == 0.1


def test_spectra_and_colours_are_not_frames(tmp_path: Path) -> None:
    spectra = {"collection_dimension_count": 2, "datum_dimension_count": 1}
    ndata(tmp_path / "a.ndata1", FRAMES, spectra)
    with pytest.raises(BadInput, match=r"a\.ndata1 holds 2-dimensional data of 1-dimensional items, not frames"):
        read_image(tmp_path / "a.ndata1", pixel_size=0.1, frame=0)
    ndata(tmp_path / "a.ndata1", np.zeros((24, 40, 3), np.uint8), COUNTS)
    with pytest.raises(BadInput, match="in colour"):
        read_image(tmp_path / "a.ndata1", pixel_size=0.1, frame=0)


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    """Cut short anywhere, not a zip, without its parts, or with metadata that is no JSON."""
    file = tmp_path / "a.ndata1"
    ndata(file, FRAMES[0], said((0.02, "nm"), (0.02, "nm")))
    whole = file.read_bytes()
    broken = [whole[: len(whole) * k // 8] for k in range(8)]
    for member, content in (("other.npy", b""), ("data.npy", b"no array")):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(member, content)
        broken.append(packed.getvalue())
    middle = len(whole) // 3
    broken.append(whole[:middle] + bytes(255 - b for b in whole[middle : middle + 9]) + whole[middle + 9 :])
    for content in broken:
        file.write_bytes(content)
        with pytest.raises(BadInput, match=r"a\.ndata1") as caught:
            read_image(file)
        assert "\n" not in str(caught.value)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    """An array of objects would run code when loaded."""
    content = io.BytesIO()
    np.save(content, np.array([[{"a": 1}]], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "a.ndata1", "w") as archive:
        archive.writestr("data.npy", content.getvalue())
    with pytest.raises(BadInput, match=r"cannot read a\.ndata1"):
        read_image(tmp_path / "a.ndata1", pixel_size=0.1)


def test_files_are_only_read(tmp_path: Path) -> None:
    for name, write in FILES:
        write(tmp_path / name, FRAMES[0], said((0.02, "nm"), (0.02, "nm")))
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).chmod(0o400)
        read_image(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


def test_other_hdf5_files_are_read_as_ever(tmp_path: Path) -> None:
    """Whatever they mean by properties."""
    for properties in ("not json", "[1, 2]", '{"colour": "red"}', 7, b"\xff"):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["data"] = FRAMES[0]
            file["data"].attrs.update(properties=properties, pixel_size=0.02, pixel_size_unit="nm")
        assert read_image(tmp_path / "a.h5").pixel_size == pytest.approx(0.2)
