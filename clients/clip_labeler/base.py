"""What the sync and the asyncio client share: settings, one connection per process, patience; no calls."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import grpc

from clip_labeler import messages
from clip_labeler.calls import HEALTH_CHECK
from clip_labeler.credentials import Credentials
from clip_labeler.diagnosis import tls_mismatch
from clip_labeler.errors import AccessDeniedError, LabelerError, UnavailableError
from clip_labeler.retry import Retry, RetryBudget
from clip_labeler.streams import MAX_STREAM_SECONDS
from clip_labeler.targets import Target
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub
from clip_labeler.values import Timings

ChannelT = TypeVar("ChannelT", grpc.Channel, grpc.aio.Channel)
GateT = TypeVar("GateT")

# A batch of large views takes minutes on a CPU. A labeler that is dead is noticed earlier, by keepalive (below).
DEFAULT_TIMEOUT_SECONDS = 300.0
# An unattended run survives that its labeler is moved or updated.
DEFAULT_MAX_WAIT_SECONDS = 30 * 60.0
# A labeler that was never reached is more likely a wrong address, or speaks TLS: those look like an outage too.
FIRST_CONTACT_SECONDS = 60.0

# A labeler refuses what is over its limit of streams per connection (here 128) with UNAVAILABLE, and more requests of
# one client make nothing faster.
MAX_REQUESTS_IN_FLIGHT = 16
# Of these, for the embeddings of one call: one at the device, one at the decoders, one each on the way and back.
MAX_EMBED_REQUESTS = 4

CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    # The labeler's own limit holds for requests (default: none); replies are score rows, the default of 4 MiB is too
    # small for a full request's embeddings.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 64 * 2**20),
    # A frozen labeler is noticed within 25 s. Without the third value the second is ignored (it defaults to 60 s);
    # without the fourth pings stop after two on a stream that waits for the device.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A labeler that was restarted is found again soon; the default grows to 120 s.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # gRPC's own retries do nothing above 256 KiB, which every batch of images is: this package retries itself.
    ("grpc.enable_retries", 0),
    # Each client has a connection of its own, or all clients of a process would share one and its reader.
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(frozen=True)
class Connection(Generic[ChannelT, GateT]):
    """Of one process: a channel for unary requests with a semaphore that limits them, and one for streams.

    The two are one channel where there is one labeler. Replicas take turns on each, so that streams, which are few
    and long, are spread evenly however many unary requests come between them.
    """

    unary: ChannelT
    gate: GateT
    streams: ChannelT


class BaseClient(ABC, Generic[ChannelT, GateT]):
    """See LabelerClient."""

    def __init__(
        self,
        target: str,
        *,
        credentials: Credentials | None = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        max_wait: float = DEFAULT_MAX_WAIT_SECONDS,
        on_timings: Callable[[Timings], None] | None = None,
    ) -> None:
        if timeout <= 0 or max_wait < 0:
            raise ValueError(f"timeout must be positive and max_wait not negative, got {timeout} and {max_wait}")
        self.target = target
        self.credentials = credentials or Credentials()
        self.timeout = timeout
        self.max_wait = max_wait
        self.on_timings = on_timings
        self._parsed_target = Target.parse(target)
        self._budget = RetryBudget()
        self._contacted = False
        self._connections: dict[int, Connection[ChannelT, GateT]] = {}
        if not (self.credentials.uses_tls or self._parsed_target.is_local or self.credentials.bearer() is None):
            raise ValueError(f"a token would travel to {target} in plain text, for all to read: use TLS with it")

    @abstractmethod
    def _open_channel(self) -> ChannelT:
        """A channel with `_channel_options`."""

    @abstractmethod
    def _new_gate(self) -> GateT:
        """A semaphore of MAX_REQUESTS_IN_FLIGHT."""

    def _channel_options(self) -> list[tuple[str, int | str]]:
        return [*CHANNEL_OPTIONS, *self._parsed_target.options()]

    @property
    def _connection(self) -> Connection[ChannelT, GateT]:
        """The one of this process.

        gRPC's objects do not work in a forked child (grpc/doc/fork_support.md), where the parent's channel is kept
        and left alone: even its destructor may wait for threads that the child does not have.
        """
        connection = self._connections.get(os.getpid())
        if connection is None:
            unary = self._open_channel()
            streams = self._open_channel() if self._parsed_target.has_replicas else unary
            connection = Connection(unary, self._new_gate(), streams)
            connection = self._connections.setdefault(os.getpid(), connection)  # of two threads one wins
        return connection

    def _method(self, rpc: str) -> Any:
        """The callable of one method with unary requests or a client stream."""
        channel = self._connection.unary
        return channel.unary_unary(rpc) if rpc == HEALTH_CHECK else getattr(LabelerServiceStub(channel), rpc)

    def _stream_method(self, rpc: str) -> Any:
        """The callable of one score stream, which has a deadline as every call has."""
        method = getattr(LabelerServiceStub(self._connection.streams), rpc)
        return partial(method, timeout=MAX_STREAM_SECONDS + self.timeout, metadata=self._metadata())

    def _metadata(self) -> list[tuple[str, str]]:
        """What goes with each call; over TLS the channel adds the token itself."""
        return [] if self.credentials.uses_tls else self.credentials.metadata()

    def __getstate__(self) -> dict[str, Any]:
        """For workers that are spawned: they get the settings and open a connection of their own."""
        return {**vars(self), "_connections": {}, "_budget": RetryBudget()}

    def _pop_channels(self) -> set[ChannelT]:
        """The ones of this process, which are the caller's to close."""
        connection = self._connections.pop(os.getpid(), None)
        return set() if connection is None else {connection.unary, connection.streams}

    def _new_retry(self, max_wait: float | None = None) -> Retry:
        if max_wait is None:
            max_wait = self.max_wait if self._contacted else min(self.max_wait, FIRST_CONTACT_SECONDS)
        return Retry(self.target, max_wait, self._budget)

    def _explain(self, error: LabelerError) -> LabelerError:
        """What ends the first contact at once if the two do not agree on TLS, which waiting cannot mend."""
        if self._contacted or not isinstance(error, UnavailableError):
            return error
        mismatch = tls_mismatch(self._parsed_target, self.credentials)
        return error if mismatch is None else AccessDeniedError(f"the labeler at {mismatch}")

    def _report(self, response: Any, round_trip: float | None = None) -> None:
        """Hands the timings of a response that has some to whoever wants them."""
        if self.on_timings is not None and hasattr(response, "timings"):
            self.on_timings(messages.timings_from_proto(response, round_trip))
