"""What can go wrong for a caller, as exceptions that carry a gRPC status code and a machine-readable reason."""

import grpc


class LabelerError(Exception):
    """Root: the message is meant for the caller and holds nothing internal.

    `reason` is an UPPER_SNAKE_CASE constant for google.rpc.ErrorInfo (https://google.aip.dev/193).
    """

    def __init__(self, reason: str, message: str, *, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = code


class ItemError(LabelerError):
    """One image, box or crop failed; its neighbours are scored."""


class RequestError(LabelerError):
    """The call fails as a whole.

    `retry_after_seconds` is set only where the same call may succeed later.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(reason, message, code=code)
        self.retry_after_seconds = retry_after_seconds


class DeviceLostError(RequestError):
    """The device failed for good: nothing can be computed until the process is started anew."""

    def __init__(self) -> None:
        super().__init__("DEVICE_LOST", "the labeler lost its device", code=grpc.StatusCode.UNAVAILABLE)
