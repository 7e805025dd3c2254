"""A movie to tracks: the atoms of every frame, one frame at a time, then which is which."""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ValidationError

from stem2sim import __version__
from stem2sim.analysis.linking import GAP, REACH, link
from stem2sim.errors import BadInput, StageFailed
from stem2sim.files import fingerprint, write_text
from stem2sim.imaging.stack import Stack
from stem2sim.progress import track
from stem2sim.runs.names import CONFIG, STATE
from stem2sim.runs.state import State
from stem2sim.segmentation import AtomsTable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stem2sim.analysis.tracks import Tracks
    from stem2sim.config.config import Config
    from stem2sim.image import Image
    from stem2sim.stages import Segmenter

log = logging.getLogger("stem2sim")

FRAMES = "frames"
TRACKS, EVENTS, DRIFT, SUMMARY = "tracks.csv", "events.csv", "drift.csv", "tracks.json"

SAVED_EVERY = 1.0
"""[s]; an interrupted movie loses at most this, and the frame it was at."""


class _Frame(BaseModel):
    """What is known of one frame that was segmented."""

    inputs: str
    """Hash of its pixels, the segmenter and its options."""
    file: str
    """Hash of its table: a movie may be interrupted between a table and this record of it."""
    atoms: int
    problem: str = ""
    """Why it has no atoms."""
    warnings: tuple[str, ...] = ()


class _State(BaseModel):
    frames: dict[int, _Frame] = {}


@dataclass
class MovieOutcome:
    """What tracking a movie left, for the command line to print."""

    folder: Path
    frames: int
    done_before: int = 0
    """Frames whose atoms were there already."""
    failed: dict[int, str] = field(default_factory=dict)
    """Frames without atoms, and why."""
    warnings: list[str] = field(default_factory=list)
    atoms: int = 0
    """Of all frames together."""
    tracks: int = 0
    events: dict[str, int] = field(default_factory=dict)
    """By kind."""
    drift_measured: int = 0
    """Frames whose drift could be measured."""

    def summary(self) -> dict[str, Any]:
        """Return it all as a tree that JSON can say."""
        return {**asdict(self), "folder": str(self.folder)}


def follow(config: Config, out: Path, reach: float = REACH, gap: int = GAP) -> MovieOutcome:
    """Find the atoms of every frame of a movie and follow them; finished frames are skipped.

    Writes `frames/atoms-00000.csv` and so on, `tracks.csv`, `events.csv`, `drift.csv` and `tracks.json` to the folder
    `out`. A frame that cannot be read, or in which no atoms are found, is a warning.

    Raises:
        BadInput: no stack of frames, or no atoms in any of them.
        StageFailed: the segmenter broke; frames finished before stay finished.
    """
    if config.image is None or config.segment is None or not config.segment.needs_image:
        raise BadInput("tracking starts from a stack of frames: give an image file, or a config with [image]")
    if reach <= 0 or gap < 0:
        raise BadInput(f"reach must be positive and gap not negative, got {reach} Å and {gap} frames")
    with Stack(config.image) as stack, State(out).locked():
        write_text(out / CONFIG, config.to_toml())
        for name in (TRACKS, EVENTS, DRIFT, SUMMARY):  # if it is interrupted, they must not stay beside other frames
            (out / name).unlink(missing_ok=True)
        outcome = MovieOutcome(out, len(stack), warnings=list(stack.warnings))
        log.info("image %s", stack.describe())
        for warning in stack.warnings:
            log.warning("%s", warning)
        known = _segment(config.segment, stack, out / FRAMES, outcome)
        if len(outcome.failed) == len(stack):
            first = min(outcome.failed)
            raise BadInput(f"no atoms in any of {len(stack)} frames; frame {first}: {outcome.failed[first]}")
        tables = [_table(out / FRAMES, number, known.get(number)) for number in range(len(stack))]
        with track("linking", len(stack)) as advance:
            tracks = link(tables, _pictures(stack, outcome.failed, advance), stack.field_of_view, reach, gap)
        _write(tracks, stack, config.segment, outcome, {"reach [Å]": reach, "gap": gap})
    return outcome


def _segment(segmenter: Segmenter, stack: Stack, folder: Path, outcome: MovieOutcome) -> dict[int, _Frame]:
    """Bring the atoms of all frames up to date; return what is known of each that could be read."""
    options = fingerprint(json.dumps(segmenter.provenance(), sort_keys=True), segmenter.input_fingerprint())
    before = {number: one for number, one in _read(folder / STATE).frames.items() if number < len(stack)}
    known: dict[int, _Frame] = {}
    notices = _Notices(outcome)
    _clear(folder, len(stack))
    saved = time.monotonic()
    started, fresh = 0.0, 0
    try:
        with track(f"{segmenter.name}: frames", len(stack)) as advance:
            for number in range(len(stack)):
                try:
                    image = stack.frame(number)
                except BadInput as problem:
                    notices.failed(number, str(problem))
                    advance()
                    continue
                inputs = fingerprint(options, image.fingerprint())
                done = before.get(number)
                if done is not None and done.inputs == inputs and done.file == _hash(folder / _name(number)):
                    outcome.done_before += 1
                else:
                    started = started or time.monotonic()
                    done = _one(segmenter, image, folder / _name(number), number, inputs)
                    fresh += 1
                known[number] = done
                outcome.atoms += done.atoms
                if done.problem:
                    notices.failed(number, done.problem)
                for warning in done.warnings:
                    notices.warned(number, warning)
                now = time.monotonic()
                if now - saved > SAVED_EVERY:
                    saved = now
                    _save(folder, {**before, **known})
                rate = fresh / max(now - started, 1e-9)
                advance(note=f"{rate:.2f} frames/s" if fresh else "already done")
    finally:
        _save(folder, {**before, **known})
    notices.summarise()
    return known


def _one(segmenter: Segmenter, image: Image, file: Path, number: int, inputs: str) -> _Frame:
    atoms, problem = AtomsTable.empty(), ""
    warnings: tuple[str, ...] = ()
    try:
        found = segmenter.segment(image)
        if len(found.atoms) == 0:
            raise BadInput("no atoms found; check the pixel size, and that the image shows a lattice")
        atoms, warnings = found.atoms, found.warnings
    except BadInput as complaint:
        problem = str(complaint)
    except Exception as failure:  # a segmenter is foreign code; the log keeps the traceback, the user gets one line
        log.debug("frame %d failed", number, exc_info=True)
        text = " ".join(str(failure).split())
        raise StageFailed(f"{segmenter.name}: frame {number}: {type(failure).__name__}: {text}") from failure
    write_text(file, atoms.to_csv())
    return _Frame(inputs=inputs, file=_hash(file), atoms=len(atoms), problem=problem, warnings=warnings)


def _hash(file: Path) -> str:
    """Hash of a file; '' where there is none."""
    return sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


class _Notices:
    """Warnings of many frames: the same one, whatever its numbers, is logged once, and counted at the end."""

    def __init__(self, outcome: MovieOutcome) -> None:
        self._outcome = outcome
        self._frames: dict[str, list[int]] = {}
        self._first: dict[str, str] = {}

    def failed(self, number: int, text: str) -> None:
        """Note a frame without atoms."""
        self._outcome.failed[number] = text
        self.warned(number, f"no atoms: {text}")

    def warned(self, number: int, text: str) -> None:
        """Note a warning about a frame."""
        kind = re.sub(r"[-+]?\d+(\.\d+)?", "#", text)
        if kind not in self._first:
            self._first[kind] = text
            log.warning("frame %d: %s", number, text)
        self._frames.setdefault(kind, []).append(number)

    def summarise(self) -> None:
        """Put every kind of warning into the outcome, with the number of frames it is about."""
        for kind, numbers in self._frames.items():
            more = len(numbers) - 1
            also = f" (and {more} more frames like it, the last {numbers[-1]})" if more else ""
            self._outcome.warnings.append(f"frame {numbers[0]}: {self._first[kind]}{also}")
            if more:
                log.warning("%d more frames like frame %d, the last %d", more, numbers[0], numbers[-1])


def _name(number: int) -> str:
    return f"atoms-{number:05d}.csv"


def _clear(folder: Path, frames: int) -> None:
    """Remove the atoms of frames that a shorter movie does not have."""
    for file in folder.glob("atoms-*.csv"):
        digits = file.stem.removeprefix("atoms-")
        if digits.isdigit() and int(digits) >= frames:
            file.unlink()


def _read(file: Path) -> _State:
    if not file.is_file():
        return _State()
    try:
        return _State.model_validate_json(file.read_bytes())
    except ValidationError:
        raise BadInput(f"{file} is damaged; delete it, and every frame is segmented again") from None


def _save(folder: Path, frames: dict[int, _Frame]) -> None:
    write_text(folder / STATE, _State(frames=frames).model_dump_json(indent=1, exclude_defaults=True))


def _table(folder: Path, number: int, known: _Frame | None) -> AtomsTable | None:
    """The atoms of a frame from its file: those of old and new frames went through the same rounding."""
    if known is None or not known.atoms:
        return None
    table = AtomsTable.from_csv(folder / _name(number))
    # all frames are held at once to be linked: without what linking does not ask for, in half the memory
    return table.model_copy(update={"flags": np.full(len(table), "", dtype=np.str_), "shares": {}})


def _pictures(stack: Stack, failed: dict[int, str], advance: Any) -> Iterator[Image | None]:
    for number in range(len(stack)):
        yield None if number in failed else stack.frame(number)
        advance()


def _write(
    tracks: Tracks, stack: Stack, segmenter: Segmenter, outcome: MovieOutcome, options: dict[str, float]
) -> None:
    outcome.tracks, outcome.events = len(tracks), tracks.counts()
    outcome.drift_measured = int(tracks.drift_measured.sum())
    log.info("%d atoms in %d tracks over %d frames", outcome.atoms, len(tracks), len(stack))
    for kind, number in outcome.events.items():
        log.info("  %s: %d", kind, number)
    write_text(outcome.folder / TRACKS, tracks.to_csv())
    write_text(outcome.folder / EVENTS, tracks.events_csv())
    write_text(outcome.folder / DRIFT, tracks.drift_csv())
    about = {
        **outcome.summary(),
        "linking": options,
        "pixel_size [Å]": stack.pixel_size,
        "pixel_size_source": stack.pixel_size_source,
        "segmenter": segmenter.provenance(),
        "version": __version__,
    }
    write_text(outcome.folder / SUMMARY, json.dumps(about, indent=1, ensure_ascii=False))
