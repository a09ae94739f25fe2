"""What can go wrong for a caller: exceptions with a gRPC status code and a reason, and their google.rpc.Status."""

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

ERROR_DOMAIN = "clip_labeler"


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


def to_status(error: LabelerError) -> status_pb2.Status:
    """google.rpc.Status with ErrorInfo, and RetryInfo where a retry may help (https://google.aip.dev/193)."""
    details = [_pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN))]
    if isinstance(error, RequestError) and error.retry_after_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after_seconds * 1e9))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=error.code.value[0], message=error.message, details=details)


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
