"""A potential in numpy alone: Morse springs between neighbours.

It has no memory of where it started, so a restart continues on the same surface. Each spring ends a little beyond its
length, behind a hump: second neighbours sit on the outer slope of it, which keeps angles open and molecules whole.
"""

from __future__ import annotations

import itertools

import numpy as np

# covalent radii [Å], of hydrogen and carbon such that benzene and graphene are close to their minimum
RADII = {"H": 0.38, "C": 0.71, "N": 0.71, "O": 0.66, "Al": 1.21, "Si": 1.11, "Cr": 1.39, "Cu": 1.32}
DEPTH = 3.0  # [eV]
STEEPNESS = 2.0  # [1/Å]
FADING = (0.2, 1.0)  # where beyond its length [Å] a spring starts to weaken and is gone
HUMP = (0.3, 1.1)  # where beyond that length [Å] the hump starts and ends
HEIGHT = 0.3  # of the hump [eV]


def pair_energies(distances: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the energies [eV] of pairs and their slopes [eV/Å]."""
    stretch = distances - lengths
    decay = np.exp(-STEEPNESS * stretch)
    spring = DEPTH * ((1 - decay) ** 2 - 1)
    spring_slope = 2 * DEPTH * STEEPNESS * (1 - decay) * decay
    t = np.clip((stretch - FADING[0]) / (FADING[1] - FADING[0]), 0.0, 1.0)
    fade = 1 - t**3 * (10 - 15 * t + 6 * t**2)
    fade_slope = -30 * t**2 * (1 - t) ** 2 / (FADING[1] - FADING[0])
    u = np.clip((stretch - HUMP[0]) / (HUMP[1] - HUMP[0]), 0.0, 1.0)
    hump = HEIGHT * (4 * u * (1 - u)) ** 3
    hump_slope = 12 * HEIGHT * (4 * u * (1 - u)) ** 2 * (1 - 2 * u) / (HUMP[1] - HUMP[0])
    return spring * fade + hump, spring_slope * fade + spring * fade_slope + hump_slope


class Springs:
    """Morse springs between the atoms of given elements."""

    def __init__(self, elements: list[str]) -> None:
        unknown = sorted(set(elements) - set(RADII))
        if unknown:
            raise ValueError(f"no covalent radius for {unknown}")
        radii = np.array([RADII[element] for element in elements])
        self._lengths = radii[:, None] + radii[None, :]
        self._reach = float(self._lengths.max()) + HUMP[1]

    def compute(self, fractional: np.ndarray, cell: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the energy [eV], the forces [eV/Å] and the stress [eV/Å³, positive under tension]."""
        energy, forces, virial = 0.0, np.zeros_like(fractional), np.zeros((3, 3))
        difference = fractional[None, :, :] - fractional[:, None, :]
        difference -= np.round(difference)
        for shift in self._shifts(cell):
            vectors = (difference + shift) @ cell
            distances = np.linalg.norm(vectors, axis=2)
            first, second = np.nonzero((distances < self._lengths + HUMP[1]) & (distances > 1e-9))
            vectors, distances = vectors[first, second], distances[first, second]
            energies, slopes = pair_energies(distances, self._lengths[first, second])
            pulls = (slopes / distances)[:, None] * vectors
            # each pair is met from both its ends, so half of it belongs to each meeting
            energy += 0.5 * float(energies.sum())
            np.add.at(forces, first, pulls)
            virial += 0.5 * vectors.T @ pulls
        return energy, forces, virial / abs(np.linalg.det(cell))

    def _shifts(self, cell: np.ndarray) -> itertools.product[tuple[int, ...]]:
        """Lattice translations, beyond the nearest image, that bring atoms within reach: none in a large cell."""
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        spans = [int(self._reach / height + 0.5) for height in heights]
        return itertools.product(*(range(-span, span + 1) for span in spans))
