"""Does the frame show what was simulated? The structure drawn as the microscope would see it, and held against it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from stem2sim.agreement.agreement import Agreement
from stem2sim.agreement.sites import BRIGHTER, DISPLACED, FAINTER, PRESENT, SURE, SURE_OF_ANYWHERE, Kind, Verdict
from stem2sim.analysis.placement import laid_out
from stem2sim.errors import BadInput
from stem2sim.geometry.affine import fit_affine
from stem2sim.geometry.bonds import Bonds, groups
from stem2sim.geometry.columns import contents, label_of
from stem2sim.geometry.rings import rings
from stem2sim.geometry.superposition import moved, superposed
from stem2sim.imaging.brightness import Brightness
from stem2sim.imaging.forward import Probe
from stem2sim.imaging.peaks import Peaks, fit

if TYPE_CHECKING:
    from collections.abc import Callable

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

FAINT = 0.6
"""Of that height: beside a bright atom, whose tail is not the probe's alone, what is fainter is unclear."""

PAIRED = 1.1
"""[Å]; an atom that is missing this close to one that is extra is that one, displaced."""

GLARE = 0.12
"""Of a brighter neighbour's height, what its tail may add to an atom beside it beyond the probe that all share."""

CUT = 1.5
"""[Å]; so close to the frame's border half of a peak is cut off, and its place is not known."""

SEEN = 0.3
"""[Å]; closer to the border, or beyond it, nothing can be said."""

Floats = NDArray[np.float64]


def agreement(
    image: Image, segmentation: Segmentation, atoms: Atoms, built: Atoms | None = None, probe: Probe | None = None
) -> Agreement:
    """Draw a structure as the frame would show it, register it, and judge every atom.

    Args:
        image: the frame.
        segmentation: of it; says where the structure lies, and what else is near.
        atoms: of the structure, with the array `source`.
        built: the same atoms as they were measured, before they were relaxed: they say best where it lies.
        probe: of the frame, where another structure has told it; left out, it is fitted.

    Raises:
        BadInput: nothing says where in the frame the structure lies, or the frame does not show that place.
    """
    try:
        return _Held(image, segmentation, atoms, built if built is not None else atoms).judged(probe)
    except (RuntimeError, np.linalg.LinAlgError) as problem:  # a singular fit: too few atoms, or pixels, for it
        raise BadInput(f"the structure cannot be fitted to the frame: {problem}") from problem


class _Held:
    """A structure and its frame on the way to a verdict."""

    def __init__(self, image: Image, segmentation: Segmentation, atoms: Atoms, built: Atoms) -> None:
        self.lies, unwrapped = laid_out(built, segmentation)
        positions = _at_rest(atoms, built) + (unwrapped if len(unwrapped) == len(atoms) else 0)
        heavy = np.flatnonzero(atoms.numbers != 1)
        if len(heavy) == 0:
            raise BadInput("there is no atom to judge: a frame does not show hydrogen")
        xy = self.lies.apply(positions[heavy, :2])
        close = cKDTree(xy).query_pairs(COLUMN, output_type="ndarray").reshape(-1, 2)
        column = groups(len(heavy), close[:, 0], close[:, 1])
        members = [tuple(int(k) for k in heavy[column == c]) for c in range(column.max() + 1)]
        every = np.array([xy[column == c].mean(axis=0) for c in range(len(members))])
        high = np.array(image.field_of_view) - image.pixel_size
        border = np.minimum(every, high - every).min(axis=1)
        seen = border > SEEN
        if not seen.any():
            raise BadInput("the structure lies outside of its frame")
        self.members = [m for m, one in zip(members, seen, strict=True) if one]
        self.beyond = [(m, at) for m, at, one in zip(members, every, seen, strict=True) if not one]
        self.labels = [label_of(atoms.numbers[list(m)]) for m in self.members]
        self.border, start = border[seen], every[seen]
        self.atoms, self.positions = atoms, positions
        self._binned(image, start)
        start = start - self.origin
        found = segmentation.atoms.chosen(segmentation.atoms.probability >= 0.5)
        inside = ((found.positions > self.origin) & (found.positions < self.origin + self.size)).all(axis=1)
        self.found = found.chosen(inside)
        there = self.found.positions - self.origin
        others = cKDTree(start).query(there)[0] > OWN if len(there) else np.zeros(0, dtype=bool)
        self.start, self.there, self.others = start, there, there[others]
        names = Counter(str(s) for s in self.found.species if contents(str(s)))
        self.host = (names or Counter(self.labels)).most_common(1)[0][0]
        self.known = {*names, *self.labels}
        self.brightness = Brightness(self.host)
        self.faintest = min(map(self.brightness.of, self.known))

    def _binned(self, image: Image, xy: Floats) -> None:
        """Cut out the structure's part of the frame, on pixels that are no finer than they need be."""
        k = max(1, int(PIXEL / image.pixel_size))
        low = np.clip(np.floor((xy.min(axis=0) - MARGIN) / image.pixel_size).astype(int), 0, None)
        high = np.minimum(np.ceil((xy.max(axis=0) + MARGIN) / image.pixel_size).astype(int), image.shape[::-1])
        columns, rows = (high - low) // k * k
        cut = image.pixels[low[1] : low[1] + rows, low[0] : low[0] + columns].astype(float)
        self.pixels = cut.reshape(rows // k, k, columns // k, k).mean(axis=(1, 3))
        self.pixel_size = image.pixel_size * k
        self.origin = (low + (k - 1) / 2) * image.pixel_size
        self.size = np.array(self.pixels.shape[::-1]) * self.pixel_size

    def judged(self, probe: Probe | None) -> Agreement:
        """Fit, register, fit again, judge."""
        count = len(self.start)
        every = np.vstack([self.start, self.others])
        free = np.ones(len(every), dtype=bool)
        first = fit(self.pixels, self.pixel_size, every, probe or Probe(), free, settle=probe is None)
        unit = self._unit(first)
        least = PRESENT * self.faintest * unit
        good = first.heights[:count] > least
        self.fitted = fit_affine(self.start[good], first.positions[:count][good], robust=True)
        placed = self.fitted.apply(self.start)
        others = first.positions[count:][first.heights[count:] > least]
        # an atom that is not there has no place to go to
        still = fit(self.pixels, self.pixel_size, np.vstack([placed, others]), first.probe)
        there = still.heights > 0.8 * least
        for _ in range(3):  # what is missing pulls at its neighbours until it is in the model
            last = fit(self.pixels, self.pixel_size, np.vstack([placed, others]), first.probe, there)
            more = self._unexplained(last, placed, least)
            if len(more) == 0:
                break
            others = np.vstack([last.positions[count:], more])
            there = np.concatenate([there, np.ones(len(more), dtype=bool)])
        return self._judge(placed, last, self._unit(last))

    def _unit(self, peaks: Peaks) -> float:
        """Height of the commonest column."""
        labels = self._labels(peaks.positions)
        if not (labels == self.host).any():  # nothing was found here: the structure's own
            labels = np.array([*self.labels, *([""] * (len(peaks.positions) - len(self.labels)))])
        return max(float(np.median(peaks.heights[labels == self.host])), 1e-12)

    def _labels(self, xy: Floats) -> NDArray[np.str_]:
        """Species that the segmenter gave to what lies here; '' for nothing."""
        if len(self.there) == 0:
            return np.full(len(xy), "")
        d, k = cKDTree(self.there).query(xy)
        return np.where(d < OWN, self.found.species[k], "")

    def _unexplained(self, peaks: Peaks, placed: Floats, least: float) -> Floats:
        """Places at the structure where what is left of the frame has an atom's height."""
        half = int(np.ceil(peaks.probe.fwhm / self.pixel_size))
        steps = np.arange(-half, half + 1) * self.pixel_size
        kernel = peaks.probe.profile(*np.meshgrid(steps, steps))[0]
        height = ndimage.correlate(peaks.left, kernel / (kernel**2).sum(), mode="nearest")
        top = (height == ndimage.maximum_filter(height, 2 * half + 1)) & (height > least)
        found = np.argwhere(top)[:, ::-1] * self.pixel_size
        if len(found) == 0:
            return found.astype(float)
        apart = (cKDTree(peaks.positions).query(found)[0] > OWN) & (cKDTree(placed).query(found)[0] < 2 * BONDED)
        return np.asarray(found[apart], dtype=float)

    def _judge(self, placed: Floats, peaks: Peaks, unit: float) -> Agreement:
        count = len(placed)
        height, std = peaks.heights / unit, peaks.height_std / unit
        labels = self._labels(peaks.positions)
        several = self.brightness.read_off(labels, height)
        if several is not None:
            self.brightness = Brightness(self.host, several)
        expected = np.array([self.brightness.of(label) for label in self.labels])
        heights = np.concatenate([expected, height[count:]])
        drawn = peaks.probe.draw(
            np.vstack([placed, peaks.positions[count:]]), heights, self.pixel_size, _shape(self.pixels)
        ).astype(float)
        frame = (self.pixels - peaks.background) / unit
        counted = self._area(placed)
        hidden = float(np.median(height[:count] / std[:count])) < SURE
        sure = (height - SURE_OF_ANYWHERE * std > 0) & (height > PRESENT * self.faintest)
        missing = count + np.flatnonzero(self._claimed(placed)(peaks.positions[count:]) & sure[count:] & (not hidden))
        if len(missing):  # what the structure lacks is no part of its drawing
            drawn -= peaks.probe.draw(peaks.positions[missing], height[missing], self.pixel_size, _shape(self.pixels))
        left = frame - drawn
        around = self._residuals(np.vstack([placed, peaks.positions[missing]]), left, peaks.probe.fwhm)
        verdicts = [
            self._of_site(k, placed[k], peaks, height[k], std[k], expected[k], around[k], hidden) for k in range(count)
        ]
        lacking = [
            Verdict(
                kind="missing", atoms=(), species="", seen=self._seen(height[k]), x=float(x), y=float(y),
                std=_known(peaks.position_std[k]), height=float(height[k]), height_std=float(std[k]), expected=0.0,
                residual=float(around[count + n]),
            )
            for n, k in enumerate(missing)
            for x, y in [peaks.positions[k] + self.origin]
        ]  # fmt: skip
        beyond = [
            Verdict(
                kind="not judged", atoms=m, species=label_of(self.atoms.numbers[list(m)]), seen="", x=float(x),
                y=float(y), height=0.0, height_std=0.0, expected=0.0, residual=0.0,
            )
            for m, (x, y) in self.beyond
        ]  # fmt: skip
        inside = frame[counted]
        noise = float(np.sqrt((peaks.left[counted] ** 2).mean())) / unit
        scale, turn, shear = self.fitted.parts()
        whole = self.fitted.matrix @ self.lies.matrix
        at = self.fitted.matrix @ (self.lies.offset - self.origin) + self.fitted.offset + self.origin
        shift = self.fitted.offset + self.start.mean(axis=0) @ (self.fitted.matrix.T - np.eye(2))
        return Agreement(
            correlation=float(np.corrcoef(inside, drawn[counted])[0, 1]),
            ceiling=float(np.sqrt(np.clip(1 - noise**2 / max(float(inside.var()), 1e-12), 0, 1))),
            shift=(float(shift[0]), float(shift[1])),
            stretch=(scale - 1, turn, shear),
            matrix=((float(whole[0, 0]), float(whole[0, 1])), (float(whole[1, 0]), float(whole[1, 1]))),
            offset=(float(at[0]), float(at[1])),
            probe=peaks.probe.model_copy(update={"scattering_exponent": self.brightness.exponent}),
            noise=noise,
            verdicts=tuple([*_paired(verdicts, lacking), *beyond]),
            note="the frame's noise hides single atoms, so none of them is judged" if hidden else "",
            pixel_size=self.pixel_size,
            origin=(float(self.origin[0]), float(self.origin[1])),
            frame=frame,
            drawn=drawn,
            counted=counted,
        )

    def _of_site(
        self,
        k: int,
        at: Floats,
        peaks: Peaks,
        height: float,
        std: float,
        expected: float,
        residual: float,
        hidden: bool,
    ) -> Verdict:
        off = peaks.positions[k] - at
        error = float(peaks.position_std[k])
        far = float(np.hypot(*off))
        species = self.labels[k]
        least = PRESENT * self.faintest
        seen = self._seen(height) if height > least else ""
        low, high = self.brightness.may_be(species)
        beside = (np.hypot(*(peaks.positions - peaks.positions[k]).T) < BONDED) & (peaks.heights > 2 * peaks.heights[k])
        glare = GLARE * float(peaks.heights[beside].max(initial=0.0)) / peaks.heights[k] * height if height > 0 else 0.0
        kind: Kind = "explained"
        if hidden or (height > least and height - SURE * std < 0):
            kind = "unclear"
        elif height < least:
            kind = "extra" if height + SURE * std < expected else "unclear"
        elif height < FAINT * self.faintest and height + SURE * std < expected:
            kind = "unclear"
        elif far > DISPLACED and far - SURE * error > 0 and self.border[k] > CUT:
            kind = "displaced"
        elif height - glare > high + SURE * std or height < low - SURE * std:
            kind, seen = "wrong species", seen if seen != species else BRIGHTER if height > high else FAINTER
        elif species not in (seen, self._seen(height - glare)) and abs(height - expected) > SURE * std:
            kind = "wrong species"
        x, y = at + self.origin
        return Verdict(
            kind=kind, atoms=self.members[k], species=species, seen=seen, x=float(x), y=float(y),
            dx=float(off[0]), dy=float(off[1]), std=_known(error), height=float(height), height_std=float(std),
            expected=float(expected), residual=float(residual),
        )  # fmt: skip

    def _seen(self, height: float) -> str:
        """What is as bright as this, of all that is known here."""
        nearest = self.brightness.nearest(height, self.known)
        low, high = self.brightness.may_be(nearest)
        return BRIGHTER if height > high else FAINTER if height < low and low > PRESENT * self.faintest else nearest

    def _area(self, placed: Floats) -> NDArray[np.bool_]:
        """(rows, columns) pixels within a bond of the structure."""
        rows, columns = self.pixels.shape
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        points = np.column_stack([x.ravel(), y.ravel()]) * self.pixel_size
        return np.asarray(cKDTree(placed).query(points)[0] < 1.2).reshape(rows, columns)

    def _claimed(self, placed: Floats) -> Callable[[Floats], NDArray[np.bool_]]:
        """Say of places whether the structure claims that nothing is there: inside of it, and at its bare edges.

        Where it was cut out of the sheet, hydrogen stands for what goes on, and where it repeats, its own images do;
        one without any hydrogen says nothing of what is outside.
        """
        site = {k: n for n, members in enumerate(self.members) for k in members}
        flat = self.atoms.copy()
        flat.positions, flat.pbc = self.positions, False
        outlines = [
            Outline(placed[[site[k] for k in ring.atoms]])
            for ring in rings(Bonds.of(flat))
            if all(k in site for k in ring.atoms)
        ]
        towards = self._hydrogens()
        tree, images = cKDTree(placed), self._images(placed)
        ends = any(towards)

        def claimed(places: Floats) -> NDArray[np.bool_]:
            out = np.zeros(len(places), dtype=bool)
            for k, place in enumerate(places):
                if images is not None and images.query(place)[0] < 1.5 * OWN:
                    continue
                nearest = float(tree.query(place)[0])
                beside = tree.query_ball_point(place, 1.2 * nearest) if nearest < BONDED else []
                inside = any(outline.contains_point(place) for outline in outlines)
                bare = [n for n in beside if not any(_alike(place - placed[n], one) for one in towards[n])]
                out[k] = inside or (ends and bool(bare))
            return out

        return claimed

    def _images(self, placed: Floats) -> cKDTree | None:
        """Where the structure's images in the neighbouring cells lie; None for one that does not repeat."""
        if not self.atoms.pbc[:2].any():
            return None
        steps = np.stack(np.meshgrid(*([-1, 0, 1] if p else [0] for p in self.atoms.pbc[:2])), axis=-1).reshape(-1, 2)
        cell = np.asarray(self.atoms.cell)[:2, :2] @ (self.fitted.matrix @ self.lies.matrix).T
        shifts = steps[np.abs(steps).sum(axis=1) > 0] @ cell
        return cKDTree((placed[None] + shifts[:, None]).reshape(-1, 2))

    def _hydrogens(self) -> list[list[Floats]]:
        """Directions in the frame from each site to its hydrogens: those that are nearest to it."""
        out: list[list[Floats]] = [[] for _ in self.members]
        hydrogens = np.flatnonzero(self.atoms.numbers == 1)
        if len(hydrogens) == 0:
            return out
        turned = self.fitted.matrix @ self.lies.matrix
        atoms = np.array([k for members in self.members for k in members])
        site = np.repeat(np.arange(len(self.members)), [len(members) for members in self.members])
        away, nearest = cKDTree(self.positions[atoms]).query(self.positions[hydrogens])
        for h, k, d in zip(hydrogens, nearest, away, strict=True):
            if d < BONDED:
                out[site[k]].append(turned @ (self.positions[h] - self.positions[atoms[k]])[:2])
        return out

    def _residuals(self, xy: Floats, left: Floats, fwhm: float) -> Floats:
        """(places,) rms of what is left round each."""
        rows, columns = left.shape
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        points = np.column_stack([x.ravel(), y.ravel()]) * self.pixel_size
        near = cKDTree(points).query_ball_point(xy, fwhm)
        flat = left.ravel()
        return np.array([np.sqrt((flat[one] ** 2).mean()) if one else 0.0 for one in near])


def _at_rest(atoms: Atoms, built: Atoms) -> Floats:
    """Positions without the drift and the turn that a simulation gave them (atoms, 3) [Å]."""
    if len(atoms) != len(built):
        return np.array(atoms.positions)
    if atoms.pbc.any():
        return np.asarray(built.positions + moved(built, atoms))
    heavy = atoms.numbers != 1
    if heavy.sum() < 3:
        return np.array(atoms.positions)
    return superposed(atoms.positions, built.positions, "in plane", heavy)


def _known(std: float) -> float | None:
    return float(std) if np.isfinite(std) else None


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
