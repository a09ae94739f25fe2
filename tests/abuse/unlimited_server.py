"""The labeler without its limit of HTTP/2 streams: the negative control of the rapid reset."""

from labeler_service import __main__, server

_options = server._options
server._options = lambda config: [option for option in _options(config) if option[0] != "grpc.max_concurrent_streams"]
__main__.main()
