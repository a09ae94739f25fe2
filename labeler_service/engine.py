"""Everything between the RPCs and the device, put together, started and stopped as one."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from labeler_service import metrics
from labeler_service.admission import Admission, PixelBudget
from labeler_service.backends import Backend, ModelInfo
from labeler_service.batching import Batcher, BatchLimits, make_device_thread
from labeler_service.cache import ResultCache
from labeler_service.cache_disk import DiskStore
from labeler_service.cached_pipeline import CachedPipeline
from labeler_service.config import ServerConfig
from labeler_service.cpu import DECODE_NICENESS
from labeler_service.decode_pool import DecodePool
from labeler_service.decode_worker import WorkerSettings
from labeler_service.decoding import ImageLimits
from labeler_service.pipeline import Pipeline
from labeler_service.vocabulary import VocabularyStore

# A GPU needs large batches to be busy. A CPU does not: RN50 at 224 pixels takes 137, 103, 86, 78, 80 and 97 ms a view
# in batches of 1, 2, 4, 8, 16 and 32 on two cores (2026-11; activations of over 32 MiB get fresh pages each time).
GPU_BATCH_PIXELS = 32 * 640 * 640
CPU_BATCH_PIXELS = 8 * 224 * 224
# More decode than one process can receive over gRPC: at 640 pixels each gives 170 images a second (measured).
MAX_DECODE_WORKERS = 32


@dataclass(frozen=True)
class Engine:
    """`pipeline` really decodes and embeds; `cached` does so only for what it has not seen before."""

    model: ModelInfo
    batcher: Batcher
    pipeline: Pipeline
    cached: Pipeline | CachedPipeline
    vocabularies: VocabularyStore
    admission: Admission


@asynccontextmanager
async def running_engine(config: ServerConfig) -> AsyncIterator[Engine]:
    """Raises ValueError when the model cannot be loaded or a decode worker does not start."""
    decoders = _start_decoders(config)  # They come up while the model is loaded.
    try:
        device_thread = make_device_thread()
        backend = await asyncio.get_running_loop().run_in_executor(device_thread, load_backend, config)
        await decoders.start()
        metrics.set_model(config.model_name, backend.info)
        batcher = Batcher(backend, _batch_limits(config, backend.info), device_thread)
        cache = _result_cache(config)
        try:
            yield _assemble(config, backend, batcher, decoders, cache)
        finally:
            await batcher.close()
            if cache:
                await cache.close()
    finally:
        decoders.close()


def _assemble(
    config: ServerConfig, backend: Backend, batcher: Batcher, decoders: DecodePool, cache: ResultCache | None
) -> Engine:
    budget = PixelBudget(config.queue_pixels)
    pipeline = Pipeline(batcher, decoders, budget)
    return Engine(
        model=backend.info,
        batcher=batcher,
        pipeline=pipeline,
        cached=CachedPipeline(pipeline, cache, backend.info) if cache else pipeline,
        vocabularies=VocabularyStore(
            lambda texts: batcher.run_on_device(lambda: backend.encode_texts(texts)),
            model_temperature=backend.info.temperature,
        ),
        admission=Admission(
            budget, config.max_requests_in_flight, config.max_queue_seconds, _batch_pixels(batcher, backend.info)
        ),
    )


def _batch_limits(config: ServerConfig, model: ModelInfo) -> BatchLimits:
    on_cpu = model.device == "cpu"
    pixels = config.batch_pixels or (CPU_BATCH_PIXELS if on_cpu else GPU_BATCH_PIXELS)
    return BatchLimits(pixels, config.max_batch_size, padded=config.reproducible, even=on_cpu)


def _batch_pixels(batcher: Batcher, model: ModelInfo) -> int:
    """Of a full batch of views of the model's own size."""
    side = model.native_resolution
    return batcher.capacity(side, side) * side**2


def _start_decoders(config: ServerConfig) -> DecodePool:
    from labeler_service.backends.devices import find_device  # torch takes seconds

    limits = ImageLimits(config.max_image_bytes, config.max_image_pixels, config.max_non_jpeg_pixels)
    niceness = DECODE_NICENESS if find_device(config.device).type == "cpu" else 0
    settings = WorkerSettings(limits, config.decode_memory_bytes, config.decode_seconds, niceness)
    num_workers = config.decode_workers or min(os.cpu_count() or 1, MAX_DECODE_WORKERS)
    return DecodePool(settings, num_workers=num_workers)


def _result_cache(config: ServerConfig) -> ResultCache | None:
    if config.cache_bytes == 0:
        return None
    if config.cache_dir is None:
        return ResultCache(config.cache_bytes)
    return ResultCache(config.cache_bytes, DiskStore(config.cache_dir.expanduser(), config.cache_disk_bytes))


def load_backend(config: ServerConfig) -> Backend:
    if config.backend == "torch":
        from labeler_service.backends.torch_backend import TorchBackend

        return TorchBackend(config)
    try:
        from labeler_service.backends.onnx_backend import OnnxBackend

        return OnnxBackend(config)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--backend {config.backend} needs the package {error.name}: pip install 'ccd[labeler-onnx]'"
        ) from None
