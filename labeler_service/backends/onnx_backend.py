"""The onnxruntime backend: an exported CLIP model on the CPU, on CUDA, or compiled by TensorRT."""

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from labeler_service.backends import Backend, Computed, Embeddings, Normalization, OutOfDeviceMemoryError, Pending
from labeler_service.backends.clip_model import ClipModel
from labeler_service.backends.devices import dtype_name, find_device, find_dtype
from labeler_service.backends.onnx_export import (
    IMAGE_FILE,
    IMAGE_INPUTS,
    OUTPUT,
    REFERENCE_FILE,
    TEXT_FILE,
    TEXT_INPUTS,
    exported,
)
from labeler_service.config import ServerConfig
from labeler_service.errors import DeviceLostError
from labeler_service.images import Pixels

logger = logging.getLogger(__name__)

Providers = list[tuple[str, dict[str, str]]]  # names with their options, the preferred one first

# Largest difference of any cosine from torch's in float32. Measured on the CPU in float32: 8e-7. float16 has 11 bits of
# mantissa, and errors of many layers add up.
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2}
_EXECUTION_PROVIDERS = {
    ("onnxruntime", "cpu"): "CPUExecutionProvider",
    ("onnxruntime", "cuda"): "CUDAExecutionProvider",
    ("tensorrt", "cuda"): "TensorrtExecutionProvider",
}
# onnxruntime's arena, the C++ library, CUDA and cuBLAS.
_OUT_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class OnnxBackend(Backend):
    """Holds a session per tower; see Backend for what its verbs promise.

    The model is loaded with torch, which knows its weights' hash, and exported at its first start. Raises ValueError
    when that fails, when the device is not to be had, or when the result differs from torch's.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._device = find_device(config.device)
        dtype = find_dtype(config.dtype, self._device)
        _check_supported(config.backend, self._device, dtype)
        model = ClipModel(config)
        folder = exported(model, dtype, config.export_dir.expanduser())
        self.info = model.describe(backend=config.backend, dtype=dtype_name(dtype), device=self._device)
        self._tokenizer, self._tables = model.tokenizer, model.tables
        del model  # Its weights are in the sessions now.
        options = _session_options(config)
        self._image = _open(folder / IMAGE_FILE, options, _providers(config.backend, self._device, dtype, folder))
        # The text tower runs once per vocabulary, in float32.
        self._text = _open(folder / TEXT_FILE, options, _providers("onnxruntime", self._device, torch.float32, folder))
        self._table = functools.cache(lambda grid: self._to_device(self._tables.interpolate(grid).numpy()))
        self._mean_std = functools.cache(self._to_mean_std)
        self._check_parity(folder / REFERENCE_FILE, _TOLERANCE[dtype])

    def submit(self, pixels_BHW3: Pixels, normalization: Normalization) -> Pending:
        inputs = [self._to_device(pixels_BHW3), *self._mean_std(normalization)]
        if self._tables.name is not None:
            inputs.append(self._table(self._tables.grid(*pixels_BHW3.shape[1:3])))
        return Computed(_run(self._image, IMAGE_INPUTS, inputs))

    def encode_texts(self, texts: list[str]) -> Embeddings:
        return _run(self._text, TEXT_INPUTS, [self._to_device(self._tokenizer(texts).numpy())])

    def _to_device(self, array: NDArray[Any]) -> Any:
        with _translated_errors():
            return onnxruntime.OrtValue.ortvalue_from_numpy(array, self._device.type, self._device.index or 0)

    def _to_mean_std(self, normalization: Normalization) -> list[Any]:
        return [self._to_device(np.array(values, np.float32)) for values in (normalization.mean, normalization.std)]

    def _check_parity(self, path: Path, tolerance: float) -> None:
        """Against torch in float32. A cosine of unit rows moves no further than its two rows together."""
        with np.load(path) as reference:
            texts = _run(self._text, TEXT_INPUTS, [self._to_device(reference["tokens"])])
            moved_by_text = _largest_distance(texts, reference["texts"])
            moved_by_image = max(
                _largest_distance(
                    self.encode_images(reference[name], self.info.normalization),
                    reference[name.replace("pixels", "images")],
                )
                for name in reference
                if name.startswith("pixels_")
            )
        difference = moved_by_image + moved_by_text
        logger.info("largest cosine difference between %s and torch: %.1e", self.info.backend, difference)
        if not difference <= tolerance:  # Also where it is no number.
            raise ValueError(
                f"--backend {self.info.backend} differs from torch by {difference:.1e} in cosines on {self._device}, "
                f"more than {tolerance:.0e}: use --backend torch"
            )


def _check_supported(backend: str, device: torch.device, dtype: torch.dtype) -> None:
    provider = _EXECUTION_PROVIDERS.get((backend, device.type))
    if provider is None:
        raise ValueError(f"--backend {backend} needs --device cuda, got {device}")
    if provider not in onnxruntime.get_available_providers():
        raise ValueError(
            f"--backend {backend} on {device}: this onnxruntime has no {provider}: install onnxruntime-gpu"
        )
    if dtype not in _TOLERANCE:
        raise ValueError(f"--dtype {dtype_name(dtype)}: --backend {backend} takes float32 or float16")
    if dtype is torch.float16 and device.type == "cpu":
        raise ValueError(f"--dtype float16: --backend {backend} takes it on CUDA only; on the CPU use float32")


def _session_options(config: ServerConfig) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors: its warnings are advice to those who wrote the graph.
    # As many as torch takes, so that OMP_NUM_THREADS and CPU quotas hold for both backends.
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait would take the cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.use_deterministic_compute = config.reproducible
    return options


def _providers(backend: str, device: torch.device, dtype: torch.dtype, folder: Path) -> Providers:
    """The wanted provider and, behind it, those for operators that it lacks.

    Options: https://onnxruntime.ai/docs/execution-providers
    """
    providers: Providers = [("CPUExecutionProvider", {})]
    device_id = str(device.index or 0)
    if device.type == "cuda":
        # TF32 would quietly cut float32 to 10 bits of mantissa. An exhaustive search for the best convolution would
        # hold up the first batch of each shape for seconds.
        cuda = {"device_id": device_id, "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
        providers.insert(0, ("CUDAExecutionProvider", cuda))
    if backend == "tensorrt":
        engines = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
        half = {"trt_fp16_enable": str(int(dtype is torch.float16))}
        providers.insert(0, ("TensorrtExecutionProvider", {"device_id": device_id, **engines, **half}))
    return providers


def _open(path: Path, options: Any, providers: Providers) -> Any:
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    wanted = providers[0][0]
    if session.get_providers()[0] != wanted:  # It falls back to the CPU with no more than a warning.
        raise ValueError(
            f"onnxruntime could not start {wanted}: are the CUDA and cuDNN that it was built for installed?"
        )
    return session


def _run(session: Any, names: tuple[str, ...], inputs: list[Any]) -> Embeddings:
    with _translated_errors():
        binding = session.io_binding()
        for name, value in zip(names, inputs, strict=False):  # The last name is of towers of variable size only.
            binding.bind_ortvalue_input(name, value)
        binding.bind_output(OUTPUT)
        session.run_with_iobinding(binding)
        [embeddings] = binding.copy_outputs_to_cpu()
        rows: Embeddings = embeddings
        return rows


def _largest_distance(rows: Embeddings, expected: Embeddings) -> float:
    return float(np.linalg.norm(rows - expected, axis=1).max())


@contextmanager
def _translated_errors() -> Iterator[None]:
    """onnxruntime has one kind of exception for all that goes wrong on a device: the text tells."""
    try:
        yield
    except Exception as error:
        message = str(error)
        if any(mark in message for mark in _OUT_OF_MEMORY):
            raise OutOfDeviceMemoryError from None
        if "CUDA failure" in message:  # Sticky: every later call would fail the same way.
            raise DeviceLostError from error
        raise
