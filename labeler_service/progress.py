"""How long the device takes for its batches, and whether one should have ended by now. Read by the queue, health and,
from a thread of its own, by the watchdog."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# A batch is overdue after this, and this many times what it may take. A machine whose other work slows the device
# threefold is no fault; a hung device is noticed within two seconds where batches take a tenth of one.
OVERDUE_SECONDS = 1.0
OVERDUE_FACTOR = 4.0
# The first batch of a shape chooses and compiles kernels.
FIRST_BATCH_SECONDS = 60.0


@dataclass
class _Experience:
    """Seconds that batches of one shape took."""

    fastest: float = float("inf")
    slowest: float = 0.0
    slowest_view: float = 0.0


class Progress:
    """Times are of time.monotonic(), in seconds."""

    def __init__(self) -> None:
        self.last_completed = time.monotonic()
        self._limits: dict[int, float] = {}  # by number of the running batch: when it is overdue
        self._numbers = itertools.count()
        self._experience: dict[object, _Experience] = {}

    @contextmanager
    def batch(self, shape: object, num_views: int) -> Iterator[None]:
        """Around one batch of `shape`; a batch that raises says nothing about speed."""
        number, started = next(self._numbers), time.monotonic()
        self._limits[number] = started + self._patience(shape, num_views)
        try:
            yield
            self._complete(shape, num_views, started)
        finally:
            del self._limits[number]

    def _patience(self, shape: object, num_views: int) -> float:
        if shape not in self._experience:
            return FIRST_BATCH_SECONDS
        known = self._experience[shape]
        return OVERDUE_SECONDS + OVERDUE_FACTOR * max(known.slowest, num_views * known.slowest_view)

    def _complete(self, shape: object, num_views: int, started: float) -> None:
        self.last_completed = time.monotonic()
        seconds = self.last_completed - started
        known = self._experience.setdefault(shape, _Experience())
        known.fastest = min(known.fastest, seconds)
        known.slowest = max(known.slowest, seconds)
        known.slowest_view = max(known.slowest_view, seconds / num_views)

    def fastest(self, shape: object) -> float:
        """Seconds of the fastest batch of that shape; 0 before there was one."""
        return self._experience[shape].fastest if shape in self._experience else 0.0

    @property
    def busy(self) -> bool:
        return bool(self._limits)

    @property
    def overdue(self) -> float:
        """Seconds by which a running batch is late; 0 while none is."""
        now = time.monotonic()
        return max((now - limit for limit in list(self._limits.values()) if now > limit), default=0.0)
