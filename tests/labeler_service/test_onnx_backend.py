"""The onnxruntime backend: embeddings equal to torch's at every size, exported once, never a silent fallback."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from labeler_service.backends.onnx_backend import OnnxBackend
from labeler_service.backends.torch_backend import TorchBackend
from labeler_service.config import ServerConfig

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VISION: dict[str, dict[str, Any]] = {
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "patch_size": None},
    "vit": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "fixed": {"image_size": 32, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"},
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
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (3, 1), (4, 5)])
def test_equals_torch_at_every_size(
    backend: OnnxBackend, reference: TorchBackend, batch: int, height: int, width: int
) -> None:
    """A size or batch that the exporter took for constant would fail, or score wrongly."""
    info = reference.info
    assert backend.info.weights_sha256 == info.weights_sha256, "labels of both backends are of the same model"
    unit = 32 if info.variable_size else info.native_resolution
    shape = (height * unit, width * unit) if info.variable_size else (unit, unit)
    images = pixels(batch, *shape)
    ours, theirs = (b.encode_images(images, info.normalization) for b in (backend, reference))
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
