"""The gRPC server itself: its address and TLS, its transport's limits, what stands around each call, its services."""

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clip_labeler.v1 import labeler_pb2_grpc
from labeler_service.auth import AuthInterceptor
from labeler_service.call_context import ContextInterceptor
from labeler_service.call_record import CallObserver, CallRecorder
from labeler_service.config import ServerConfig
from labeler_service.credentials import TlsFiles, server_credentials
from labeler_service.drain import Drain
from labeler_service.health import SERVICE, Readiness
from labeler_service.interceptors import ErrorInterceptor, ParseInterceptor
from labeler_service.servicer import LabelerServicer
from labeler_service.tokens import TokenFile

# The streams of 1000 hostile connections.
MAX_PENDING_REQUESTS = 128_000


def create_server(
    config: ServerConfig, observers: Sequence[CallObserver], tokens: TokenFile | None, drain: Drain
) -> grpc.aio.Server:
    """Without services and without an address."""
    return grpc.aio.server(interceptors=_interceptors(observers, tokens, drain), options=_options(config))


def add_services(
    server: grpc.aio.Server, config: ServerConfig, servicer: LabelerServicer, readiness: Readiness
) -> None:
    labeler_pb2_grpc.add_LabelerServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(readiness.servicer, server)
    if config.reflection:
        reflection.enable_server_reflection((SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)


def _interceptors(
    observers: Sequence[CallObserver], tokens: TokenFile | None, drain: Drain
) -> list[grpc.aio.ServerInterceptor]:
    """The first is outermost."""
    return [
        ErrorInterceptor(),
        ContextInterceptor(),
        CallRecorder(observers),
        AuthInterceptor(tokens),
        drain,
        ParseInterceptor(),
    ]


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        # A second server on the same port fails instead of taking half of its connections.
        ("grpc.so_reuseport", 0),
        # Against HTTP/2 rapid reset (CVE-2023-44487): the first bounds the memory that a connection can take. With more
        # than 1000 calls that wait to be read, gRPC would cancel some at random, whosever they are.
        ("grpc.max_concurrent_streams", 128),
        ("grpc.server.max_pending_requests", MAX_PENDING_REQUESTS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_REQUESTS),
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


def bind(server: grpc.aio.Server, config: ServerConfig) -> str:
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
