"""The exceptions of the client, and the one place where gRPC's errors become them.

    LabelerError
    ├── UnavailableError        not reachable, shutting down, or the connection broke        (retried)
    ├── DeadlineError           no answer in time                                            (retried)
    ├── OverloadedError         over a limit; retried if the labeler says when to come back
    ├── UnknownVocabularyError  this replica does not know the vocabulary; it is created there again
    ├── InvalidRequestError     the request breaks the contract: an option, a class name, a matrix
    ├── AccessDeniedError       credentials that the labeler does not accept, or TLS where it speaks none
    ├── ServerFaultError        the labeler failed in a way that the contract does not foresee
    ├── ProtocolError           the reply breaks the contract: wrong image, size, range or weights
    └── ItemFailedError         scores were read from an item that failed

"Retried" means: by the client itself, until `max_wait` seconds have passed without progress.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

# Where gRPC puts google.rpc.Status, https://github.com/grpc/proposal/blob/master/L44-python-rich-status.md
STATUS_DETAILS_KEY = "grpc-status-details-bin"

# What grpc.aio says when a write fails while the stream ends: it puts INTERNAL over the status that the labeler sent
# (https://github.com/grpc/grpc/issues/36066). The next try shows what it was.
LOST_STATUS = "Internal error from Core"


class LabelerError(Exception):
    """Root of everything that the client raises, but for ValueError when an argument is wrong."""

    retryable = False


class UnavailableError(LabelerError):
    """The labeler cannot be reached, shuts down, lost its device, or the connection to it broke."""

    retryable = True


class DeadlineError(LabelerError):
    """The labeler did not answer in time."""

    retryable = True


class OverloadedError(LabelerError):
    """The labeler refused the request because of a limit.

    `retry_after` holds the seconds after which it wants to be asked again; None: never, the request is too large.
    """

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.retryable = retry_after is not None


class UnknownVocabularyError(LabelerError):
    """The replica that answered does not know the vocabulary."""

    retryable = True


class InvalidRequestError(LabelerError):
    """The labeler says that the request is wrong."""


class AccessDeniedError(LabelerError):
    """The labeler wants another token or certificate, shows one that is not trusted, or only one side speaks TLS."""


class ServerFaultError(LabelerError):
    """The labeler failed in a way that the contract does not foresee."""


class ProtocolError(LabelerError):
    """What answered does not speak the contract `clip_labeler.v1`, or broke it."""


class ItemFailedError(LabelerError):
    """Scores were read from an item that the labeler could not score."""


# Every code but OK and RESOURCE_EXHAUSTED. A CANCELLED that nobody asked for comes from a connection that another
# client's resets broke, so it is worth another try.
_ERRORS: dict[grpc.StatusCode, type[LabelerError]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.NOT_FOUND: UnknownVocabularyError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.ALREADY_EXISTS: InvalidRequestError,
    grpc.StatusCode.UNAUTHENTICATED: AccessDeniedError,
    grpc.StatusCode.PERMISSION_DENIED: AccessDeniedError,
    grpc.StatusCode.UNIMPLEMENTED: ProtocolError,
    grpc.StatusCode.INTERNAL: ServerFaultError,
    grpc.StatusCode.UNKNOWN: ServerFaultError,
    grpc.StatusCode.ABORTED: ServerFaultError,
    grpc.StatusCode.DATA_LOSS: ServerFaultError,
}


def from_rpc_error(error: grpc.RpcError, target: str) -> LabelerError:
    """The exception that stands for `error`, with a message that names the labeler and gRPC's code."""
    message = f"labeler at {target}: {error.details()} ({error.code().name})"
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError(message, retry_after=_retry_after(error))
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == LOST_STATUS:
        return UnavailableError(message)
    return _ERRORS[error.code()](message)


@contextmanager
def rpc_errors_mapped(target: str) -> Iterator[None]:
    """Raises LabelerError instead of every grpc.RpcError of its block."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error, target) from error


def _retry_after(error: grpc.RpcError) -> float | None:
    """Seconds of the google.rpc.RetryInfo in the status details, None without one."""
    trailing_metadata: Any = error.trailing_metadata()  # its type differs between grpc and grpc.aio
    metadata = dict(trailing_metadata or ())
    status = status_pb2.Status.FromString(metadata.get(STATUS_DETAILS_KEY, b""))
    retry_info = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(retry_info):
            return float(retry_info.retry_delay.ToTimedelta().total_seconds())
    return None
