"""How many images a caller may send. Does not know who the caller is."""

import asyncio
import time
from collections.abc import Callable

import grpc

from labeler_service.errors import RequestError

SECONDS_PER_MINUTE = 60


class Quota:
    """Images per minute, None for no limit: a token bucket that holds one minute's worth.

    A request may overdraw the bucket, so that it need not be smaller than the quota; then nothing is left until the
    bucket is above zero again.
    """

    def __init__(self, per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._filled_at = clock()
        self._left = float(per_minute or 0)

    def take(self, images: int) -> float:
        """Takes them and returns 0, or takes nothing and returns the seconds until something is left."""
        if self.per_minute is None:
            return 0.0
        rate = self.per_minute / SECONDS_PER_MINUTE
        now = self._clock()
        self._left = min(self.per_minute, self._left + (now - self._filled_at) * rate)
        self._filled_at = now
        # Half an image: a caller that waits exactly as long as it was told must find something left.
        if self._left <= 0:
            return (0.5 - self._left) / rate
        self._left -= images
        return 0.0

    def charge(self, images: int) -> None:
        """Takes them. Raises RequestError when nothing is left."""
        if seconds := self.take(images):
            raise RequestError(
                "TENANT_QUOTA",
                f"the quota of {self.per_minute} images per minute is used up: try again later",
                code=grpc.StatusCode.RESOURCE_EXHAUSTED,
                retry_after_seconds=seconds,
            )

    async def wait(self, images: int) -> None:
        """Takes them as soon as something is left: streams are slowed where single calls are refused."""
        while seconds := self.take(images):
            await asyncio.sleep(seconds)


UNLIMITED = Quota(None)
