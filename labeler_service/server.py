"""Puts the server together and runs it until it is told to stop."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Any

from labeler_service import logs
from labeler_service.config import ServerConfig
from labeler_service.decoding import check_pillow
from labeler_service.drain import Drain
from labeler_service.engine import Engine, running_engine
from labeler_service.grpc_server import add_services, bind, create_server
from labeler_service.health import Monitor, Readiness
from labeler_service.memory import exempt_from_collection
from labeler_service.operations import operations
from labeler_service.servicer import LabelerServicer
from labeler_service.tokens import TokenFile
from labeler_service.warm_up import warm_up

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
    logs.configure(config.log_level, config.log_format)
    check_pillow()
    status = asyncio.run(_serve(config))
    if status == DEVICE_LOST:
        # Not by sys.exit(), which waits for all threads: the one of a hung device never ends.
        logging.shutdown()
        os._exit(status)
    return status


async def _serve(config: ServerConfig) -> int:
    stop, drain, readiness = _stop_event(config), Drain(), Readiness()
    tokens = TokenFile(config.token_file) if config.token_file else None
    with operations(config, readiness, tokens) as observers:
        server = create_server(config, observers, tokens, drain)
        address = bind(server, config)  # Before the model is loaded, which takes long.
        async with running_engine(config) as engine:
            add_services(server, config, LabelerServicer(config, engine, drain), readiness)
            await readiness.set(serving=False)
            await server.start()
            monitor = Monitor(engine, readiness, hang_seconds=config.hang_seconds)
            try:
                await _until(stop, _watch(config, engine, monitor, f"serving {config.model_name} at {address}"))
            finally:
                # Health first, so that load balancers send nothing new while calls in flight end.
                await readiness.set(serving=False)
                await drain.finish(DEVICE_LOST_GRACE_SECONDS if engine.batcher.lost.is_set() else config.grace)
                await server.stop(FLUSH_SECONDS)
    return DEVICE_LOST if engine.batcher.lost.is_set() else 0


async def _watch(config: ServerConfig, engine: Engine, monitor: Monitor, announcement: str) -> None:
    if config.warm_up_view_size:
        await warm_up(engine, config.warm_up_view_size)
    await monitor.start()
    exempt_from_collection()
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
