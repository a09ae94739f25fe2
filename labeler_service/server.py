"""Puts the server together and runs it until it is told to stop."""

import asyncio
import logging
import os
import signal
import sys
import threading

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clip_labeler.v1 import labeler_pb2_grpc
from labeler_service.backends import Backend
from labeler_service.batching import Batcher, BatchLimits, PixelBudget
from labeler_service.call_context import ContextInterceptor
from labeler_service.config import ServerConfig
from labeler_service.decode_pool import DecodePool
from labeler_service.decode_worker import WorkerSettings
from labeler_service.decoding import ImageLimits, check_pillow
from labeler_service.health import SERVICE, Readiness, run_canary
from labeler_service.interceptors import ErrorInterceptor
from labeler_service.pipeline import Pipeline
from labeler_service.servicer import LabelerServicer
from labeler_service.vocabulary import VocabularyStore

logger = logging.getLogger(__name__)

DEVICE_LOST = 1
# More decode than one process can receive over gRPC: at 640 pixels each gives 170 images a second (measured).
MAX_DECODE_WORKERS = 32
# Enough for calls in flight to hear of it.
DEVICE_LOST_GRACE_SECONDS = 1.0


def run(config: ServerConfig) -> int:
    """Serves until SIGTERM, SIGINT or, if so set, the end of standard input, and returns the exit status.

    Raises ValueError when the model cannot be loaded or the address cannot be used.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("labeler_service").setLevel(logging.INFO)
    check_pillow()
    return asyncio.run(_serve(config))


async def _serve(config: ServerConfig) -> int:
    stop = _stop_event(config)
    server = grpc.aio.server(interceptors=[ErrorInterceptor(), ContextInterceptor()], options=_options(config))
    address = _bind(server, config)  # Before the model is loaded, which takes long.
    decoders = _start_decoders(config)  # They come up while the model is loaded.
    backend = await asyncio.to_thread(_load_backend, config)
    await decoders.start()
    if stop.is_set():
        return 0
    batcher = Batcher(backend, BatchLimits(config.batch_pixels, config.max_batch_size, padded=config.reproducible))
    pipeline = Pipeline(batcher, decoders, PixelBudget(config.queue_pixels))
    readiness = Readiness()
    await readiness.set(serving=False)
    _add_services(server, config, backend, batcher, pipeline, readiness)
    await server.start()
    await run_canary(pipeline, backend.info)
    await readiness.set(serving=True)
    print(f"serving {config.model_name} at {address}", flush=True)

    await _first(stop, batcher.lost)
    # Health first, so that load balancers send nothing new while calls in flight end.
    await readiness.set(serving=False)
    await server.stop(DEVICE_LOST_GRACE_SECONDS if batcher.lost.is_set() else config.grace)
    await batcher.close()
    pipeline.close()
    return DEVICE_LOST if batcher.lost.is_set() else 0


def _add_services(
    server: grpc.aio.Server,
    config: ServerConfig,
    backend: Backend,
    batcher: Batcher,
    pipeline: Pipeline,
    readiness: Readiness,
) -> None:
    vocabularies = VocabularyStore(
        lambda texts: batcher.run_on_device(lambda: backend.encode_texts(texts)),
        model_temperature=backend.info.temperature,
    )
    servicer = LabelerServicer(config, backend.info, pipeline, vocabularies)
    labeler_pb2_grpc.add_LabelerServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(readiness.servicer, server)
    reflection.enable_server_reflection((SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)


def _start_decoders(config: ServerConfig) -> DecodePool:
    limits = ImageLimits(config.max_image_bytes, config.max_image_pixels, config.max_non_jpeg_pixels)
    settings = WorkerSettings(limits, config.decode_memory_bytes, config.decode_seconds)
    num_workers = config.decode_workers or min(os.cpu_count() or 1, MAX_DECODE_WORKERS)
    return DecodePool(settings, num_workers=num_workers)


def _load_backend(config: ServerConfig) -> Backend:
    from labeler_service.backends.torch_backend import TorchBackend

    return TorchBackend(config)


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        # A second server on the same port fails instead of taking half of its connections.
        ("grpc.so_reuseport", 0),
        # Against HTTP/2 rapid reset: without a limit two hostile connections make other callers' calls fail.
        ("grpc.max_concurrent_streams", 128),
        ("grpc.max_receive_message_length", config.max_request_bytes),
        ("grpc.max_send_message_length", config.max_request_bytes),
        # A caller that is gone is noticed after 25 seconds; all three are needed.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),
        # What callers may send in turn.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        # Connections that say nothing.
        ("grpc.server_handshake_timeout_ms", 5_000),
        ("grpc.max_connection_idle_ms", 300_000),
    ]


def _bind(server: grpc.aio.Server, config: ServerConfig) -> str:
    """The address that the server will listen on, with the port that was chosen."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        return f"{host}:{server.add_insecure_port(f'{host}:{config.port}')}"
    except RuntimeError:
        raise ValueError(f"cannot listen on {host}:{config.port}: is the port in use?") from None


def _stop_event(config: ServerConfig) -> asyncio.Event:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if config.stop_with_stdin:

        def wait_for_end() -> None:
            while os.read(0, 4096):
                pass
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=wait_for_end, daemon=True).start()
    return stop


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
