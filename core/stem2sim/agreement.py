"""Does the frame show what was simulated? The structure drawn as the microscope would see it, and held against it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage
from scipy.spatial import cKDTree

from stem2sim.bonds import groups, neighbours
from stem2sim.errors import BadInput
from stem2sim.forward import Probe
from stem2sim.frame import laid_out
from stem2sim.peaks import Peaks, fit
from stem2sim.registration import parts, registered
from stem2sim.rings import rings

if TYPE_CHECKING:
    from ase import Atoms

    from stem2sim.image import Image
    from stem2sim.segmentation import Segmentation

PIXEL = 0.21
"""[Å]; finer frames are binned up to here, which loses nothing of a probe that is 0.6 Å wide or wider."""

MARGIN = 4.0
"""[Å] of the frame round the structure that is looked at as well."""

COLUMN = 0.4
"""[Å]; atoms closer than this in projection are one peak."""

OWN = 0.7
"""[Å]; half a bond: an atom found this close to a site of the structure is that site's."""

BONDED = 1.9
"""[Å]; a place this close to an atom is a neighbour's."""

PRESENT = 0.5
"""Of the height of the frame's commonest atom: half way between an atom and none. Carbon in real frames keeps within
0.65 to 1.5."""

FAINT = 0.6
"""Of that height: beside a bright atom, whose tail is not the probe's alone, what is fainter is unclear."""

DISPLACED = 0.3
"""[Å]; a fifth of a bond. Real frames and relaxed structures differ by 0.05 to 0.15 Å."""

SURE = 3.0
"""Standard deviations, from the frame's own noise, that a verdict needs."""

PAIRED = 1.1
"""[Å]; an atom that is missing this close to one that is extra is that one, displaced."""

EXPONENTS = (1.3, 2.2)
"""Of Z in the height of a peak: annular detectors stay within (see `forward`)."""

Kind = Literal["explained", "missing", "extra", "displaced", "wrong species", "unclear"]
Floats = NDArray[np.float64]


class Verdict(BaseModel):
    """What the frame says of one site of the structure, or of a place that the structure leaves empty."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    atoms: tuple[int, ...] = Field(description="numbers in the structure; none for one that is missing")
    species: str = Field(description="what the structure has there, such as C, or C+Cr for one above the other")
    seen: str = Field(description="what the frame shows there; '' for nothing")
    x: float = Field(description="in the frame, as the structure has it [Å]")
    y: float = Field(description="[Å]")
    dx: float = Field(0.0, description="from there to where the frame has it [Å]")
    dy: float = Field(0.0, description="[Å]")
    std: float = Field(description="of dx, and of dy, from the frame's noise [Å]")
    height: float = Field(description="of the peak in the frame, in those of the frame's commonest atom")
    height_std: float = Field(description="from the frame's noise")
    expected: float = Field(description="height that the structure calls for; 0 where it has nothing")
    residual: float = Field(description="rms of frame less drawing within a probe's width, in peaks")

    def told(self) -> str:
        """Return it in words."""
        who = f"{self.species} {', '.join(map(str, self.atoms))}" if self.atoms else self.seen
        where = f"at x = {self.x:.2f}, y = {self.y:.2f} Å"
        return {
            "explained": f"{who} {where} explained",
            "missing": f"the frame shows {self.seen} {where}, the structure has nothing there",
            "extra": f"{who} {where}: the frame shows nothing there",
            "displaced": f"{who} {where}: the frame has it {np.hypot(self.dx, self.dy):.2f} Å away",
            "wrong species": f"{who} {where}: as bright as {self.seen}",
            "unclear": f"{who} {where}: between an atom and none",
        }[self.kind]


class Agreement(BaseModel):
    """How well a structure explains its frame."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    correlation: float = Field(description="normalised cross-correlation of drawing and frame, over the structure")
    ceiling: float = Field(description="correlation that the frame's noise would leave a perfect drawing")
    shift: tuple[float, float] = Field(description="of the structure, to lie on the frame [Å]")
    stretch: tuple[float, float, float] = Field(
        description="scale less 1, rotation [degrees] and shear, beyond those it was built with"
    )
    matrix: tuple[tuple[float, float], tuple[float, float]] = Field(
        description="takes x, y of the structure to those in the frame, with the offset"
    )
    offset: tuple[float, float] = Field(description="[Å]")
    probe: Probe
    noise: float = Field(description="of one pixel of the maps, in peaks of the commonest atom")
    verdicts: tuple[Verdict, ...]
    pixel_size: float = Field(description="of the maps [Å]")
    origin: tuple[float, float] = Field(description="x, y of the maps' top-left pixel in the frame [Å]")
    frame: Floats = Field(description="(rows, columns) in peaks of the commonest atom, background off", repr=False)
    drawn: Floats = Field(description="(rows, columns) the structure, and round it what else was found", repr=False)
    counted: NDArray[np.bool_] = Field(description="(rows, columns) the structure's own area", repr=False)

    @property
    def residual(self) -> Floats:
        """(rows, columns) frame less drawing, in peaks of the commonest atom."""
        return self.frame - self.drawn

    def correlation_with(self, image: Floats, pixel_size: float, origin: tuple[float, float]) -> float:
        """Return the normalised cross-correlation of the frame with another drawing of the structure, over its area.

        Args:
            image: (rows, columns), any unit.
            pixel_size: of the image [Å].
            origin: x, y of the image's top-left pixel, in the structure [Å].
        """
        rows, columns = np.nonzero(self.counted)
        there = np.column_stack([columns, rows]) * self.pixel_size + self.origin
        own = np.linalg.solve(np.array(self.matrix), (there - self.offset).T).T
        x, y = ((own - origin) / pixel_size).T
        inside = (x >= 0) & (y >= 0) & (x <= image.shape[1] - 1) & (y <= image.shape[0] - 1)
        drawn = ndimage.map_coordinates(image, [y[inside], x[inside]], order=1)
        return float(np.corrcoef(drawn, self.frame[self.counted][inside])[0, 1])

    def counts(self) -> dict[str, int]:
        """Return verdicts by kind, the most frequent first."""
        return dict(Counter(one.kind for one in self.verdicts).most_common())

    def doubted(self) -> list[Verdict]:
        """Return what the structure does not explain."""
        return [one for one in self.verdicts if one.kind != "explained"]

    def summary(self) -> dict[str, Any]:
        """Return it for programs, without the maps."""
        return self.model_dump(mode="json", exclude={"frame", "drawn", "counted"}) | {"counts": self.counts()}


THRESHOLDS = (
    f"An atom counts as there from {PRESENT:g} of the height of the frame's commonest atom, half way between one and "
    f"none; as displaced from {DISPLACED:g} Å, a fifth of a bond; as of another species where its height is nearer to "
    f"that one's on a logarithmic scale. Each verdict stands only where it is {SURE:g} standard deviations of the "
    "frame's noise away from the threshold's other side."
)


def agreement(image: Image, segmentation: Segmentation, atoms: Atoms, built: Atoms | None = None) -> Agreement:
    """Draw a structure as the frame would show it, register it, and judge every atom.

    Args:
        image: the frame.
        segmentation: of it; says where the structure lies, and what else is near.
        atoms: of the structure, with the array `source`.
        built: the same atoms as they were measured, before they were relaxed: they say best where it lies.

    Raises:
        BadInput: nothing says where in the frame the structure lies.
    """
    return _Held(image, segmentation, atoms, built if built is not None else atoms).judged()


class _Held:
    """A structure and its frame on the way to a verdict."""

    def __init__(self, image: Image, segmentation: Segmentation, atoms: Atoms, built: Atoms) -> None:
        lies, moved = laid_out(built, segmentation)
        self.lies = lies
        heavy = np.flatnonzero(atoms.numbers != 1)
        xy = lies.to_frame((atoms.positions + moved)[heavy, :2])
        close = cKDTree(xy).query_pairs(COLUMN, output_type="ndarray").reshape(-1, 2)
        column = groups(len(heavy), close[:, 0], close[:, 1])
        self.members = [tuple(int(k) for k in heavy[column == c]) for c in range(column.max() + 1)]
        start = np.array([xy[column == c].mean(axis=0) for c in range(len(self.members))])
        self.atoms = atoms
        self._binned(image, start)
        start -= self.origin
        found = segmentation.atoms.chosen(segmentation.atoms.probability >= 0.5)
        inside = ((found.positions > self.origin) & (found.positions < self.origin + self.size)).all(axis=1)
        self.found = found.chosen(inside)
        there = self.found.positions - self.origin
        others = cKDTree(start).query(there)[0] > OWN if len(there) else np.zeros(0, dtype=bool)
        self.start, self.there, self.others = start, there, there[others]

    def _binned(self, image: Image, xy: Floats) -> None:
        """Cut out the structure's part of the frame, on pixels that are no finer than they need be."""
        k = max(1, int(PIXEL / image.pixel_size))
        low = np.clip(np.floor((xy.min(axis=0) - MARGIN) / image.pixel_size).astype(int), 0, None)
        high = np.minimum(np.ceil((xy.max(axis=0) + MARGIN) / image.pixel_size).astype(int), image.shape[::-1])
        columns, rows = (high - low) // k * k
        if min(columns, rows) < 4 * k:
            raise BadInput("the structure lies outside of its frame")
        cut = image.pixels[low[1] : low[1] + rows, low[0] : low[0] + columns].astype(float)
        self.pixels = cut.reshape(rows // k, k, columns // k, k).mean(axis=(1, 3))
        self.pixel_size = image.pixel_size * k
        self.origin = (low + (k - 1) / 2) * image.pixel_size
        self.size = np.array(self.pixels.shape[::-1]) * self.pixel_size

    def judged(self) -> Agreement:
        """Fit, register, fit again, judge."""
        count = len(self.start)
        every = np.vstack([self.start, self.others])
        free = np.ones(len(every), dtype=bool)
        first = fit(self.pixels, self.pixel_size, every, Probe(), free, settle=True)
        unit = self._unit(first)
        good = first.heights[:count] > PRESENT * unit
        self.matrix, self.offset = registered(self.start[good], first.positions[:count][good])
        placed = self.start @ self.matrix.T + self.offset
        others = first.positions[count:][first.heights[count:] > PRESENT * unit]
        # an atom that is not there has no place to go to
        there = fit(self.pixels, self.pixel_size, np.vstack([placed, others]), first.probe).heights > 0.4 * unit
        for _ in range(3):  # what is missing pulls at its neighbours until it is in the model
            last = fit(self.pixels, self.pixel_size, np.vstack([placed, others]), first.probe, there)
            more = self._unexplained(last, placed, unit)
            if len(more) == 0:
                break
            others = np.vstack([last.positions[count:], more])
            there = np.concatenate([there, np.ones(len(more), dtype=bool)])
        self.unit = self._unit(last)
        return self._judge(placed, last)

    def _unit(self, peaks: Peaks) -> float:
        """Height of the commonest species that was found here."""
        species = self._labels(peaks.positions)
        common = Counter(species[species != ""].tolist()).most_common(1)
        chosen = peaks.heights[species == common[0][0]] if common else peaks.heights
        self.host = common[0][0] if common else ""
        return max(float(np.median(chosen)), 1e-12)

    def _labels(self, xy: Floats) -> NDArray[np.str_]:
        """Species that the segmenter gave to what lies here; '' for nothing."""
        if len(self.there) == 0:
            return np.full(len(xy), "")
        d, k = cKDTree(self.there).query(xy)
        return np.where(d < OWN, self.found.species[k], "")

    def _unexplained(self, peaks: Peaks, placed: Floats, unit: float) -> Floats:
        """Places at the structure where what is left of the frame has an atom's height."""
        half = int(np.ceil(peaks.probe.fwhm / self.pixel_size))
        steps = np.arange(-half, half + 1) * self.pixel_size
        kernel = peaks.probe.profile(*np.meshgrid(steps, steps))[0]
        height = ndimage.correlate(peaks.left, kernel / (kernel**2).sum(), mode="nearest")
        top = (height == ndimage.maximum_filter(height, 2 * half + 1)) & (height > PRESENT * unit)
        found = np.argwhere(top)[:, ::-1] * self.pixel_size
        if len(found) == 0:
            return found.astype(float)
        apart = (cKDTree(peaks.positions).query(found)[0] > OWN) & (cKDTree(placed).query(found)[0] < 2 * BONDED)
        return np.asarray(found[apart], dtype=float)

    def _judge(self, placed: Floats, peaks: Peaks) -> Agreement:
        count = len(placed)
        exponent = self._exponent(peaks)
        self.known = self._heights(exponent)
        expected = np.array([sum(self._height(self.atoms.numbers[k], exponent) for k in m) for m in self.members])
        height, std = peaks.heights / self.unit, peaks.height_std / self.unit
        heights = np.concatenate([expected, height[count:]])
        drawn = peaks.probe.draw(
            np.vstack([placed, peaks.positions[count:]]), heights, self.pixel_size, _shape(self.pixels)
        ).astype(float)
        frame = (self.pixels - peaks.background) / self.unit
        counted = self._area(placed)
        claimed = self._claimed(placed)
        missing = count + np.flatnonzero(
            claimed(peaks.positions[count:]) & (height[count:] - SURE * std[count:] > 0) & (height[count:] > PRESENT)
        )
        if len(missing):  # what the structure lacks is no part of its drawing
            drawn -= peaks.probe.draw(peaks.positions[missing], height[missing], self.pixel_size, _shape(self.pixels))
        left = frame - drawn
        noise = 1.4826 * float(np.median(np.abs(peaks.left - np.median(peaks.left)))) / self.unit
        around = self._residuals(np.vstack([placed, peaks.positions[missing]]), left, peaks.probe.fwhm)
        verdicts = [self._of_site(k, placed[k], peaks, height[k], std[k], expected[k], around[k]) for k in range(count)]
        lacking = [
            Verdict(
                kind="missing", atoms=(), species="", seen=self._nearest(height[k]), x=float(x), y=float(y),
                std=float(peaks.position_std[k]), height=float(height[k]), height_std=float(std[k]), expected=0.0,
                residual=float(around[count + n]),
            )
            for n, k in enumerate(missing)
            for x, y in [peaks.positions[k] + self.origin]
        ]  # fmt: skip
        inside = frame[counted]
        spread = float(inside.var())
        scale, turn, shear = parts(self.matrix)
        whole = self.matrix @ self.lies.matrix
        at = self.matrix @ (self.lies.offset - self.origin) + self.offset + self.origin
        return Agreement(
            correlation=float(np.corrcoef(inside, drawn[counted])[0, 1]),
            ceiling=float(np.sqrt(np.clip(1 - noise**2 / max(spread, 1e-12), 0, 1))),
            shift=tuple((self.offset + self.start.mean(axis=0) @ (self.matrix.T - np.eye(2))).tolist()),
            stretch=(scale - 1, turn, shear),
            matrix=((float(whole[0, 0]), float(whole[0, 1])), (float(whole[1, 0]), float(whole[1, 1]))),
            offset=(float(at[0]), float(at[1])),
            probe=peaks.probe.model_copy(update={"scattering_exponent": exponent}),
            noise=noise,
            verdicts=tuple(_paired(verdicts, lacking)),
            pixel_size=self.pixel_size,
            origin=tuple(self.origin.tolist()),
            frame=frame,
            drawn=drawn,
            counted=counted,
        )

    def _of_site(
        self, k: int, at: Floats, peaks: Peaks, height: float, std: float, expected: float, residual: float
    ) -> Verdict:
        off = peaks.positions[k] - at
        error = float(peaks.position_std[k])
        far = float(np.hypot(*off))
        species = "+".join(self.atoms.symbols[m] for m in self.members[k])
        seen = self._nearest(height, {species: expected}) if height > PRESENT else ""
        kind: Kind = "explained"
        if height < PRESENT:
            kind = "extra" if height + SURE * std < expected else "unclear"
        elif height < FAINT and height + SURE * std < expected:
            kind = "unclear"
        elif far > DISPLACED and far - SURE * error > 0:
            kind = "displaced"
        elif seen != species and abs(height - expected) > SURE * std:
            kind = "wrong species"
        x, y = at + self.origin
        return Verdict(
            kind=kind, atoms=self.members[k], species=species, seen=seen, x=float(x), y=float(y),
            dx=float(off[0]), dy=float(off[1]), std=error, height=float(height), height_std=float(std),
            expected=float(expected), residual=float(residual),
        )  # fmt: skip

    def _exponent(self, peaks: Peaks) -> float:
        """Of Z in the height of a peak, by the species that the segmenter told apart; the usual one otherwise."""
        usual = Probe().scattering_exponent
        labels = self._labels(peaks.positions)
        host = atomic_numbers.get(self.host, 0)
        found = []
        for label, height in zip(labels, peaks.heights / self.unit, strict=True):
            number = atomic_numbers.get(str(label), 0)
            if host and number and number != host and height > PRESENT:
                found.append(float(np.log(height) / np.log(number / host)))
        return float(np.clip(np.median(found), *EXPONENTS)) if found else usual

    def _height(self, number: int, exponent: float) -> float:
        host = atomic_numbers.get(self.host.rstrip("23456789"), 0) or int(
            np.bincount(self.atoms.numbers[self.atoms.numbers != 1]).argmax()
        )
        return float((number / host) ** exponent)

    def _heights(self, exponent: float) -> dict[str, float]:
        """Height by species, of all that there may be."""
        names = {str(s) for s in self.found.species} | set(self.atoms.get_chemical_symbols()) - {"H"}
        numbers = [atomic_numbers[name] for name in names if name in atomic_numbers]
        return {chemical_symbols[z]: self._height(z, exponent) for z in numbers}

    def _nearest(self, height: float, more: dict[str, float] | None = None) -> str:
        """Species whose height is nearest, on the scale of ratios."""
        heights = self.known | (more or {})
        return min(heights, key=lambda name: abs(np.log(max(height, 1e-6) / heights[name])))

    def _area(self, placed: Floats) -> NDArray[np.bool_]:
        """(rows, columns) pixels within a bond of the structure."""
        rows, columns = self.pixels.shape
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        points = np.column_stack([x.ravel(), y.ravel()]) * self.pixel_size
        return np.asarray(cKDTree(placed).query(points)[0] < 1.2).reshape(rows, columns)

    def _claimed(self, placed: Floats) -> Any:
        """Say of places whether the structure claims that nothing is there: inside of it, and at its bare edges.

        Where it was cut out of the sheet, hydrogen stands for what goes on.
        """
        site = {k: n for n, members in enumerate(self.members) for k in members}
        outlines = [Outline(placed[[site[k] for k in ring.atoms]]) for ring in rings(self.atoms)]
        towards = self._hydrogens(placed)
        tree = cKDTree(placed)

        def claimed(places: Floats) -> NDArray[np.bool_]:
            out = np.zeros(len(places), dtype=bool)
            for k, place in enumerate(places):
                nearest = float(tree.query(place)[0])
                beside = tree.query_ball_point(place, 1.2 * nearest) if nearest < BONDED else []
                inside = any(outline.contains_point(place) for outline in outlines)
                bare = [n for n in beside if not any(_alike(place - placed[n], one) for one in towards[n])]
                out[k] = inside or bool(bare)
            return out

        return claimed

    def _hydrogens(self, placed: Floats) -> list[list[Floats]]:
        """Directions in the frame from each site to its hydrogens."""
        site = {k: n for n, members in enumerate(self.members) for k in members}
        near = neighbours(self.atoms)
        out: list[list[Floats]] = [[] for _ in self.members]
        turned = self.matrix @ self.lies.matrix
        for k, n in site.items():
            for h in near[k]:
                if self.atoms.numbers[h] == 1:
                    out[n].append(turned @ (self.atoms.positions[h] - self.atoms.positions[k])[:2])
        return out

    def _residuals(self, xy: Floats, left: Floats, fwhm: float) -> Floats:
        """(places,) rms of what is left round each."""
        rows, columns = left.shape
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        points = np.column_stack([x.ravel(), y.ravel()]) * self.pixel_size
        near = cKDTree(points).query_ball_point(xy, fwhm)
        flat = left.ravel()
        return np.array([np.sqrt((flat[one] ** 2).mean()) if one else 0.0 for one in near])


def _alike(one: Floats, other: Floats) -> bool:
    """Whether two directions are within 75° of each other: bonds are 120° apart."""
    return bool(one @ other > 0.26 * np.hypot(*one) * np.hypot(*other))


def _paired(verdicts: list[Verdict], lacking: list[Verdict]) -> list[Verdict]:
    """An atom that is extra and one that is missing beside it are one that is displaced."""
    left = list(lacking)
    out = []
    for one in verdicts:
        if one.kind == "extra" and left:
            near = min(left, key=lambda other: np.hypot(other.x - one.x, other.y - one.y))
            dx, dy = near.x - one.x, near.y - one.y
            if np.hypot(dx, dy) < PAIRED:
                left.remove(near)
                one = one.model_copy(
                    update={"kind": "displaced", "dx": dx, "dy": dy, "std": near.std, "seen": near.seen}
                )
        out.append(one)
    return [*out, *left]


def _shape(frame: Floats) -> tuple[int, int]:
    return int(frame.shape[0]), int(frame.shape[1])
