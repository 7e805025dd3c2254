"""A movie of any length is read in the memory of a frame, and says which frame is wrong."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile

from stem2sim.errors import BadInput
from stem2sim.imaging import lattice
from stem2sim.imaging.readers import ImageSource, read_image
from stem2sim.imaging.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAMES = np.random.default_rng(0).integers(0, 60000, (5, 24, 40)).astype(np.uint16)


def hdf5(path: Path, frames: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("movie", data=frames, chunks=(1, *frames.shape[1:]))


def nion(path: Path, frames: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, frames)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", content.getvalue())
        archive.writestr("metadata.json", json.dumps({}))


def page_by_page(path: Path, frames: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as file:
        for frame in frames:
            file.write(frame)


WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "a.npy": np.save,
    "a.npz": lambda path, frames: np.savez(path, movie=frames),
    "packed.npz": lambda path, frames: np.savez_compressed(path, movie=frames),
    "a.tif": lambda path, frames: tifffile.imwrite(path, frames, photometric="minisblack"),
    "packed.tif": lambda path, frames: tifffile.imwrite(path, frames, compression="zlib", photometric="minisblack"),
    "imagej.tif": lambda path, frames: tifffile.imwrite(path, frames, imagej=True),
    "one_page.tif": lambda path, frames: tifffile.imwrite(path, frames, truncate=True, photometric="minisblack"),
    "pages.tif": page_by_page,
    "a.h5": hdf5,
    "a.ndata1": nion,
}


def source(path: Path, **options: Any) -> ImageSource:
    return ImageSource(path=path, **{"pixel_size": 0.1, **options})


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_frames(tmp_path: Path, name: str) -> None:
    """In any order, and as `read_image` gives them."""
    WRITERS[name](tmp_path / name, FRAMES)
    with Stack(source(tmp_path / name)) as stack:
        assert len(stack) == 5
        assert stack.shape == (24, 40)
        assert stack.pixel_size == 0.1
        assert stack.field_of_view == pytest.approx((4.0, 2.4))
        for number in (3, 0, 4, 4, 1, 2):
            image = stack.frame(number)
            assert np.array_equal(image.pixels, FRAMES[number].astype(np.float32))
            assert image.fingerprint() == read_image(tmp_path / name, 0.1, number).fingerprint()
        assert [image.fingerprint() for image in stack] == [stack.frame(k).fingerprint() for k in range(5)]
        for outside in (5, -1):
            with pytest.raises(BadInput, match=f"has no frame {outside}; it has frames 0 to 4"):
                stack.frame(outside)


@pytest.mark.parametrize("name", WRITERS)
def test_a_single_frame_is_a_stack_of_one(tmp_path: Path, name: str) -> None:
    for frames in (FRAMES[0], FRAMES[:1]):
        if frames.ndim == 2 and name in ("one_page.tif", "pages.tif"):
            continue
        WRITERS[name](tmp_path / name, frames)
        with Stack(source(tmp_path / name)) as stack:
            assert len(stack) == 1
            assert np.array_equal(stack.frame(0).pixels, FRAMES[0].astype(np.float32))


def test_columns_first_is_read_right_too(tmp_path: Path) -> None:
    for name in ("a.npy", "a.npz"):
        WRITERS[name](tmp_path / name, np.asfortranarray(FRAMES))
        with Stack(source(tmp_path / name)) as stack:
            assert np.array_equal(stack.frame(2).pixels, FRAMES[2].astype(np.float32))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "packed.npz", "a.tif", "packed.tif", "a.h5", "a.ndata1"])
def test_memory_is_that_of_a_few_frames(tmp_path: Path, name: str) -> None:
    """64 frames of half a megabyte, read through."""
    frames = np.random.default_rng(0).integers(0, 9, (64, 512, 512)).astype(np.uint16)
    WRITERS[name](tmp_path / name, frames)
    with Stack(source(tmp_path / name)) as stack:
        stack.frame(0)  # imports and caches of the readers are not frames
        tracemalloc.start()
        for image in stack:
            assert image.shape == (512, 512)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 16 * frames[0].nbytes


def test_pages_of_different_sizes_are_named(tmp_path: Path) -> None:
    """The first of them, and both sizes; a single frame can still be read."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for frame in (FRAMES[0], FRAMES[1], FRAMES[2, :20, :30], FRAMES[3, :18]):
            file.write(frame)
    with pytest.raises(BadInput, match=r"a\.tif is not a stack: page 2 has shape \(20, 30\), page 0 has \(24, 40\)"):
        Stack(source(tmp_path / "a.tif"))
    assert np.array_equal(read_image(tmp_path / "a.tif", pixel_size=0.1).pixels, FRAMES[0].astype(np.float32))


def test_colours_are_averaged_and_hyperstacks_refused(tmp_path: Path) -> None:
    colours = np.repeat(FRAMES[..., None] // 256, 3, axis=3).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    with Stack(source(tmp_path / "a.tif")) as stack:
        assert len(stack) == 5
        assert np.array_equal(stack.frame(1).pixels, (FRAMES[1] // 256).astype(np.float32))
    tifffile.imwrite(tmp_path / "b.tif", FRAMES[:4].reshape(2, 2, 24, 40), imagej=True)
    with pytest.raises(BadInput, match=r"b\.tif: an image has two dimensions .* \(2, 2, 24, 40\)"):
        Stack(source(tmp_path / "b.tif"))


def test_a_bad_frame_is_named_and_leaves_the_others(tmp_path: Path) -> None:
    frames = FRAMES.astype(np.float32)
    frames[1, 3, 4] = np.inf
    frames[3] = 7
    np.save(tmp_path / "a.npy", frames)
    with Stack(source(tmp_path / "a.npy")) as stack:
        with pytest.raises(BadInput, match=r"a\.npy, frame 1: 1 of 960 pixels are NaN or infinite"):
            stack.frame(1)
        with pytest.raises(BadInput, match=r"a\.npy, frame 3: image has no contrast: every pixel is 7"):
            stack.frame(3)
        assert np.array_equal(stack.frame(4).pixels, frames[4])


@pytest.mark.parametrize("name", ["packed.npz", "packed.tif", "a.ndata1", "a.npz"])
def test_damaged_frames_are_one_line(tmp_path: Path, name: str) -> None:
    """Bytes flipped in the middle: what can be read is read, the rest is refused by its number, or all at once."""
    WRITERS[name](tmp_path / name, FRAMES)
    whole = (tmp_path / name).read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(255 - b for b in whole[middle : middle + 40]) + whole[middle + 40 :]
    for content in (flipped, whole[:middle], b""):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=name) as caught:
            list(Stack(source(tmp_path / name)))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 24, 40)), r"image is empty: shape \(0, 24, 40\)"),
        (np.zeros((3, 0, 40)), r"image is empty: shape \(0, 40\)"),
        (np.zeros((3, 8, 40)), r"too small to hold a lattice: shape \(8, 40\)"),
        (np.zeros((2, 3, 24, 40)), r"an image has two dimensions"),
        (np.zeros(40), r"an image has two dimensions"),
    ],
)
def test_what_is_no_stack_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "a.npz", movie=array)
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(BadInput, match=message):
        Stack(source(tmp_path / "a.npy"))
    with pytest.raises(BadInput, match=message if array.ndim > 1 else "holds no array with rows and columns"):
        Stack(source(tmp_path / "a.npz"))


def test_one_frame_is_not_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FRAMES)
    with pytest.raises(BadInput, match=r"image\.frame = 2 takes one frame of a stack; remove it"):
        Stack(source(tmp_path / "a.npy", frame=2))
    with pytest.raises(BadInput, match="no image file at"):
        Stack(source(tmp_path / "b.npy"))


def test_the_lattice_tells_a_missing_pixel_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where neither file nor user does; of a stack, the median over some of its frames."""
    np.save(tmp_path / "a.npy", FRAMES)
    np.savez(tmp_path / "stated.npz", movie=FRAMES, pixel_size=0.2)
    sizes = iter([0.11, None, 0.13])
    monkeypatch.setattr(lattice, "measured_pixel_size", lambda pixels, constant: next(sizes) if constant == 2.46 else 0)
    unknown = {"pixel_size": None, "lattice_constant": 2.46}
    with Stack(source(tmp_path / "a.npy", **unknown)) as stack:
        assert (stack.pixel_size, stack.pixel_size_source) == (pytest.approx(0.12), "lattice")
        assert stack.frame(1).pixel_size_source == "lattice"
    for path, options, expected in (
        (tmp_path / "stated.npz", unknown, (0.2, "file")),
        (tmp_path / "a.npy", {**unknown, "pixel_size": 0.3}, (0.3, "config")),
    ):
        with Stack(source(path, **options)) as stack:
            assert (stack.pixel_size, stack.pixel_size_source) == expected


def test_without_any_pixel_size_both_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", FRAMES[0])
    ways = r"--pixel-size .*--set image\.lattice_constant=2\.46 \(graphene\)"
    with pytest.raises(BadInput, match=ways):
        ImageSource(path=tmp_path / "a.npy").read()
    monkeypatch.setattr(lattice, "measured_pixel_size", lambda pixels, constant: None)
    with pytest.raises(BadInput, match=r"no lattice of 2\.46 Å was found in it; give .*--pixel-size 0"):
        ImageSource(path=tmp_path / "a.npy", lattice_constant=2.46).read()
    monkeypatch.setattr(lattice, "measured_pixel_size", lambda pixels, constant: 0.105)
    image = ImageSource(path=tmp_path / "a.npy", lattice_constant=2.46).read()
    assert (image.pixel_size, image.pixel_size_source) == (0.105, "lattice")
