from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.conftest import ROOT

import stem2sim as s2s

if TYPE_CHECKING:
    from pathlib import Path

SMALLER = [
    ('"size": 60', '"size": 10'),
    ("size = 60 ", "size = 10 "),
    ("steps=1000", "steps=4"),
    ("steps = 1000", "steps = 4"),
]
"""What makes the lines of the README take seconds instead of minutes."""


@pytest.mark.slow
def test_the_python_of_the_readme_runs_as_a_script(tmp_path: Path) -> None:
    """With the config of the README beside it; on standard error are warnings, each once for all verbs."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for long, short in SMALLER:
        assert text.count(long) == 1
        text = text.replace(long, short)
    (script,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (config,) = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    (tmp_path / "run.toml").write_text(config, encoding="utf-8")
    np.save(tmp_path / "graphene.npy", np.load(ROOT / "docs/demo/graphene_si_edge.npz")["image"])
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith("warning: ") for line in lines)
    assert any("from the 0.1041 Å/pixel of the lattice" in line for line in lines)
    assert len(set(lines)) == len(lines)
    hot = s2s.Run(tmp_path / "runs" / "hot")
    assert list(hot.results) == ["01-xtb", "02-aimd"]
    assert hot.segmentation is not None
