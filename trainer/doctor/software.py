"""Versions of what is installed, and packages that exclude each other."""

import platform
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from trainer import __version__
from trainer.doctor.finding import Finding

# Distribution and what it is imported as.
PACKAGES = (
    ("torch", "torch"), ("torchvision", "torchvision"), ("timm", "timm"), ("grpcio", "grpc"),
    ("protobuf", "google.protobuf"), ("pillow", "PIL"), ("pyarrow", "pyarrow"), ("numpy", "numpy"),
)  # fmt: skip
# Closes two critical holes of decoders, see pyproject.toml.
MIN_PILLOW = 13


def check_software() -> Iterator[Finding]:
    """Python, the packages of a run, and what runs ONNX files and the own labeler."""
    yield Finding("python", "ok", f"{platform.python_version()}, ccd {__version__}, {platform.platform()}")
    for distribution, module in PACKAGES:
        yield _package(distribution, module)
    yield _onnxruntime(_installed("onnxruntime"), _installed("onnxruntime-gpu"))
    yield _own_labeler()


def _package(distribution: str, module: str) -> Finding:
    found = _installed(distribution)
    if found is None:
        return Finding(distribution, "fail", "is not installed", "pip install 'ccd[trainer]'")
    try:
        import_module(module)
    except Exception as error:  # built for another torch or Python: what is raised depends on the package
        reason = " ".join(str(error).split())
        return Finding(distribution, "fail", f"{found} cannot be imported: {reason}", f"reinstall {distribution}")
    if distribution == "pillow" and int(found.split(".")[0]) < MIN_PILLOW:
        return Finding("pillow", "warn", f"{found} has known holes in its decoders", "pip install --upgrade pillow")
    return Finding(distribution, "ok", found)


def _onnxruntime(cpu: str | None, gpu: str | None) -> Finding:
    """Both packages are one import, and the one that was installed last wins, file by file: CUDA goes without a word
    (https://github.com/microsoft/onnxruntime/issues/7748)."""
    if cpu and gpu:
        advice = "pip uninstall onnxruntime onnxruntime-gpu, then install one of them"
        return Finding("onnxruntime", "fail", f"onnxruntime {cpu} and onnxruntime-gpu {gpu} are both here", advice)
    if not (cpu or gpu):
        return Finding("onnxruntime", "ok", "is not installed; only .onnx files need it")
    return Finding("onnxruntime", "ok", f"onnxruntime {cpu}" if cpu else f"onnxruntime-gpu {gpu}")


def _own_labeler() -> Finding:
    if find_spec("labeler_service") and find_spec("open_clip"):
        return Finding("own labeler", "ok", f"can be started, open_clip {_installed('open_clip_torch')}")
    advice = "pip install 'ccd[labeler]', or give each run --labeler HOST:PORT"
    return Finding("own labeler", "warn", "is not installed: a run cannot start a labeler for itself", advice)


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
