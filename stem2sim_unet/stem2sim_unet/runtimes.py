"""What runs the networks: OpenVINO, or PyTorch, which training, AtomAI's model files and GPUs need too."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Literal

from stem2sim.errors import BadInput
from stem2sim.stages import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

Backend = Literal["auto", "openvino", "torch"]
Precision = Literal["auto", "single"]

LIGHT, TRAIN = "pip install stem2sim-unet", 'pip install "stem2sim-unet[train]"'
"""What installs OpenVINO, and what installs PyTorch and AtomAI."""

TITLES = {"openvino": "OpenVINO", "torch": "PyTorch", "atomai": "AtomAI"}


class NotInstalled(BadInput):
    """A package is missing; `fix` is the command that installs it."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}: {fix}")
        self.problem, self.fix = problem, fix


def require(purpose: str, *packages: str) -> None:
    """Raise NotInstalled unless the packages of the extra `train` that something needs are there."""
    missing = [TITLES[name] for name in packages if find_spec(name) is None]
    if missing:
        which_is = "which is" if len(missing) == 1 else "which are"
        raise NotInstalled(f"{purpose} needs {' and '.join(missing)}, {which_is} not installed", TRAIN)


def runtime_for(backend: Backend) -> Literal["openvino", "torch"]:
    """Return what runs the networks: by default PyTorch on a GPU, else OpenVINO, else PyTorch.

    Raises:
        NotInstalled: the backend, or for "auto" both.
    """
    if backend == "torch":
        require('backend = "torch"', "torch")
        return "torch"
    has_openvino, has_torch = (find_spec(name) is not None for name in ("openvino", "torch"))
    if backend == "openvino" and not has_openvino:
        raise NotInstalled('backend = "openvino" needs OpenVINO, which is not installed', LIGHT)
    if not has_openvino and not has_torch:
        problem = "nothing can run the networks: neither OpenVINO nor PyTorch is installed"
        raise NotInstalled(problem, f"{LIGHT} (OpenVINO), or {TRAIN} (PyTorch)")
    if has_openvino and (backend == "openvino" or not (has_torch and gpu())):
        return "openvino"
    return "torch"


def gpu() -> str:
    """Return the name of the GPU that PyTorch uses; '' without one.

    PyTorch takes seconds and 300 MB to load, so it is asked only where the system has a GPU.
    """
    if which("nvidia-smi") is None and not Path("/dev/nvidia0").exists() and not Path("/dev/kfd").exists():
        return ""
    try:
        import torch
    except ImportError:
        return ""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def checks(backend: Backend, compat: str) -> Iterator[Check]:
    """Yield what runs the networks of a segmenter, and what cannot be done here."""
    try:
        if compat == "atomai":
            require('compat = "atomai"', "torch")
        runtime = "torch" if compat == "atomai" else runtime_for(backend)
    except NotInstalled as missing:
        yield Check("unet", "missing", missing.problem, missing.fix)
        return
    place = (gpu() if runtime == "torch" else "") or "CPU"
    yield Check("unet", "ok", f"{TITLES[runtime]} {version(runtime)} runs the networks ({place})")
    if find_spec("torch") is None:
        yield Check("unet", "note", "training, AtomAI model files and GPUs need PyTorch and AtomAI", TRAIN)
    elif runtime == "torch" and place == "CPU" and find_spec("openvino") is None:
        yield Check("unet", "note", "slower on a CPU without OpenVINO", LIGHT)
