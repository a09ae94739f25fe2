"""The torch backend: an open_clip model on the CPU or a CUDA device."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch._dynamo
from torch import Tensor, nn

from labeler_service.backends import Backend, Computed, Embeddings, Normalization, OutOfDeviceMemoryError, Pending
from labeler_service.backends.clip_model import ClipModel
from labeler_service.backends.devices import dtype_name, find_device, find_dtype
from labeler_service.backends.image_encoder import ImageEncoder
from labeler_service.config import ServerConfig
from labeler_service.errors import DeviceLostError
from labeler_service.images import Pixels

# Layers whose work autocast does in half precision; it leaves all others, such as norms, in float32.
_HALF_LAYERS = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)
# Sizes of views beyond these run uncompiled. BUCKETED has 39 at a longer side of 640.
MAX_COMPILED_SIZES = 64


class TorchBackend(Backend):
    """Holds the model; see Backend for what its verbs promise.

    On CUDA a batch is copied on a stream of its own, so that the copy of one overlaps with the kernels of another.
    Raises ValueError when the model cannot be loaded or the device does not exist.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._device = find_device(config.device)
        self._dtype = find_dtype(config.dtype, self._device)
        model = ClipModel(config)
        self.info = model.describe(backend="torch", dtype=dtype_name(self._dtype), device=self._device)
        self._clip, self._tokenizer, self._tables = model.clip, model.tokenizer, model.tables
        self._encoder = ImageEncoder(self._clip.visual, self._tables.name)
        if self._device.type == "cuda":
            # TF32 would quietly cut float32 to 10 bits of mantissa.
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = config.reproducible
            self._clip.to(self._device, memory_format=torch.channels_last)
            self._copies = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        _cast_weights(self._clip.visual, self._dtype)
        self._is_compiled = config.compile or config.cuda_graphs
        if self._is_compiled:
            torch._dynamo.config.recompile_limit = MAX_COMPILED_SIZES
            self._encoder.compile(dynamic=False, mode="reduce-overhead" if config.cuda_graphs else None)
        self._table = functools.cache(lambda grid: self._tables.interpolate(grid).to(self._device))
        self._mean_std = functools.cache(self._to_mean_std)
        if self._is_compiled:
            self._try_compiling()

    def _try_compiling(self) -> None:
        """Compiles the native size, so that what is missing for it shows before the server serves."""
        size = self.info.native_resolution
        try:
            self.encode_images(np.zeros((2, size, size, 3), np.uint8), self.info.normalization)
        except RuntimeError as error:
            summary = " ".join(str(error).split())[:300]
            raise ValueError(f"--compile does not work here, leave it out: {summary}") from error

    @torch.inference_mode()
    def submit(self, pixels_BHW3: Pixels, normalization: Normalization) -> Pending:
        with _translated_errors():
            pixels = torch.from_numpy(pixels_BHW3)
            if self._device.type == "cuda":
                return self._submit_to_cuda(pixels, normalization)
            return Computed(self._encode(pixels, normalization).numpy())

    def _submit_to_cuda(self, pixels_BHW3: Tensor, normalization: Normalization) -> Pending:
        compute = torch.cuda.current_stream(self._device)
        # Only pinned memory is copied while the host goes on. torch keeps pinned blocks and hands one out again once
        # the copy from it is done, so that two batches in flight have two buffers.
        staged = pixels_BHW3.pin_memory()
        with torch.cuda.stream(self._copies):
            pixels = staged.to(self._device, non_blocking=True)
        compute.wait_stream(self._copies)
        pixels.record_stream(compute)
        embeddings = self._encode(pixels, normalization)
        on_host = torch.empty(embeddings.shape, dtype=embeddings.dtype, pin_memory=True)
        on_host.copy_(embeddings, non_blocking=True)
        return _OnCuda(on_host, compute.record_event())

    def _encode(self, pixels_BHW3: Tensor, normalization: Normalization) -> Tensor:
        num_images = len(pixels_BHW3)
        if self._is_compiled:
            # One set of kernels per height and width, whatever the batch; torch would compile for a batch of one apart.
            pixels_BHW3 = pixels_BHW3.repeat(2, 1, 1, 1) if num_images == 1 else pixels_BHW3
            torch._dynamo.mark_dynamic(pixels_BHW3, 0)
        inputs = self._mean_std(normalization)
        if self._tables.name is not None:
            inputs += (self._table(self._tables.grid(*pixels_BHW3.shape[1:3])),)
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not torch.float32):
            embeddings: Tensor = self._encoder(pixels_BHW3, *inputs)
        return embeddings[:num_images]

    def _to_mean_std(self, normalization: Normalization) -> tuple[Tensor, ...]:
        return tuple(torch.tensor(values, device=self._device) for values in (normalization.mean, normalization.std))

    @torch.inference_mode()
    def encode_texts(self, texts: list[str]) -> Embeddings:
        with _translated_errors():
            # Always in float32: it is done once, and every score depends on it.
            tokens = self._tokenizer(texts).to(self._device)
            embeddings: Embeddings = self._clip.encode_text(tokens, normalize=True).cpu().numpy()
            return embeddings


@dataclass(frozen=True)
class _OnCuda:
    """Embeddings that are on their way to pinned memory."""

    embeddings: Tensor
    done: torch.cuda.Event

    def result(self) -> Embeddings:
        with _translated_errors():
            self.done.synchronize()
        rows: Embeddings = self.embeddings.numpy().copy()  # Rows that callers keep would hold on to pinned memory.
        return rows


def _cast_weights(tower: nn.Module, dtype: torch.dtype) -> None:
    """Casts once what autocast would cast in every batch, to the same bits: half the memory, and no time per batch."""
    for module in tower.modules():
        if isinstance(module, _HALF_LAYERS):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise OutOfDeviceMemoryError from None
    except RuntimeError as error:
        message = str(error)
        # From libraries that allocate by themselves, as cuBLAS does. Neither harms what comes after.
        if "CUDA error: out of memory" in message or "CUBLAS_STATUS_ALLOC_FAILED" in message:
            raise OutOfDeviceMemoryError from None
        if "CUDA error" in message:  # Sticky: every later call would fail the same way.
            raise DeviceLostError from error
        raise
