"""A CLIP model as ONNX files, one per tower, for any batch size and, where the tower takes it, any input size.

Files are kept in a folder per model and made again when they are not what was written. With them lies what torch
computes in float32 for a few inputs, against which whoever runs the files checks itself.
"""

import copy
import hashlib
import json
import logging
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labeler_service.backends.clip_model import ClipModel
from labeler_service.backends.devices import dtype_name
from labeler_service.backends.image_encoder import ImageEncoder

logger = logging.getLogger(__name__)

IMAGE_FILE = "image.onnx"
TEXT_FILE = "text.onnx"
REFERENCE_FILE = "reference.npz"
# Long, since the exporter names the values within after torch's operators, such as mean.
IMAGE_INPUTS = ("input_pixels", "input_mean", "input_std", "input_position_table")
TEXT_INPUTS = ("input_tokens",)
OUTPUT = "output_embeddings"
_MANIFEST_FILE = "manifest.json"
# What torch's exporter writes without a conversion; ONNX Runtime runs it since 1.14.
OPSET = 18
# Packages whose next version may write another graph for the same model.
_EXPORTERS = ("torch", "onnx", "onnxscript", "open_clip_torch")
_DYNAMIC = torch.export.Dim.DYNAMIC
_REFERENCE_TEXTS = ["a photo of a cat", "a drawing of many small red cars", ""]


def exported(model: ClipModel, dtype: torch.dtype, parent: Path) -> Path:
    """The folder of the model's files below `parent`, its image tower in `dtype`; exports them where needed.

    Raises ValueError when the model cannot be exported or the folder cannot be written.
    """
    folder = _folder(model, dtype, parent)
    if _is_intact(folder):
        return folder
    logger.info("exporting %s to %s: once per model, takes a minute or so", model.architecture, folder)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".exporting-") as temporary:
            draft = Path(temporary) / "model"
            draft.mkdir()
            _export(model, dtype, draft)
            _publish(draft, folder)
    except OSError as error:
        raise ValueError(f"--export-dir {parent}: {error.strerror or error}") from error
    return folder


def _folder(model: ClipModel, dtype: torch.dtype, parent: Path) -> Path:
    """Named after all that decides what the files hold."""
    packages = [f"{name} {version(name)}" for name in _EXPORTERS]
    parts = [model.weights_sha256, model.structure_sha256, dtype_name(dtype), str(OPSET), *packages]
    return parent / f"{model.architecture}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"


def _is_intact(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        manifest = json.loads((folder / _MANIFEST_FILE).read_text(encoding="utf-8"))
        if all(_sha256(folder / name) == digest for name, digest in manifest.items()):
            return True
    except (OSError, ValueError):
        pass  # As good as another content.
    logger.warning("%s is not what was written there", folder)
    return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _publish(draft: Path, folder: Path) -> None:
    """Makes the draft appear under its name as a whole, also after a power cut."""
    manifest = {path.name: _sha256(path) for path in draft.iterdir()}
    (draft / _MANIFEST_FILE).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in (*draft.iterdir(), draft):
        _sync(path)
    if _is_intact(folder):
        return  # Another server has exported the same model meanwhile.
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _export(model: ClipModel, dtype: torch.dtype, folder: Path) -> None:
    np.savez(folder / REFERENCE_FILE, **_reference(model))
    batch: dict[int, Any] = {0: _DYNAMIC}
    shapes: tuple[Any, ...] = (batch, None, None)
    if model.tables.name is not None:
        shapes = ({**batch, 1: _DYNAMIC, 2: _DYNAMIC}, None, None, {0: _DYNAMIC})
    height, width = _reference_sizes(model)[-1]
    inputs = (torch.zeros(2, height, width, 3, dtype=torch.uint8), *model.image_inputs(height, width))
    # A copy, since the reference's tower is not ours to change.
    encoder = ImageEncoder(copy.deepcopy(model.clip.visual).to(dtype), model.tables.name, dtype)
    _write(encoder, inputs, shapes, IMAGE_INPUTS, folder / IMAGE_FILE)
    _write(_TextEncoder(model.clip), (model.tokenizer(_REFERENCE_TEXTS),), (batch,), TEXT_INPUTS, folder / TEXT_FILE)


class _TextEncoder(nn.Module):
    """Tokens, int64 (n, L), to unit rows, float32 (n, D)."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self._clip = clip

    def forward(self, tokens_nL: Tensor) -> Tensor:
        embeddings_nD: Tensor = self._clip.encode_text(tokens_nL, normalize=True)
        return embeddings_nD


def _write(
    encoder: nn.Module, inputs: tuple[Tensor, ...], shapes: tuple[Any, ...], names: tuple[str, ...], path: Path
) -> None:
    logging.disable(logging.WARNING)  # The exporter tells at length how it reasons about sizes.
    try:
        torch.onnx.export(
            encoder.eval(),
            inputs,
            path,
            dynamic_shapes=shapes,
            input_names=names[: len(inputs)],
            output_names=[OUTPUT],
            opset_version=OPSET,
            external_data=True,  # One protobuf message holds 2 GB at most.
            verbose=False,
        )
    except RuntimeError as error:
        summary = " ".join(str(error).split())[:300]
        raise ValueError(f"--backend: this model cannot be exported to ONNX, use torch: {summary}") from error
    finally:
        logging.disable(logging.NOTSET)


def _reference_sizes(model: ClipModel) -> list[tuple[int, int]]:
    """Heights and widths: the native one and, where the tower takes it, a wider one."""
    native = model.native_resolution
    return [(native, native), (native, native + model.tables.stride)] if model.tables.name else [(native, native)]


@torch.inference_mode()
def _reference(model: ClipModel) -> dict[str, Any]:
    """Inputs and what torch makes of them: pixels_0, images_0, pixels_1 and so on, tokens, texts."""
    encoder = ImageEncoder(model.clip.visual, model.tables.name)
    tokens = model.tokenizer(_REFERENCE_TEXTS)
    arrays = {"tokens": tokens.numpy(), "texts": model.clip.encode_text(tokens, normalize=True).numpy()}
    for number, (height, width) in enumerate(_reference_sizes(model)):
        pixels = torch.from_numpy(np.random.default_rng(number).integers(0, 256, (2, height, width, 3), np.uint8))
        arrays[f"pixels_{number}"] = pixels.numpy()
        arrays[f"images_{number}"] = encoder(pixels, *model.image_inputs(height, width)).numpy()
    return arrays
