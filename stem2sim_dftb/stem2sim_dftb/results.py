"""Output of DFTB+: results.tag, and the frames of its own drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import Bohr, Hartree, fs

from stem2sim.errors import StageFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ase import Atoms

TAG = "results.tag"

PREFIX = "geo_end"
"""Of the files that its own drivers write."""

GEOMETRIES = f"{PREFIX}.xyz"


def read_tag(path: Path) -> dict[str, Any]:
    """Return the entries of a results.tag by name; arrays have their Fortran shape reversed.

    Raises:
        StageFailed: missing or empty, as while dftb+ runs and after it failed.
    """
    entries: dict[str, Any] = {}
    words: list[str] = []
    name, kind = "", ""
    shape: tuple[int, ...] = ()

    def close() -> None:
        if name:
            entries[name] = _array(words, kind, shape)

    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line[:1].isalpha() and line.count(":") == 3:
                close()
                words = []
                name, kind, _, sizes = (part.strip() for part in line.split(":"))
                shape = tuple(int(size) for size in sizes.split(",") if size)
            else:
                words += line.split()
        close()
    except (OSError, ValueError) as problem:
        raise StageFailed(f"DFTB+: cannot read {path.name} ({problem})") from problem
    if not entries:
        raise StageFailed(f"DFTB+: {path.name} is empty, so it ended without a result")
    return entries


def _array(words: list[str], kind: str, shape: tuple[int, ...]) -> Any:
    values = np.array([word == "T" if kind == "logical" else float(word) for word in words])
    if kind == "complex":
        values = values[::2] + 1j * values[1::2]
    return values.reshape(shape[::-1]) if shape else values[0].item()


def energies_and_forces(path: Path) -> dict[str, Any]:
    """Return energy [eV], forces (atoms, 3) [eV/Å] and, for a periodic cell, stress [eV/Å³], from a results.tag.

    The energy is the Mermin free energy: the one whose slope the forces are.
    """
    tag = read_tag(path)
    try:
        results = {
            "energy": float(tag["mermin_energy"]) * Hartree,
            "forces": np.asarray(tag["forces"], dtype=float).reshape(-1, 3) * Hartree / Bohr,
        }
    except KeyError as problem:
        raise StageFailed(f"DFTB+: {path.name} lacks {problem}") from problem
    if "stress" in tag:
        tensor = -np.asarray(tag["stress"], dtype=float).reshape(3, 3) * Hartree / Bohr**3
        results["stress"] = tensor.ravel()[[0, 4, 8, 5, 2, 1]]
    return results


def frames(path: Path, like: Atoms) -> Iterator[tuple[int, Atoms]]:
    """Yield step and atoms (with momenta, where there are velocities) of each whole frame of a geo_end.xyz.

    Args:
        path: written by a driver of DFTB+: positions [Å], charges, velocities [Å/ps].
        like: the atoms it started with.
    """
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    size = len(like) + 2
    for start in range(0, len(lines) - size + 1, size):
        try:
            step = int(lines[start + 1].rpartition(":")[2].split()[-1])
            rows = np.array([[float(v) for v in line.split()[1:]] for line in lines[start + 2 : start + size]])
            atoms = like.copy()
            atoms.set_positions(rows[:, :3], apply_constraint=False)
            if rows.shape[1] >= 7:
                velocities = rows[:, 4:7] * 1e-3 / fs
                atoms.set_momenta(velocities * atoms.get_masses()[:, None], apply_constraint=False)
        except (ValueError, IndexError):
            return
        yield step, atoms
