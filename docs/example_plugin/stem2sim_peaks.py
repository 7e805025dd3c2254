"""A stem2sim plugin in one file: atoms as local maxima of the blurred image."""

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy.ndimage import gaussian_filter
from skimage.feature import peak_local_max

from stem2sim import hookimpl
from stem2sim.atoms_table import AtomsTable
from stem2sim.errors import BadInput
from stem2sim.image import Image
from stem2sim.segmentation import Segmentation
from stem2sim.stages import Segmenter


class Peaks(Segmenter):
    """Find atoms as local maxima of the blurred image, assigning one species to all."""

    name: ClassVar[str] = "peaks"
    species: str = Field("C", description="species assigned to every atom")
    blur: float = Field(0.4, gt=0, description="standard deviation of the blur [Å]")
    separation: float = Field(0.8, gt=0, description="minimum distance between two atoms along x or y [Å]")

    def segment(self, image: Image) -> Segmentation:
        blurred = gaussian_filter(image.pixels, self.blur / image.pixel_size)
        reach = max(1, round(self.separation / image.pixel_size))
        peaks = peak_local_max(blurred, min_distance=reach, threshold_abs=float(blurred.mean()))
        if len(peaks) == 0:
            raise BadInput(f"no peaks above the mean intensity of the image; try a blur narrower than {self.blur} Å")
        xy, n = peaks[:, ::-1] * image.pixel_size, len(peaks)
        known = {"probability": np.ones(n), "position_std": np.full(n, image.pixel_size / 2), "entropy": np.zeros(n)}
        return Segmentation(atoms=AtomsTable(x=xy[:, 0], y=xy[:, 1], species=np.full(n, self.species), **known))


@hookimpl
def stem2sim_segmenters() -> list[type[Segmenter]]:
    return [Peaks]
