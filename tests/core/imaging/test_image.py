from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image as Picture
from pydantic import ValidationError

from stem2sim.errors import BadInput
from stem2sim.image import Image
from stem2sim.imaging.readers import read_image

if TYPE_CHECKING:
    from pathlib import Path

FRAME = np.random.default_rng(0).integers(0, 60000, (24, 40)).astype(np.uint16)


def test_every_format_gives_the_same_pixels(tmp_path: Path) -> None:
    """Rows stay rows and columns columns, whatever the file."""
    np.save(tmp_path / "a.npy", FRAME)
    np.savez(tmp_path / "a.npz", image=FRAME)
    tifffile.imwrite(tmp_path / "a.tif", FRAME)
    Picture.fromarray(FRAME).save(tmp_path / "a.png")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data"] = FRAME
    for name in ("a.npy", "a.npz", "a.tif", "a.png", "a.h5"):
        image = read_image(tmp_path / name, pixel_size=0.1)
        assert np.array_equal(image.pixels, FRAME.astype(np.float32)), name
        assert image.shape == (24, 40)
        assert image.field_of_view == pytest.approx((4.0, 2.4))


def tiff_cm(path: Path) -> None:
    tifffile.imwrite(path, FRAME, resolution=(1e8 / 0.2, 1e8 / 0.2), resolutionunit="CENTIMETER")


def tiff_imagej(path: Path) -> None:
    tifffile.imwrite(path, FRAME, imagej=True, resolution=(1 / 0.02, 1 / 0.02), metadata={"unit": "nm"})


def tiff_ome(path: Path) -> None:
    sizes = {"PhysicalSizeX": 0.02, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.02, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(path, FRAME, ome=True, metadata={"axes": "YX", **sizes})


def npz(path: Path) -> None:
    np.savez(path, image=FRAME, pixel_size=0.2)


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["image"] = FRAME
        file["image"].attrs.update(pixel_size=0.02, pixel_size_unit="nm")


def mrc(path: Path) -> None:
    """Write the MRC2014 header by hand: the cell [Å] over the number of columns is the pixel size."""
    rows, columns = FRAME.shape
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, columns, rows, 1, 6, 0, 0, 0, columns, rows, 1)
    struct.pack_into("<6f", header, 40, columns * 0.2, rows * 0.2, 0.2, 90, 90, 90)
    struct.pack_into("<3i", header, 64, 1, 2, 3)
    header[208:216] = b"MAP \x44\x44\x00\x00"
    path.write_bytes(bytes(header) + FRAME.tobytes())


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.tif", tiff_cm),
        ("b.tif", tiff_imagej),
        ("c.ome.tif", tiff_ome),
        ("a.npz", npz),
        ("a.h5", hdf5),
        ("a.mrc", mrc),
    ],
)
def test_pixel_size_comes_from_the_file(tmp_path: Path, name: str, write: object) -> None:
    """0.2 Å in any unit is 0.2 Å."""
    if name.endswith(".mrc"):
        pytest.importorskip("rsciio", reason="the extra 'vendor' is not installed")
    write(tmp_path / name)  # type: ignore[operator]
    image = read_image(tmp_path / name)
    assert image.pixel_size == pytest.approx(0.2, rel=1e-4)
    assert image.pixel_size_source == "file"
    assert np.array_equal(image.pixels, FRAME.astype(np.float32))


def test_vendor_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("rsciio", reason="the extra 'vendor' is not installed")
    for suffix in (".dm3", ".dm4", ".emd", ".ser", ".mrc"):
        (tmp_path / f"a{suffix}").write_bytes(b"not a micrograph")
        with pytest.raises(BadInput, match=f"cannot read a{suffix}") as caught:
            read_image(tmp_path / f"a{suffix}", pixel_size=0.1)
        assert "\n" not in str(caught.value)


def emd(path: Path) -> None:
    """Write an NCEM EMD file through the same library."""
    from rsciio import emd as writer

    axes = [
        {"name": name, "units": "nm", "scale": 0.02, "offset": 0.0, "size": size, "navigate": False}
        for name, size in zip("yx", FRAME.shape, strict=True)
    ]
    metadata: dict[str, dict[str, str]] = {"General": {"title": "frame"}, "Signal": {}}
    writer.file_writer(str(path), {"data": FRAME, "axes": axes, "metadata": metadata, "original_metadata": metadata})


def test_emd_files_are_read(tmp_path: Path) -> None:
    pytest.importorskip("rsciio", reason="the extra 'vendor' is not installed")
    emd(tmp_path / "a.emd")
    image = read_image(tmp_path / "a.emd")
    assert image.pixel_size == pytest.approx(0.2)
    assert np.array_equal(image.pixels, FRAME.astype(np.float32))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.tif", "a.png", "a.h5"])
def test_damaged_files_are_one_line(tmp_path: Path, name: str) -> None:
    """Cut short, or of another kind than the name says, or with bytes flipped: refused, whatever the reader raises."""
    np.save(tmp_path / "good.npy", FRAME)
    np.savez_compressed(tmp_path / "good.npz", image=FRAME)
    tifffile.imwrite(tmp_path / "good.tif", FRAME, compression="zlib")
    Picture.fromarray(FRAME).save(tmp_path / "good.png")
    hdf5(tmp_path / "good.h5")
    whole = (tmp_path / f"good{name[1:]}").read_bytes()
    other = (tmp_path / ("good.npz" if name == "a.npy" else "good.npy")).read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(255 - b for b in whole[middle : middle + 40]) + whole[middle + 40 :]
    for content in (whole[: middle // 2], whole[:8], b"", other):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput) as caught:
            read_image(tmp_path / name, pixel_size=0.1)
        assert "\n" not in str(caught.value)
    (tmp_path / name).write_bytes(flipped)
    with suppress(BadInput):  # a flipped byte among plain pixels is a pixel; nothing but BadInput may come out
        read_image(tmp_path / name, pixel_size=0.1)


def test_print_resolution_is_no_calibration(tmp_path: Path) -> None:
    """72 dots per inch is 3.5 million Å: the file says nothing about the specimen."""
    tifffile.imwrite(tmp_path / "a.tif", FRAME, resolution=(72, 72), resolutionunit="INCH")
    with pytest.raises(BadInput, match=r"does not state its pixel size; give it with --pixel-size"):
        read_image(tmp_path / "a.tif")


def test_file_and_config_that_disagree_are_both_named(tmp_path: Path) -> None:
    npz(tmp_path / "a.npz")
    assert read_image(tmp_path / "a.npz", pixel_size=0.205).warnings == ()
    image = read_image(tmp_path / "a.npz", pixel_size=0.25)
    assert image.pixel_size == 0.25
    (warning,) = image.warnings
    assert "0.25 Å" in warning
    assert "0.2 Å" in warning


def test_stack_needs_a_frame(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", np.stack([FRAME, FRAME + 1]))
    with pytest.raises(BadInput, match=r"stack.npy: .*image\.frame \(0 to 1\)"):
        read_image(tmp_path / "stack.npy", pixel_size=0.1)
    second = read_image(tmp_path / "stack.npy", pixel_size=0.1, frame=1)
    assert np.array_equal(second.pixels, (FRAME + 1).astype(np.float32))
    with pytest.raises(BadInput, match="frames 0 to 1"):
        read_image(tmp_path / "stack.npy", pixel_size=0.1, frame=2)


@pytest.mark.parametrize(
    ("pixels", "pixel_size", "message"),
    [
        (np.zeros((0, 0)), 0.1, r"image is empty: shape \(0, 0\)"),
        (np.full((20, 20), np.nan), 0.1, "400 of 400 pixels are NaN"),
        (np.ones((20, 20)), 0.1, "no contrast"),
        (np.ones((5, 20, 20, 3)), 0.1, "two dimensions"),
        (np.eye(8), 0.1, "too small"),
        (np.eye(20), 0, "pixel size must be positive, got 0.0 Å"),
        (np.eye(20), -0.1, "pixel size must be positive, got -0.1 Å"),
        (np.eye(20).astype(complex), 0.1, "real numbers"),
        (np.eye(20) * 1e300, 0.1, "20 of 400 pixels are NaN or infinite"),
    ],
)
def test_what_is_not_a_frame_is_refused(pixels: np.ndarray, pixel_size: float, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Image(pixels=pixels, pixel_size=pixel_size)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    """A .npy file of objects would run code when loaded."""
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match=r"cannot read a\.npy"):
        read_image(tmp_path / "a.npy", pixel_size=0.1)
