"""The torch backend: an open_clip model on the CPU or a CUDA device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import open_clip
import torch
from torch import Tensor

from labeler_service.backends import Embeddings, ModelInfo, Normalization, OutOfDeviceMemoryError
from labeler_service.backends.checkpoints import load_model, weights_sha256
from labeler_service.backends.variable_size import VariableSizeTower
from labeler_service.config import ServerConfig
from labeler_service.errors import DeviceLostError
from labeler_service.images import ModelPreprocessing, Pixels


class TorchBackend:
    """Holds the model; see Backend for what its verbs promise.

    Raises ValueError when the model cannot be loaded or the device does not exist.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._device = _find_device(config.device)
        self._dtype = _find_dtype(config.dtype, self._device)
        model, architecture = load_model(config)
        sha256 = weights_sha256(model)
        if self._device.type == "cuda":
            # TF32 would quietly cut float32 to 10 bits of mantissa.
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = config.reproducible
            model = model.to(self._device, memory_format=torch.channels_last)
        self._model = model
        self._tower = VariableSizeTower(model.visual)
        self._tokenizer = open_clip.get_tokenizer(architecture)
        self.info = self._describe(open_clip.get_model_preprocess_cfg(model), sha256)

    def _describe(self, preprocess: dict[str, Any], sha256: str) -> ModelInfo:
        size = preprocess["size"]
        resolution = size if isinstance(size, int) else size[0]
        return ModelInfo(
            weights_sha256=sha256,
            backend="torch",
            dtype=str(self._dtype).removeprefix("torch."),
            device=str(self._device),
            embedding_size=self._measure_embedding(resolution),
            native_resolution=resolution,
            temperature=1 / self._model.logit_scale.exp().item(),
            stride=self._tower.stride,
            multiple=self._tower.multiple,
            variable_size=self._tower.variable_size,
            normalization=Normalization(mean=tuple(preprocess["mean"]), std=tuple(preprocess["std"])),
            preprocessing=ModelPreprocessing(
                size=resolution,
                interpolation=preprocess["interpolation"],
                resize_mode=preprocess["resize_mode"],
                fill_color=preprocess["fill_color"],
            ),
        )

    def _measure_embedding(self, resolution: int) -> int:
        image = torch.zeros(1, 3, resolution, resolution, device=self._device)
        with torch.inference_mode():
            return self._encode(image).shape[1]

    @torch.inference_mode()
    def encode_images(self, pixels_BHW3: Pixels, normalization: Normalization) -> Embeddings:
        with _translated_errors():
            pixels = torch.from_numpy(pixels_BHW3)
            if self._device.type == "cuda":
                pixels = pixels.pin_memory().to(self._device, non_blocking=True)
            mean = torch.tensor(normalization.mean, device=self._device).view(3, 1, 1)
            std = torch.tensor(normalization.std, device=self._device).view(3, 1, 1)
            # A view only: channels stay last in memory, which convolutions on CUDA prefer.
            images_B3HW = pixels.permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
            embeddings: Embeddings = self._encode(images_B3HW).cpu().numpy()
            return embeddings

    def _encode(self, images_B3HW: Tensor) -> Tensor:
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not torch.float32):
            features_BD = self._tower(images_B3HW)
        return torch.nn.functional.normalize(features_BD.float(), dim=-1)

    @torch.inference_mode()
    def encode_texts(self, texts: list[str]) -> Embeddings:
        with _translated_errors():
            # Always in float32: it is done once, and every score depends on it.
            tokens = self._tokenizer(texts).to(self._device)
            embeddings: Embeddings = self._model.encode_text(tokens, normalize=True).cpu().numpy()
            return embeddings


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise OutOfDeviceMemoryError from None
    except RuntimeError as error:
        if "CUDA error" in str(error):  # Sticky: every later call would fail the same way.
            raise DeviceLostError from error
        raise


def _find_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device {name}: must be auto, cpu, cuda or cuda:N") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ValueError(f"--device {name}: must be auto, cpu, cuda or cuda:N")
    if (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {name}: there are {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", device.index or 0)


def _find_dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype
