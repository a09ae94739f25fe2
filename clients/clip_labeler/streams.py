"""One score stream of either client: requests and responses, neither of which waits for the other. Knows no items.

What waits in the queues is bounded by the session's window.
"""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from clip_labeler.errors import UnavailableError

# A stream stays with the replica that it was opened at; opened anew now and then, it gets to one that has joined since.
MAX_STREAM_SECONDS = 300.0
# A labeler answers the end of a stream at once; if it does not, the stream is cancelled.
FINISH_SECONDS = 1.0


class Stream:
    """Threads carry requests and responses."""

    def __init__(self, method: Any) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._responses: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._opened = time.monotonic()
        self._call = method(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._read, name="clip_labeler responses", daemon=True)
        self._reader.start()

    @property
    def is_old(self) -> bool:
        """Whether it is time for another stream, perhaps at another replica."""
        return time.monotonic() - self._opened > MAX_STREAM_SECONDS

    def send(self, request: Any) -> None:
        self._requests.put(request)

    def receive(self, timeout: float) -> Any | None:
        """The next response, None if there is none after `timeout` seconds; raises what ended the stream."""
        try:
            response = self._responses.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(response, Exception):
            raise response
        return response

    def finish(self) -> None:
        """Ends a stream on which all is answered, so that the labeler sees an end and no cancellation."""
        self._requests.put(None)
        self._reader.join(FINISH_SECONDS)

    def close(self) -> None:
        self._call.cancel()
        self._requests.put(None)  # releases gRPC's thread that waits for a request

    def _read(self) -> None:
        try:
            for response in self._call:
                self._responses.put(response)
            self._responses.put(UnavailableError("the labeler ended the stream early"))
        except grpc.RpcError as error:
            self._responses.put(error)


class AsyncStream:
    """Tasks carry requests and responses."""

    def __init__(self, method: Any) -> None:
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._responses: asyncio.Queue[Any] = asyncio.Queue()
        self._opened = time.monotonic()
        self._call = method(self._outgoing())
        self._reader = asyncio.create_task(self._read())

    @property
    def is_old(self) -> bool:
        """Whether it is time for another stream, perhaps at another replica."""
        return time.monotonic() - self._opened > MAX_STREAM_SECONDS

    def send(self, request: Any) -> None:
        self._requests.put_nowait(request)

    async def receive(self, timeout: float) -> Any | None:
        """The next response, None if there is none after `timeout` seconds; raises what ended the stream."""
        try:
            async with asyncio.timeout(timeout):
                response = await self._responses.get()
        except TimeoutError:
            return None
        if isinstance(response, Exception):
            raise response
        return response

    async def finish(self) -> None:
        """Ends a stream on which all is answered, so that the labeler sees an end and no cancellation."""
        self._requests.put_nowait(None)
        await asyncio.wait([self._reader], timeout=FINISH_SECONDS)

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.wait([self._reader])

    async def _outgoing(self) -> AsyncIterator[Any]:
        while (request := await self._requests.get()) is not None:
            yield request

    async def _read(self) -> None:
        try:
            async for response in self._call:
                self._responses.put_nowait(response)
            self._responses.put_nowait(UnavailableError("the labeler ended the stream early"))
        except grpc.RpcError as error:
            self._responses.put_nowait(error)
