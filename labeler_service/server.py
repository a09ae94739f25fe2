"""Puts the server together and runs it until it is told to stop."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clip_labeler.v1 import labeler_pb2_grpc
from labeler_service.admission import Admission, PixelBudget
from labeler_service.auth import AuthInterceptor
from labeler_service.backends import Backend
from labeler_service.batching import Batcher, BatchLimits
from labeler_service.call_context import ContextInterceptor
from labeler_service.config import ServerConfig
from labeler_service.credentials import TlsFiles, server_credentials
from labeler_service.drain import Drain
from labeler_service.health import SERVICE, Monitor, Readiness
from labeler_service.images import ImageLimits, prepare_pillow
from labeler_service.interceptors import ErrorInterceptor, ParseInterceptor
from labeler_service.pipeline import Pipeline
from labeler_service.servicer import LabelerServicer
from labeler_service.tokens import TokenFile
from labeler_service.vocabulary import VocabularyStore

logger = logging.getLogger(__name__)

DEVICE_LOST = 1
# Enough for calls in flight to hear of it.
DEVICE_LOST_GRACE_SECONDS = 1.0
# For the last answers to leave; then what still hangs on, health watchers among it, is cut off.
FLUSH_SECONDS = 0.5


def run(config: ServerConfig) -> int:
    """Serves until SIGTERM, SIGINT or, if so set, the end of standard input, and returns the exit status.

    Raises ValueError when the model cannot be loaded or the address cannot be used.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("labeler_service").setLevel(logging.INFO)
    prepare_pillow(_image_limits(config))
    status = asyncio.run(_serve(config))
    if status == DEVICE_LOST:
        # Not by sys.exit(), which waits for all threads: the one of a hung device never ends.
        logging.shutdown()
        os._exit(status)
    return status


async def _serve(config: ServerConfig) -> int:
    stop, drain = _stop_event(config), Drain()
    server = grpc.aio.server(interceptors=_interceptors(config, drain), options=_options(config))
    address = _bind(server, config)  # Before the model is loaded, which takes long.
    backend = await asyncio.to_thread(_load_backend, config)
    if stop.is_set():
        return 0
    batcher = Batcher(backend, BatchLimits(config.batch_pixels, config.max_batch_size, padded=config.reproducible))
    budget = PixelBudget(config.queue_pixels)
    pipeline = Pipeline(
        batcher, limits=_image_limits(config), budget=budget, num_workers=config.decode_workers or os.cpu_count() or 1
    )
    vocabularies = VocabularyStore(
        lambda texts: batcher.run_on_device(lambda: backend.encode_texts(texts)),
        model_temperature=backend.info.temperature,
    )
    admission = Admission(budget, config.max_requests_in_flight, config.max_queue_seconds, config.batch_pixels)
    servicer = LabelerServicer(config, backend.info, pipeline, vocabularies, admission, drain)
    readiness = Readiness()
    _add_services(server, config, servicer, readiness)
    await readiness.set(serving=False)
    await server.start()
    monitor = Monitor(pipeline, backend.info, batcher, readiness, hang_seconds=config.hang_seconds)
    try:
        await _until(stop, _watch(monitor, f"serving {config.model_name} at {address}"))
    finally:
        # Health first, so that load balancers send nothing new while calls in flight end.
        await readiness.set(serving=False)
        await drain.finish(DEVICE_LOST_GRACE_SECONDS if batcher.lost.is_set() else config.grace)
        await server.stop(FLUSH_SECONDS)
        await batcher.close()
        pipeline.close()
    return DEVICE_LOST if batcher.lost.is_set() else 0


async def _watch(monitor: Monitor, announcement: str) -> None:
    await monitor.start()
    print(announcement, flush=True)
    await monitor.watch()


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` until it ends, or until `stop` is set. Raises what it raised."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        working.result()
    working.cancel()


def _add_services(
    server: grpc.aio.Server, config: ServerConfig, servicer: LabelerServicer, readiness: Readiness
) -> None:
    labeler_pb2_grpc.add_LabelerServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(readiness.servicer, server)
    if config.reflection:
        reflection.enable_server_reflection((SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)


def _interceptors(config: ServerConfig, drain: Drain) -> list[grpc.aio.ServerInterceptor]:
    """The first is outermost. Raises ValueError when the token file cannot be used."""
    tokens = TokenFile(config.token_file) if config.token_file else None
    return [ErrorInterceptor(), ContextInterceptor(), AuthInterceptor(tokens), drain, ParseInterceptor()]


def _image_limits(config: ServerConfig) -> ImageLimits:
    return ImageLimits(config.max_image_bytes, config.max_image_pixels)


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
        # A connection stays with its replica; the grace for calls in flight is unlimited by default. The option is an
        # int, whose largest value means never.
        ("grpc.max_connection_age_ms", min(round(config.max_connection_age * 1000), 2**31 - 1)),
    ]


def _bind(server: grpc.aio.Server, config: ServerConfig) -> str:
    """The address that the server will listen on, with the port that was chosen. Raises ValueError."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"{host}:{config.port}"
    try:
        if config.tls_cert and config.tls_key:
            credentials = server_credentials(TlsFiles(config.tls_cert, config.tls_key, config.tls_client_ca))
            return f"{host}:{server.add_secure_port(address, credentials)}"
        return f"{host}:{server.add_insecure_port(address)}"
    except RuntimeError:
        raise ValueError(f"cannot listen on {address}: is the port in use?") from None


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
