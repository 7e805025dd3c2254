"""The page of a movie: its frames, the atoms in them, drift, tracks and events."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from stem2sim import drawing
from stem2sim.errors import BadInput
from stem2sim.image import origin_in_words
from stem2sim.report.blocks import Block, Facts, FrameView, Plot, Points, Raster, Section, Series, Table, Text, Warnings
from stem2sim.report.segmentation import radii
from stem2sim.runs.movie_folder import Movie, movie_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stem2sim.analysis.tracks import Event
    from stem2sim.image import Image
    from stem2sim.runs.run import Run

EVENT_COLOURS = {"birth": "#8ac926", "death": "#ff5fa2", "species change": "#ffd166"}
"""On grey frames; what happens at the border of the field is another colour."""

AT_BORDER = "#b8b8b8"

MOST_EVENTS = 500
"""Listed on the page; all of them are in events.csv."""


def movie(run: Run) -> Iterator[Section]:
    """The sections of a movie; none for a run without one."""
    found = movie_of(run)
    if found is None:
        return
    yield Section("Summary", [*_failure(run), Facts(dict(_facts(found))), *_caveats(found)])
    yield Section("Frames", [*_frames(found), *_counts(found)], "frames")
    yield Section("Drift", list(_drift(found)), "drift")
    yield Section("Tracks", list(_tracks(found)), "tracks")
    yield Section("Events", list(_events(found)), "events")


def _failure(run: Run) -> Iterator[Block]:
    if run.failure:
        yield Warnings([f"This run did not finish: {run.failure}"], grave=True)


def _facts(movie: Movie) -> Iterator[tuple[str, str | list[str]]]:
    about, tracks = movie.about, movie.tracks
    (rows, columns), size, source = about["shape"], about["pixel_size [Å]"], about["pixel_size_source"]
    yield (
        "movie",
        [
            f"{movie.run.title}: {movie.frames} frames of {columns * size:.1f} × {rows * size:.1f} Å, "
            f"{columns} × {rows} pixels",
            f"pixel size {size:.4f} Å ({origin_in_words(source)})",
        ],
    )
    done = movie.frames - len(movie.failed)
    yield "frames with atoms", f"{done} of {movie.frames}"
    species = Counter(tracks.species.tolist())
    yield (
        "detected atoms",
        [
            f"{len(tracks.frame)} in all frames: {', '.join(f'{n} {s}' for s, n in species.most_common())}",
            f"{np.median(_atoms_per_frame(movie)):g} per frame (median of the frames with atoms)",
        ],
    )
    yield "tracks", f"{len(tracks)}, {int((_lengths(movie) == done).sum())} of them through all frames with atoms"
    yield "events", ", ".join(f"{kind}: {n}" for kind, n in tracks.counts().items()) or "none"
    x, y = tracks.drift[-1]
    yield (
        "drift from the first frame to the last",
        f"x {x:.2f} Å, y {y:.2f} Å; measured in {int(tracks.drift_measured.sum())} of {movie.frames} frames",
    )


def _caveats(movie: Movie) -> Iterator[Block]:
    lines = list(movie.about["warnings"])
    unmeasured = int((~movie.tracks.drift_measured).sum())
    if unmeasured:
        lines.append(
            f"the drift could not be measured in {unmeasured} of {movie.frames} frames, and was taken as none there"
        )
    yield Warnings(lines, title="Caveats")


def _atoms_per_frame(movie: Movie) -> np.ndarray:
    """Numbers of atoms in the frames that have any."""
    counts = np.bincount(movie.tracks.frame, minlength=movie.frames)
    return counts[[number for number in range(movie.frames) if number not in movie.failed]]


def _lengths(movie: Movie) -> np.ndarray:
    """Frames that each track has an atom in."""
    return np.bincount(movie.tracks.track, minlength=len(movie.tracks))


def _frames(movie: Movie) -> Iterator[Block]:
    """The first and the last frame that have atoms, with their atoms."""
    done = [number for number in range(movie.frames) if number not in movie.failed]
    shown = list(dict.fromkeys((done[0], done[-1])))
    images: dict[int, Image] = {}
    try:
        images = movie.images(shown)
    except BadInput as problem:
        yield Warnings([f"The frames cannot be drawn: {problem}"])
    for number in shown:
        which = "First" if number == shown[0] else "Last"
        yield Section(f"{which} frame with atoms ({number})", [_view(movie, number, images.get(number))])


def _view(movie: Movie, number: int, image: Image | None) -> FrameView:
    tracks = movie.tracks
    rows = np.flatnonzero(tracks.frame == number)
    species = [str(tracks.species[k]) for k in rows]
    words = [
        f"track {tracks.track[k]}: {tracks.species[k]}; probability {tracks.probability[k]:.3f}; "
        f"x = {tracks.x[k]:.2f}, y = {tracks.y[k]:.2f} Å"
        for k in rows
    ]
    counts = Counter(species)
    colours = {name: drawing.colour(name) for name in counts}
    sizes = radii(counts)
    atoms = Points(
        "detected atoms", tracks.x[rows], tracks.y[rows], words, [colours[name] for name in species],
        np.array([sizes[name] for name in species]), shown=True,
        key={f"{name} ({n})": colours[name] for name, n in counts.items()},
    )  # fmt: skip
    happened = _happened(movie, number)
    rasters = [Raster.grey("image", image.pixels, image.pixel_size)] if image is not None else []
    rows_, columns = movie.about["shape"]
    size = movie.about["pixel_size [Å]"]
    extent = drawing.extent(np.empty((rows_, columns)), size)
    return FrameView(extent, rasters, [atoms, *happened], title=f"Frame {number} of {movie.run.title}")


def _happened(movie: Movie, number: int) -> Iterator[Points]:
    """Where the events of the movie up to a frame are in it, the drift since then added."""
    kinds: dict[str, list[Event]] = {}
    for event in movie.tracks.events:
        if event.frame <= number:
            kinds.setdefault(event.kind, []).append(event)
    drift = movie.tracks.drift
    for kind, events in kinds.items():
        moved = np.array([drift[number] - drift[event.frame] for event in events])
        colour = EVENT_COLOURS.get(kind, AT_BORDER)
        words = [f"{kind} in frame {one.frame}: track {one.track}, {_species(one)}" for one in events]
        at = np.array([[one.x, one.y] for one in events]) + moved
        yield Points(
            kind, at[:, 0], at[:, 1], words, colour, 0.9, shown=kind in EVENT_COLOURS, key={str(len(events)): colour}
        )


def _species(event: Event) -> str:
    return f"{event.before} → {event.after}" if event.before and event.after else event.before or event.after


def _counts(movie: Movie) -> Iterator[Block]:
    tracks = movie.tracks
    numbers = np.arange(movie.frames)
    series = []
    for species in sorted(set(tracks.species.tolist())):
        counts = np.bincount(tracks.frame[tracks.species == species], minlength=movie.frames).astype(float)
        counts[list(movie.failed)] = np.nan
        series.append(Series(species, numbers, counts))
    yield Plot("Atoms per frame", "frame", series, y_label="atoms")


def _drift(movie: Movie) -> Iterator[Block]:
    drift, numbers = movie.tracks.drift, np.arange(movie.frames)
    yield Text("The drift of the specimen since the first frame; it is removed before atoms are linked.")
    yield Plot("Drift", "frame", [Series("x", numbers, drift[:, 0]), Series("y", numbers, drift[:, 1])], y_label="[Å]")


def _tracks(movie: Movie) -> Iterator[Block]:
    tracks, lengths = movie.tracks, _lengths(movie)
    reach, gap = movie.linking["reach [Å]"], movie.linking["gap"]
    at = np.column_stack([tracks.x_drift_corrected, tracks.y_drift_corrected])
    centre = np.stack([np.bincount(tracks.track, at[:, k], len(tracks)) / lengths for k in (0, 1)], axis=1)
    square = np.bincount(tracks.track, ((at - centre[tracks.track]) ** 2).sum(axis=1), len(tracks))
    several = lengths > 1
    spread = np.sqrt(square[several] / (lengths[several] - 1) / 2)
    facts = {
        "tracks": str(len(tracks)),
        "length": f"median {np.median(lengths):g} frames, longest {lengths.max()} frames",
        "displacement between frames": f"up to {reach:g} Å after drift correction",
        "missed detections": f"in up to {gap:g} consecutive frames",
    }
    if len(spread):
        facts["standard deviation of the positions in a track, per axis"] = f"median {np.median(spread):.3f} Å"
    yield Facts(facts)
    edges = np.unique(np.linspace(0.5, movie.frames + 0.5, min(movie.frames, 40) + 1).round(3))
    yield Plot("Length of the tracks", "frames", [Series.histogram("tracks", lengths, edges)], "steps", "tracks")
    yield Text("All atoms of all frames are in tracks.csv.")


def _events(movie: Movie) -> Iterator[Block]:
    events = movie.tracks.events
    if not events:
        yield Text("No atom appeared, disappeared or changed its species.")
        return
    kinds = sorted({one.kind for one in events})
    numbers = np.arange(movie.frames)
    series = [
        Series(kind, numbers, np.bincount([e.frame for e in events if e.kind == kind], minlength=movie.frames))
        for kind in kinds
    ]
    yield Plot("Events per frame", "frame", series, y_label="events")
    rows = [
        [str(one.frame), one.kind, _species(one), str(one.track), f"{one.x:.2f}", f"{one.y:.2f}",
         "yes" if one.confirmed else "no"]
        for one in events[:MOST_EVENTS]
    ]  # fmt: skip
    more = f" The first {MOST_EVENTS} of {len(events)}; all are in events.csv." if len(events) > MOST_EVENTS else ""
    caption = (
        "The frame is the first one after the event. A birth or death is confirmed if enough frames on the other side "
        f"of it lack the atom; otherwise it may be a missed detection.{more}"
    )
    yield Table("Events", ("frame", "event", "species", "track", "x [Å]", "y [Å]", "confirmed"), rows, caption)
