"""The onnxruntime backend: embeddings equal to torch's at every size, exported once, never a silent fallback."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import open_clip
import pytest
import torch

from labeler_service.backends import IMAGENET_NORMALIZATION, OutOfDeviceMemoryError, onnx_backend, onnx_export
from labeler_service.backends.clip_model import ClipModel
from labeler_service.backends.onnx_backend import OnnxBackend
from labeler_service.backends.torch_backend import TorchBackend
from labeler_service.config import ServerConfig
from labeler_service.errors import DeviceLostError

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VISION: dict[str, dict[str, Any]] = {
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "patch_size": None},
    "vit": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "fixed": {"image_size": 32, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear"},
}
TEXTS = ["a photo of the cat", "a photo of the dog", "", "tree"]


@pytest.fixture(scope="module")
def export_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module", params=list(VISION))
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, export_dir: Path) -> ServerConfig:
    """A random CLIP of each family of image towers; the last takes its native size only."""
    folder = tmp_path_factory.mktemp(request.param)
    path, weights = folder / f"{request.param}.json", folder / "weights.pt"
    architecture = {"embed_dim": 32, "vision_cfg": VISION[request.param], "text_cfg": TEXT}
    path.write_text(json.dumps(architecture))
    torch.manual_seed(1)
    clip = open_clip.CLIP(**architecture)
    for name, parameter in clip.named_parameters():
        if name.endswith("bn3.weight"):  # Zero at first, so that the image would hardly matter.
            torch.nn.init.ones_(parameter)
    torch.save(clip.state_dict(), weights)
    return ServerConfig(
        model_config=path, pretrained=str(weights), device="cpu", backend="onnxruntime", export_dir=export_dir
    )


@pytest.fixture(scope="module")
def backend(config: ServerConfig) -> OnnxBackend:
    return OnnxBackend(config)


@pytest.fixture(scope="module")
def reference(config: ServerConfig) -> TorchBackend:
    return TorchBackend(config)


def pixels(batch: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 2), (3, 1), (4, 5)])
def test_equals_torch_at_every_size(
    backend: OnnxBackend, reference: TorchBackend, batch: int, rows: int, columns: int
) -> None:
    """A size or batch that the exporter took for constant would fail, or score wrongly."""
    info = reference.info
    height, width = rows * info.stride, columns * info.stride
    if info.multiple < info.stride:  # Sides between strides, where the network's own rounding decides.
        height, width = height + 31, width + 17
    if not info.variable_size:
        height = width = info.native_resolution
    images = pixels(batch, height, width)
    ours, theirs = (b.encode_images(images, IMAGENET_NORMALIZATION) for b in (backend, reference))
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_texts_and_description_equal_torch(backend: OnnxBackend, reference: TorchBackend) -> None:
    """Labels of both backends are of one model: its hash must not depend on what runs it."""
    np.testing.assert_allclose(backend.encode_texts(TEXTS), reference.encode_texts(TEXTS), atol=2e-6)
    assert backend.info == dataclasses.replace(reference.info, backend="onnxruntime")


def test_exported_once(
    config: ServerConfig, backend: OnnxBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An export takes a minute: a restart must not. It is checked against torch all the same."""
    monkeypatch.setattr(torch.onnx, "export", None)
    with caplog.at_level(logging.INFO):
        again = OnnxBackend(config)
    assert "largest cosine difference between onnxruntime and torch: " in caplog.text
    images = pixels(3, *[backend.info.native_resolution] * 2)
    ours, before = (b.encode_images(images, b.info.normalization) for b in (again, backend))
    assert np.array_equal(ours, before)


def test_damaged_export_is_made_again(config: ServerConfig, backend: OnnxBackend, monkeypatch: Any) -> None:
    """A flipped bit in the weights would score wrongly without an error. (The export is replaced: it is slow.)"""
    model = ClipModel(config)
    folder = onnx_export.exported(model, torch.float32, config.export_dir)
    original = {path.name: path.read_bytes() for path in folder.iterdir()}

    def export(model: ClipModel, dtype: torch.dtype, draft: Path) -> None:
        for name in original.keys() - {"manifest.json"}:
            (draft / name).write_bytes(original[name])

    monkeypatch.setattr(onnx_export, "_export", export)
    for name, content in original.items():
        (folder / name).write_bytes(content[: len(content) // 2] + b"~" + content[len(content) // 2 + 1 :])
        assert onnx_export.exported(model, torch.float32, config.export_dir) == folder
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == original
    (folder / "text.onnx").unlink()
    onnx_export.exported(model, torch.float32, config.export_dir)
    assert (folder / "text.onnx").exists()
    assert [path for path in config.export_dir.iterdir() if path.name.startswith(".")] == []


def test_other_activation_is_another_export(config: ServerConfig, backend: OnnxBackend) -> None:
    """Equal weights with another activation score differently: the weights' hash alone would mix them up."""
    paths = {
        onnx_export._folder(ClipModel(dataclasses.replace(config, quick_gelu=quick)), torch.float32, Path())
        for quick in (True, False)
    }
    assert len(paths) == 2


def test_deviation_from_torch_is_refused(
    config: ServerConfig, backend: OnnxBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of onnxruntime or a driver may compute something else; the limit is lowered in its place."""
    monkeypatch.setattr(onnx_backend, "_TOLERANCE", {torch.float32: 1e-12})
    with pytest.raises(ValueError, match=r"--backend onnxruntime differs from torch by .*: use --backend torch"):
        OnnxBackend(config)


def test_fallback_to_the_cpu_is_refused(
    config: ServerConfig, backend: OnnxBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a usable CUDA, onnxruntime warns and computes on the CPU: 50 times slower, and nobody knows why."""
    monkeypatch.setattr(onnx_backend, "find_device", lambda name: torch.device("cuda", 0))
    with pytest.raises(ValueError, match="onnxruntime could not start CUDAExecutionProvider"):
        OnnxBackend(dataclasses.replace(config, dtype="float32"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "float16"}, "--dtype float16: --backend onnxruntime takes it on CUDA only"),
        ({"dtype": "bfloat16"}, "--dtype bfloat16: --backend onnxruntime takes float32 or float16"),
        ({"backend": "tensorrt"}, "--backend tensorrt needs --device cuda, got cpu"),
        ({"export_dir": Path("/dev/null/x")}, "--export-dir /dev/null/x: Not a directory"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxBackend(ServerConfig(**{"device": "cpu", "backend": "onnxruntime", **settings}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer", OutOfDeviceMemoryError),
        ("CUDA failure 2: out of memory ; GPU=0", OutOfDeviceMemoryError),
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", DeviceLostError),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions", RuntimeError),
    ],
)  # fmt: skip
def test_device_errors_are_told_apart(text: str, expected: type[Exception]) -> None:
    """A batch that does not fit is split; a broken device ends the process. There is no device here to break."""
    with pytest.raises(expected), onnx_backend._translated_errors():
        raise RuntimeError(text)


@pytest.mark.slow
def test_float16_export(config: ServerConfig, reference: TorchBackend, tmp_path: Path) -> None:
    """The graph for CUDA, run on the CPU as it stands: onnxruntime 1.31 crashes when it optimises float16 for a CPU."""
    model = ClipModel(config)
    folder = onnx_export.exported(model, torch.float16, tmp_path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(folder / onnx_export.IMAGE_FILE, options, providers=["CPUExecutionProvider"])
    images, size = pixels(3, *[model.native_resolution] * 2), [model.native_resolution] * 2
    arrays = [images, *(tensor.numpy() for tensor in model.image_inputs(*size))]
    [ours] = session.run(None, dict(zip(onnx_export.IMAGE_INPUTS, arrays, strict=False)))
    theirs = reference.encode_images(images, reference.info.normalization)
    assert ours.dtype == np.float32
    assert 1e-6 < np.abs(ours - theirs).max() < 5e-3
