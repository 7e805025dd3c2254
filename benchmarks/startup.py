"""How long `stem2sim --help` takes, against `ase --help` and a bare interpreter in the same environment.

Prints the median of several runs, taken in turn, and the ratios. Target: under 0.3 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15


def seconds(command: list[str]) -> float:
    """Return the wall time of one run [s]."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Time the three in turn, so that what else the machine does falls on all alike."""
    scripts = Path(sys.executable).parent
    commands = {
        "stem2sim --help": [str(scripts / "stem2sim"), "--help"],
        "ase --help": [str(scripts / "ase"), "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    for command in commands.values():
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = medians["stem2sim --help"]
    for name, value in medians.items():
        print(f"{name:18} {value:.3f} s   {ours / value:.2f} x this is stem2sim --help")


if __name__ == "__main__":
    main()
