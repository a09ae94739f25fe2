"""When to ask again after a failure, and when to give up; knows time, but no gRPC."""

import random
import time

from clip_labeler.errors import LabelerError, OverloadedError, UnavailableError

# Exponential backoff with full jitter: many clients of one labeler that restarts must not come back together
# (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 5.0


class Retry:
    """Watches the failures of one call since its last progress."""

    def __init__(self, target: str, max_wait: float) -> None:
        self._target = target
        self._max_wait = max_wait
        self._num_failures = 0
        self._failing_since = 0.0

    def progress(self) -> None:
        """Starts anew: something was answered."""
        self._num_failures = 0

    def pause(self, error: LabelerError) -> float:
        """Seconds to wait before the next try; raises `error` if none makes sense, UnavailableError if it is late."""
        if not error.retryable:
            raise error
        if self._num_failures == 0:
            self._failing_since = time.monotonic()  # not since the progress: the caller may have slept in between
        waited = time.monotonic() - self._failing_since
        if waited >= self._max_wait:
            raise UnavailableError(
                f"gave up on the labeler at {self._target} after {waited:.0f} s of failures; the last: {error}"
            ) from error
        ceiling = min(FIRST_BACKOFF_SECONDS * 2**self._num_failures, MAX_BACKOFF_SECONDS)
        self._num_failures = min(self._num_failures + 1, 10)  # 2**10 is past the ceiling, and never overflows
        asked = error.retry_after if isinstance(error, OverloadedError) else None
        return (asked or 0.0) + random.uniform(0, ceiling)
