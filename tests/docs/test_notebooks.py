from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file: Path, tmp_path: Path) -> None:
    """Every cell runs without an error, and objects show themselves with a picture."""
    shutil.copytree(ROOT / "docs/demo", tmp_path / "demo")
    (tmp_path / "notebooks").mkdir()
    book = nbformat.read(file, as_version=4)
    assert all(not cell.get("outputs") for cell in book.cells), f"{file.name} is kept without outputs"
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path / "notebooks")}}).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert all(one["text"].startswith("warning: ") for one in outputs if one.get("name") == "stderr")
    shown = [one["data"].get("text/html", "") for one in outputs if "data" in one]
    assert sum("data:image/png;base64," in html for html in shown) >= 4
