"""What the sync and the asyncio client share: settings, one channel per process, patience; no I/O."""

import os
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import grpc

from clip_labeler.calls import HEALTH_CHECK
from clip_labeler.retry import Retry
from clip_labeler.v1.labeler_pb2_grpc import LabelerServiceStub

ChannelT = TypeVar("ChannelT", grpc.Channel, grpc.aio.Channel)

# A batch of large views takes minutes on a CPU. A labeler that is dead is noticed earlier, by keepalive (below).
DEFAULT_TIMEOUT_SECONDS = 300.0
# An unattended run survives that its labeler is moved or updated.
DEFAULT_MAX_WAIT_SECONDS = 30 * 60.0
# A labeler that was never reached is more likely a wrong address, or speaks TLS: those look like an outage too.
FIRST_CONTACT_SECONDS = 60.0

CHANNEL_OPTIONS: list[tuple[str, int]] = [
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


class BaseClient(ABC, Generic[ChannelT]):
    """See LabelerClient."""

    def __init__(
        self,
        target: str,
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        max_wait: float = DEFAULT_MAX_WAIT_SECONDS,
    ) -> None:
        if timeout <= 0 or max_wait < 0:
            raise ValueError(f"timeout must be positive and max_wait not negative, got {timeout} and {max_wait}")
        self.target = target
        self.timeout = timeout
        self.max_wait = max_wait
        self._contacted = False
        self._channels: dict[int, ChannelT] = {}

    @abstractmethod
    def _open_channel(self) -> ChannelT:
        """A channel with CHANNEL_OPTIONS."""

    def _method(self, rpc: str) -> Any:
        """The callable of one method, on the channel of this process.

        gRPC's objects do not work in a forked child (grpc/doc/fork_support.md), where the parent's channel is kept
        and left alone: even its destructor may wait for threads that the child does not have.
        """
        channel = self._channels.get(os.getpid())
        if channel is None:
            channel = self._channels.setdefault(os.getpid(), self._open_channel())  # of two threads one wins
        if rpc == HEALTH_CHECK:
            return channel.unary_unary(rpc)
        return getattr(LabelerServiceStub(channel), rpc)

    def __getstate__(self) -> dict[str, Any]:
        """For workers that are spawned: they get the settings and open a channel of their own."""
        return {**vars(self), "_channels": {}}

    def _pop_channel(self) -> ChannelT | None:
        return self._channels.pop(os.getpid(), None)

    def _new_retry(self, max_wait: float | None = None) -> Retry:
        if max_wait is None:
            max_wait = self.max_wait if self._contacted else min(self.max_wait, FIRST_CONTACT_SECONDS)
        return Retry(self.target, max_wait)
