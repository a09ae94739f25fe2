"""Assembles what operators see of a server: the call log, metrics and probes over HTTP, and traces."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from labeler_service.call_record import CallObserver
from labeler_service.config import ServerConfig
from labeler_service.health import Readiness
from labeler_service.http_server import Pages, http_server
from labeler_service.logs import CallLog
from labeler_service.metrics import REGISTRY, CallMetrics
from labeler_service.tracing import call_traces

logger = logging.getLogger(__name__)

# An event loop that takes longer is stuck; probes themselves time out after a second (kubelet's default).
LIVENESS_SECONDS = 0.8


@contextmanager
def operations(config: ServerConfig, readiness: Readiness) -> Iterator[list[CallObserver]]:
    """Runs meanwhile what the flags ask for, within an event loop; gives what shall observe the calls.

    Raises ValueError when a port cannot be used or a package is missing.
    """
    loop = asyncio.get_running_loop()
    observers: list[CallObserver] = [CallMetrics(), CallLog()]
    with ExitStack() as stack:
        if config.metrics_port is not None:
            pages = Pages(REGISTRY, live=lambda: _answers(loop), ready=lambda: readiness.serving)
            port = stack.enter_context(http_server(pages, config.host, config.metrics_port))
            logger.info("metrics and probes at %s port %d", config.host, port)
        if config.otlp_endpoint is not None:
            observers.append(stack.enter_context(call_traces(config.otlp_endpoint)))
        yield observers


def _answers(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the event loop, which all calls run on, gets round to something new."""
    done = threading.Event()
    loop.call_soon_threadsafe(done.set)
    return done.wait(LIVENESS_SECONDS)
