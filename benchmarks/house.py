"""The house in numbers: modules per room, arrows inside and between rooms, cycles, the longest file and function.

    python benchmarks/house.py                  # this checkout
    python benchmarks/house.py --core FOLDER    # another one's core/stem2sim
    python benchmarks/house.py --reads          # how often `run` and `report` open each file of a run folder to read it

Imports are read from the code, those for types and those inside functions too.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]

COUNTED = """
import json, os, sys
from collections import Counter
from importlib.metadata import entry_points
folder, table = os.path.realpath(sys.argv[1]) + os.sep, sys.argv[2]
reads = Counter()

def watch(event, arguments):
    if event == "sqlite3.connect":
        path, reading = arguments[0], True
    elif event == "open" and not isinstance(arguments[0], int):
        path, mode, flags = arguments
        # what is opened to be written too (r+) is written
        reading = (mode is None or "r" in mode and "+" not in mode) and (flags or 0) & os.O_ACCMODE == os.O_RDONLY
    else:
        return
    path = os.path.realpath(os.fsdecode(path))
    name = path.removeprefix(folder)
    if reading and path.startswith(folder) and not os.path.basename(path).startswith(".") and os.path.isfile(path):
        reads[name] += 1

sys.addaudithook(watch)
sys.argv = ["stem2sim", *sys.argv[3:]]
(script,) = entry_points(group="console_scripts", name="stem2sim")
try:
    script.load()()
finally:
    with open(table, "w") as file:
        json.dump(reads, file)
"""
"""Runs the command line, and counts what it opens in a folder."""


def modules(core: Path) -> dict[str, Path]:
    """Return the modules of the package by their names within it; '' is the package itself."""
    files = sorted(core.rglob("*.py"))
    return {".".join(file.relative_to(core).with_suffix("").parts).removesuffix("__init__").rstrip("."): file
            for file in files}  # fmt: skip


def imports(name: str, tree: ast.Module, known: dict[str, Path]) -> set[str]:
    """Return the modules of the package that one module imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "stem2sim":
            inside = (node.module or "").removeprefix("stem2sim").lstrip(".")
            for alias in node.names:
                full = f"{inside}.{alias.name}".lstrip(".")
                found.add(full if full in known else inside)
    return found - {name, ""}


def functions(tree: ast.Module) -> Iterator[tuple[int, int, str]]:
    """Yield lines, parameters and name of every function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(one.arg not in ("self", "cls") for one in arguments)
            yield (node.end_lineno or node.lineno) - node.lineno + 1, count, node.name


def describe(core: Path) -> None:
    """Print the numbers of one package."""
    known = modules(core)
    trees = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in known.items()}
    arrows = {(name, other) for name, tree in trees.items() for other in imports(name, tree, known)}
    rooms = {name: name.partition(".")[0] if known[name].parent != core else "(root)" for name in known}
    count = Counter(rooms.values())
    inside = Counter(rooms[a] for a, b in arrows if rooms[a] == rooms[b])
    between = Counter((rooms[a], rooms[b]) for a, b in arrows if rooms[a] != rooms[b])
    apart = f"{sum(between.values())} between {len(between)} pairs of rooms"
    print(f"{len(known)} modules in {len(count)} rooms")
    print(f"{len(arrows)} arrows: {sum(inside.values())} inside rooms, {apart}")
    for room in sorted(count):
        print(f"  {room:10} {count[room]:3} modules, {inside[room]:3} arrows inside")
    number = {name: k for k, name in enumerate(known)}
    one, other = np.array([(number[a], number[b]) for a, b in arrows]).T
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(len(known), len(known)))
    groups = Counter(connected_components(graph, connection="strong")[1].tolist())
    print(f"cycles: {sum(size > 1 for size in groups.values())}")
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in known.items()}
    longest = max(lines, key=lambda name: lines[name])
    print(
        f"longest file: {longest} with {lines[longest]} lines; over 300 lines: {sum(n > 300 for n in lines.values())}"
    )
    every = [
        (size, few, f"{name}.{function}") for name, tree in trees.items() for size, few, function in functions(tree)
    ]
    size, _, function = max(every)
    print(f"longest function: {function} with {size} lines; over 60 lines: {sum(n > 60 for n, _, _ in every)}")
    many = [f"{function} ({few})" for _, few, function in every if few > 6]
    print(f"functions of more than 6 parameters: {len(many)}{': ' if many else ''}{', '.join(many)}")


def reads() -> None:
    """Print how often each file of a run folder is opened to be read by `run`, and by `report` after it."""
    with tempfile.TemporaryDirectory() as base:
        out, table = Path(base) / "run", Path(base) / "reads.json"
        demo = ROOT / "docs" / "demo" / "demo.toml"
        options = ["--set", "build.1.size=10", "--set", "simulate.1.steps=20"]
        for command in (["run", str(demo), "--out", str(out), *options], ["report", str(out)]):
            watched = [sys.executable, "-c", COUNTED, str(out), str(table), *command]
            subprocess.run(watched, check=True, capture_output=True)
            counts = Counter(json.loads(table.read_text()))
            most = "; ".join(f"{name} {number}" for name, number in counts.most_common(6))
            print(f"{command[0]}: {len(counts)} files read, {sum(counts.values())} times; most often: {most}")


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--core", type=Path, default=ROOT / "core" / "stem2sim", help="folder of the package")
    parser.add_argument("--reads", action="store_true", help="count how often files of a run folder are read")
    given = parser.parse_args()
    if given.reads:
        reads()
    else:
        describe(given.core)


if __name__ == "__main__":
    main()
