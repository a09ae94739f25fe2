"""Assembles what operators see of a server: the call log, metrics and probes over HTTP, and traces."""

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from labeler_service.call_record import CallObserver
from labeler_service.config import ServerConfig
from labeler_service.health import Readiness
from labeler_service.http_server import Pages, http_server
from labeler_service.logs import CallLog
from labeler_service.metrics import REGISTRY, CallMetrics
from labeler_service.reloading import Reloading
from labeler_service.tokens import TokenFile
from labeler_service.tracing import call_traces

logger = logging.getLogger(__name__)

# An event loop that takes longer is stuck; probes themselves time out after a second (kubelet's default).
LIVENESS_SECONDS = 0.8


@contextmanager
def operations(config: ServerConfig, readiness: Readiness, tokens: TokenFile | None) -> Iterator[list[CallObserver]]:
    """Runs meanwhile what the flags ask for, within an event loop; gives what shall observe the calls. The metrics need
    TLS and a token where calls do.

    Raises ValueError when a port cannot be used or a package is missing.
    """
    loop = asyncio.get_running_loop()
    observers: list[CallObserver] = [CallMetrics(), CallLog()]
    with ExitStack() as stack:
        if config.metrics_port is not None:
            pages = Pages(
                REGISTRY,
                live=lambda: _answers(loop),
                ready=lambda: bool(readiness.serving),
                is_token=None if tokens is None else lambda token: tokens.find(token) is not None,
                needs_certificate=config.tls_client_ca is not None,
            )
            port = stack.enter_context(http_server(pages, config.host, config.metrics_port, _tls(config)))
            logger.info("metrics and probes at %s port %d", config.host, port)
        if config.otlp_endpoint is not None:
            observers.append(stack.enter_context(call_traces(config.otlp_endpoint)))
        yield observers


def _tls(config: ServerConfig) -> Callable[[], ssl.SSLContext] | None:
    """The context of the files as they are at each call."""
    cert, key, client_ca = config.tls_cert, config.tls_key, config.tls_client_ca
    if not (cert and key):
        return None

    def load() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
        context.load_cert_chain(cert, key, password="")
        if client_ca:  # Asked for, not required: probes have none.
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    return Reloading([file for file in (cert, key, client_ca) if file], load).value


def _answers(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the event loop, which all calls run on, gets round to something new."""
    done = threading.Event()
    loop.call_soon_threadsafe(done.set)
    return done.wait(LIVENESS_SECONDS)
