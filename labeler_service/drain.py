"""Ends a server without losing work: no new calls, calls in flight end, streams hand back what they have not read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from labeler_service.errors import RequestError
from labeler_service.interceptors import AroundCall

_LABELER_METHODS = "/clip_labeler."


class ShuttingDownError(RequestError):
    """The caller goes on at another replica, or here after a restart, with what is unanswered."""

    def __init__(self) -> None:
        super().__init__("SHUTTING_DOWN", "the labeler shuts down", code=grpc.StatusCode.UNAVAILABLE)


class Drain(AroundCall):
    """Counts the labeler's own calls (health and reflection go on) and refuses new ones once `started` is set.

    Streams look at `started` themselves: they stop reading, answer what they have read, and raise ShuttingDownError.
    """

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Any) -> AsyncIterator[None]:
        if not details.method.startswith(_LABELER_METHODS):
            yield
            return
        if self.started.is_set():
            raise ShuttingDownError
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def finish(self, grace: float) -> bool:
        """Starts the drain; True when all calls have ended within `grace` seconds."""
        self.started.set()
        try:
            await asyncio.wait_for(self._idle.wait(), grace)
        except TimeoutError:
            return False
        return True
