"""The torch backend: every kind of checkpoint, the QuickGELU trap, input sizes, embeddings equal to open_clip's."""

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch._dynamo.utils import counters

from labeler_service.backends import OutOfDeviceMemoryError, torch_backend
from labeler_service.backends.torch_backend import TorchBackend
from labeler_service.config import ServerConfig
from labeler_service.errors import DeviceLostError

pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning"),
]

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "resnet": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "patch_size": None},
        "text_cfg": TEXT,
    },
    "vit": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": TEXT,
    },
}
TEXTS = ["a photo of the cat", "a photo of the dog"]


class Model:
    """A random CLIP as open_clip builds it, and its config in a file."""

    def __init__(self, family: str, folder: Path, *, quick_gelu: bool = False) -> None:
        self.config = folder / f"{family}.json"
        self.config.write_text(json.dumps(ARCHITECTURES[family]))
        torch.manual_seed(1)
        self.clip = open_clip.CLIP(**ARCHITECTURES[family], quick_gelu=quick_gelu).eval()
        for name, parameter in self.clip.named_parameters():
            if name.endswith("bn3.weight"):
                torch.nn.init.ones_(parameter)

    def load(self, weights: Path, **settings: Any) -> TorchBackend:
        return TorchBackend(ServerConfig(model_config=self.config, pretrained=str(weights), device="cpu", **settings))


def pixels(height: int = 64, width: int = 64, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


def reference(clip: Any, pixels_BHW3: np.ndarray, *, normalize: bool = True) -> np.ndarray:
    images = torch.from_numpy(pixels_BHW3).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    with torch.no_grad():
        return clip.encode_image((images - mean) / std, normalize=normalize).float().numpy()


def embed(backend: TorchBackend, pixels_BHW3: np.ndarray) -> np.ndarray:
    return backend.encode_images(pixels_BHW3, backend.info.normalization)


def save_openai_archive(clip: Any, path: Path) -> None:
    """As OpenAI's files are: TorchScript, half precision, with three constants among the weights."""
    clip = copy.deepcopy(clip)
    vars(clip)["attn_mask"] = clip._buffers.pop("attn_mask")  # A constant there, no buffer.
    for name, value in (("input_resolution", 64), ("context_length", 77), ("vocab_size", 49408)):
        vars(clip).pop(name, None)
        clip.register_buffer(name, torch.tensor(value))
    example = (torch.zeros(1, 3, 64, 64), torch.zeros(1, 77, dtype=torch.long))
    torch.jit.save(torch.jit.trace(clip, example, check_trace=False).half(), path)


@pytest.fixture(params=["resnet", "vit"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_embeddings_equal_open_clip(family: str, tmp_path: Path) -> None:
    """Wrong channel order, normalisation or tower would score plausibly and wrongly."""
    model = Model(family, tmp_path)
    save_file(model.clip.state_dict(), tmp_path / "w.safetensors")
    backend = model.load(tmp_path / "w.safetensors")
    np.testing.assert_allclose(embed(backend, pixels()), reference(model.clip, pixels()), atol=1e-5)
    expected = model.clip.encode_text(open_clip.tokenize(TEXTS), normalize=True).detach().numpy()
    np.testing.assert_allclose(backend.encode_texts(TEXTS), expected, atol=1e-5)
    assert backend.info.temperature == pytest.approx(0.07)
    assert (backend.info.embedding_size, backend.info.native_resolution) == (32, 64)


def test_all_kinds_of_checkpoint_load_alike(family: str, tmp_path: Path) -> None:
    """A training checkpoint or an archive with the same weights is the same model, and has the same hash."""
    model = Model(family, tmp_path)
    half = {name: t.half().float() if t.is_floating_point() else t for name, t in model.clip.state_dict().items()}
    model.clip.load_state_dict(half)
    torch.save(half, tmp_path / "state.pt")
    wrapped = {"epoch": 3, "name": "run", "state_dict": {f"module.{name}": t for name, t in half.items()}}
    torch.save(wrapped, tmp_path / "training.pt")
    save_openai_archive(model.clip, tmp_path / "openai.pt")
    backends = [model.load(tmp_path / name, quick_gelu=True) for name in ("state.pt", "training.pt", "openai.pt")]
    assert len({backend.info.weights_sha256 for backend in backends}) == 1
    for backend in backends[1:]:
        assert np.array_equal(embed(backend, pixels()), embed(backends[0], pixels()))
        assert np.array_equal(backend.encode_texts(TEXTS), backends[0].encode_texts(TEXTS))


def test_openai_archive_switches_quick_gelu_on(family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """open_clip 3.3 loads OpenAI's weights into a plain architecture with GELU without an error, and scores wrongly."""
    quick = Model(family, tmp_path, quick_gelu=True)
    save_openai_archive(quick.clip, tmp_path / "openai.pt")
    with caplog.at_level(logging.WARNING):
        backend = quick.load(tmp_path / "openai.pt")
    assert [r.getMessage() for r in caplog.records if "QuickGELU" in r.getMessage()] == [
        f"{family}: weights were trained with QuickGELU: using it"
    ]
    half = {name: t.half().float() for name, t in quick.clip.state_dict().items()}
    quick.clip.load_state_dict(half)
    expected = quick.clip.encode_text(open_clip.tokenize(TEXTS), normalize=True).detach().numpy()
    np.testing.assert_allclose(backend.encode_texts(TEXTS), expected, atol=1e-5)
    plain = quick.load(tmp_path / "openai.pt", quick_gelu=False)
    assert np.abs(plain.encode_texts(TEXTS) - expected).max() > 1e-4, "the flag wins"


@pytest.mark.parametrize(("height", "width"), [(64, 96), (32, 160), (128, 128)])
def test_other_input_sizes(family: str, height: int, width: int, tmp_path: Path) -> None:
    """The position table is interpolated to the feature grid, as a model built for that size would have it."""
    model = Model(family, tmp_path)
    torch.save(model.clip.state_dict(), tmp_path / "w.pt")
    embeddings = embed(model.load(tmp_path / "w.pt"), pixels(height, width))

    visual = model.clip.visual
    owner, stride = (visual.attnpool, 32) if family == "resnet" else (visual, 16)
    table = owner.positional_embedding.detach()
    side = 64 // stride
    cells = table[1:].T.reshape(1, -1, side, side)
    resize = {"mode": "bilinear"} if family == "resnet" else {"mode": "bicubic", "antialias": True}
    cells = torch.nn.functional.interpolate(cells, (height // stride, width // stride), **resize)
    owner.positional_embedding = torch.nn.Parameter(torch.cat([table[:1], cells.flatten(2)[0].T]))
    np.testing.assert_allclose(embeddings, reference(model.clip, pixels(height, width)), atol=1e-5)


@pytest.mark.parametrize("side", [63, 65, 95, 96])
def test_sides_between_strides(side: int, tmp_path: Path) -> None:
    """PAPER keeps the aspect exactly: the grid has to follow the network's own rounding (63 = 31 mod 32 rounds up)."""
    model = Model("resnet", tmp_path)
    torch.save(model.clip.state_dict(), tmp_path / "w.pt")
    assert np.isfinite(embed(model.load(tmp_path / "w.pt"), pixels(64, side))).all()


def test_evil_checkpoint_is_not_executed(tmp_path: Path) -> None:
    """A pickle runs code when it is opened; a checkpoint from the web must not."""
    mark = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (mark,))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="not a plain checkpoint"):
        Model("resnet", tmp_path).load(tmp_path / "evil.pt")
    assert not mark.exists()


def test_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    torch.save(Model("vit", tmp_path).clip.state_dict(), tmp_path / "vit.pt")
    with pytest.raises(ValueError, match=r"vit\.pt does not fit resnet"):
        Model("resnet", tmp_path).load(tmp_path / "vit.pt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "RN50x46"}, "did you mean.*RN50x64"),
        ({"model": "RN50"}, "needs --pretrained: a checkpoint file, or one of the tags openai"),
        ({"model": "RN50", "pretrained": "nowhere.pt"}, "nowhere.pt: no such file, or one of the tags openai"),
        ({"model_config": Path("nowhere.json")}, "nowhere.json"),
        ({"model": "RN50", "device": "tpu"}, "--device tpu"),
        ({"model": "RN50", "device": "cuda:99"}, "--device cuda:99: there are"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TorchBackend(ServerConfig(**{"device": "cpu", **settings}))


def test_half_precision_equals_autocast(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are cast once instead of in every batch: to the same bits, and only where autocast would cast them."""
    model = Model(family, tmp_path)
    torch.save(model.clip.state_dict(), tmp_path / "w.pt")
    backend = model.load(tmp_path / "w.pt", dtype="bfloat16")
    # On a CPU, though not on CUDA, torch's fast path of attention would go around autocast.
    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = reference(model.clip, pixels(), normalize=False)
    ours = embed(backend, pixels())
    assert np.array_equal(ours, torch.nn.functional.normalize(torch.from_numpy(features), dim=-1).numpy())
    assert np.abs(ours - reference(model.clip, pixels())).max() > 1e-4, "it is another precision"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), OutOfDeviceMemoryError),
        (RuntimeError("CUDA error: out of memory"), OutOfDeviceMemoryError),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), OutOfDeviceMemoryError),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), DeviceLostError),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError),
    ],
)
def test_device_errors_are_told_apart(error: RuntimeError, expected: type[Exception]) -> None:
    """A batch that does not fit is split; a broken device ends the process. There is no device here to break."""
    with pytest.raises(expected), torch_backend._translated_errors():
        raise error


@pytest.mark.slow
def test_compiled_equals_eager(family: str, tmp_path: Path) -> None:
    """A compiled tower must serve every batch of a size without compiling anew: it takes a minute each time."""
    model = Model(family, tmp_path)
    torch.save(model.clip.state_dict(), tmp_path / "w.pt")
    eager, compiled = model.load(tmp_path / "w.pt"), model.load(tmp_path / "w.pt", compile=True)
    for height, width in [(64, 64), (64, 96)]:
        embed(compiled, pixels(height, width))
        before = counters["stats"]["unique_graphs"]
        for batch in (1, 3, 8):
            images = pixels(height, width, batch)
            np.testing.assert_allclose(embed(compiled, images), embed(eager, images), atol=1e-5)
        assert counters["stats"]["unique_graphs"] == before
