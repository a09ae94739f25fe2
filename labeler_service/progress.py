"""How long the device takes for its batches, and whether one should have ended by now. Read by the queue, health and,
from a thread of its own, by the watchdog."""

import itertools
import time
from dataclasses import dataclass, field

from labeler_service.queueing import Shape

# A batch is overdue after this, and this many times what it may take. A machine whose other work slows the device
# threefold is no fault; a hung device is noticed within two seconds where batches take a tenth of one.
OVERDUE_SECONDS = 1.0
OVERDUE_FACTOR = 4.0
# The first batch of a shape chooses and compiles kernels. On a CPU a batch of large views takes longer still, which
# batches of other shapes foretell.
FIRST_BATCH_SECONDS = 60.0
# With each batch the least that one took is thought this much longer, so that a lucky moment is forgotten.
FORGET = 1.05
# With each view that is dropped for it, until the next batch, it is believed this much less.
DOUBT = 0.9


@dataclass
class _Experience:
    """Seconds that batches of one shape took; `fastest` by size, in powers of two, and how far it is believed."""

    fastest: dict[int, float] = field(default_factory=dict)
    trust: float = 1.0
    slowest: float = 0.0
    slowest_view: float = 0.0


@dataclass(frozen=True)
class RunningBatch:
    number: int
    shape: Shape
    num_views: int
    started: float


class Progress:
    """Times are of time.monotonic(), in seconds."""

    def __init__(self) -> None:
        self.last_completed = time.monotonic()
        self._limits: dict[int, float] = {}  # by number of the running batch: when it is overdue
        self._numbers = itertools.count()
        self._experience: dict[Shape, _Experience] = {}
        self._slowest_pixel = 0.0  # seconds, of any shape

    def start(self, shape: Shape, num_views: int) -> RunningBatch:
        """A batch of `shape` begins."""
        batch = RunningBatch(next(self._numbers), shape, num_views, time.monotonic())
        self._limits[batch.number] = batch.started + self._patience(shape, num_views)
        return batch

    def end(self, batch: RunningBatch, *, completed: bool) -> float:
        """It ends, after the seconds that are returned; one that did not complete says nothing about speed."""
        del self._limits[batch.number]
        now = time.monotonic()
        # Of two batches in flight the device works on the earlier one first.
        seconds = now - max(batch.started, self.last_completed)
        if completed:
            self._learn(batch, seconds)
            self.last_completed = now
        return seconds

    def _patience(self, shape: Shape, num_views: int) -> float:
        if shape not in self._experience:
            return max(FIRST_BATCH_SECONDS, OVERDUE_FACTOR * num_views * shape.pixels * self._slowest_pixel)
        known = self._experience[shape]
        return OVERDUE_SECONDS + OVERDUE_FACTOR * max(known.slowest, num_views * known.slowest_view)

    def _learn(self, batch: RunningBatch, seconds: float) -> None:
        if batch.shape in self._experience:  # The first one chose kernels.
            fastest, size = self._experience[batch.shape].fastest, batch.num_views.bit_length()
            fastest[size] = min(seconds, FORGET * fastest.get(size, seconds))
        known = self._experience.setdefault(batch.shape, _Experience())
        known.trust = 1.0
        known.slowest = max(known.slowest, seconds)
        known.slowest_view = max(known.slowest_view, seconds / batch.num_views)
        self._slowest_pixel = max(self._slowest_pixel, seconds / (batch.num_views * batch.shape.pixels))

    def least_seconds(self, shape: Shape, num_views: int) -> float:
        """Of a batch of so many views: what one of them, or of fewer, took of late; 0 if there was none."""
        known = self._experience.get(shape, _Experience())
        taken = [seconds for size, seconds in known.fastest.items() if size <= num_views.bit_length()]
        return known.trust * max(taken, default=0.0)

    def doubt(self, shape: Shape) -> None:
        """A view was dropped for `least_seconds`: were it too long, nothing would ever run that could show it."""
        self._experience[shape].trust *= DOUBT

    @property
    def busy(self) -> bool:
        return bool(self._limits)

    @property
    def overdue(self) -> float:
        """Seconds by which a running batch is late; 0 while none is."""
        now = time.monotonic()
        return max((now - limit for limit in list(self._limits.values()) if now > limit), default=0.0)
