"""Makes graphene_si_edge.npz, the frame of `make demo`: graphene with a hole, a Si impurity and an edge.

Run it from anywhere; the same seed gives the same frame. It needs only the core's forward model.
"""

from pathlib import Path

import numpy as np
from ase import Atoms

from stem2sim.imaging.forward import Probe, Scan
from stem2sim.testing import graphene_sheet

PIXEL_SIZE = 0.104  # Å
ROWS, COLUMNS = 320, 352


def sheet() -> Atoms:
    """A sheet that ends in an edge on the right, with a hole of 4.5 Å radius and one Si in place of a C."""
    whole = graphene_sheet(48.0, angle=17.0)
    whole.positions[:, :2] -= 5.0
    xy = whole.positions[:, :2]
    edge = xy[:, 0] < 31.0 + 0.8 * np.sin(xy[:, 1] / 3.0)
    hole = np.hypot(xy[:, 0] - 23.0, xy[:, 1] - 9.5) < 4.5
    atoms: Atoms = whole[edge & ~hole]
    xy = atoms.positions[:, :2]
    silicon = int(np.argmin(np.hypot(xy[:, 0] - 11.0, xy[:, 1] - 20.0)))
    atoms.symbols[silicon] = "Si"
    away = xy - xy[silicon]
    distance = np.hypot(*away.T)
    bonded = (distance > 0.1) & (distance < 1.8)
    xy[bonded] += away[bonded] / distance[bonded, None] * 0.2  # Si-C bonds are longer than C-C
    atoms.positions[:, :2] = xy + np.random.default_rng(1).normal(0, 0.03, xy.shape)  # thermal motion [Å]
    return atoms


def main() -> None:
    """Write the frame beside this file."""
    atoms = sheet()
    clean = Probe(fwhm=1.15, scattering_exponent=1.7).render(
        atoms.positions[:, :2], atoms.numbers, PIXEL_SIZE, (ROWS, COLUMNS)
    )
    scan = Scan(dose=700, offset=0.15, row_jitter=0.04, detector_noise=0.05)
    frame = scan.expose(clean, PIXEL_SIZE, np.random.default_rng(2))
    counts = np.clip(np.rint(frame * 2000), 0, 65535).astype(np.uint16)
    np.savez_compressed(Path(__file__).with_name("graphene_si_edge.npz"), image=counts, pixel_size=PIXEL_SIZE)


if __name__ == "__main__":
    main()
