"""The labeler as gRPC's defaults would have it under a rapid reset: the negative control of its test."""

from labeler_service import __main__, server

GUARDS = (
    "grpc.max_concurrent_streams",
    "grpc.server.max_pending_requests",
    "grpc.server.max_pending_requests_hard_limit",
)

_options = server._options
server._options = lambda config: [option for option in _options(config) if option[0] not in GUARDS]
__main__.main()
