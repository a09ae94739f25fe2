"""When to ask again after a failure, and when to give up; knows time, but no gRPC.

    UnavailableError        backoff until `max_wait`: an outage is waited out, and asking costs the labeler nothing
    UnknownVocabularyError  the same
    OverloadedError         at least as late as the labeler says, and within the budget
    DeadlineError           backoff, within the budget: the labeler may have worked for it in vain
    all other errors        raised at once

The budget is for a labeler that is overloaded: if each client repeated each refused request, the repetitions alone
would keep it so. Once the budget is used up, a client asks again for one in ten of its answers, and once in five
seconds to notice the end of it; nothing fails for it before `max_wait` is over.
"""

import random
import time
from collections.abc import Callable

from clip_labeler.errors import DeadlineError, LabelerError, OverloadedError, UnavailableError

# Exponential backoff with full jitter: many clients of one labeler that restarts must not come back together
# (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 5.0

# gRPC's own throttling lets half of 100 tokens go, and earns a tenth with each success
# (retryThrottling, https://github.com/grpc/proposal/blob/master/A6-client-retries.md).
BUDGET_RETRIES = 50.0
RETRIES_PER_SUCCESS = 0.1

Clock = Callable[[], float]


class RetryBudget:
    """Retries that a client may ask of an overloaded labeler; all its calls share it.

    Threads may lose a fraction to each other, which is no harm.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._retries = BUDGET_RETRIES
        self._at = clock()

    def earn(self) -> None:
        """Something was answered."""
        self._add(RETRIES_PER_SUCCESS)

    def spend(self) -> float:
        """Takes one retry; returns the seconds until it is there."""
        now = self._clock()
        self._add((now - self._at) / MAX_BACKOFF_SECONDS)
        self._at = now
        self._retries -= 1
        return max(0.0, -self._retries) * MAX_BACKOFF_SECONDS

    def _add(self, retries: float) -> None:
        self._retries = min(BUDGET_RETRIES, self._retries + retries)


class Retry:
    """Watches the failures of one call since its last progress."""

    def __init__(self, target: str, max_wait: float, budget: RetryBudget, clock: Clock = time.monotonic) -> None:
        self._target = target
        self._max_wait = max_wait
        self._budget = budget
        self._clock = clock
        self.num_failures = 0
        self._failing_since = 0.0

    def progress(self) -> None:
        """Starts anew: something was answered."""
        self.num_failures = 0
        self._budget.earn()

    def pause(self, error: LabelerError) -> float:
        """Seconds to wait before the next try; raises `error` if none makes sense, UnavailableError if it is late."""
        if not error.retryable:
            raise error
        if self.num_failures == 0:
            self._failing_since = self._clock()  # not since the progress: the caller may have slept in between
        waited = self._clock() - self._failing_since
        if waited >= self._max_wait:
            raise UnavailableError(
                f"gave up on the labeler at {self._target} after {waited:.0f} s of failures; the last: {error}"
            ) from error
        ceiling = min(FIRST_BACKOFF_SECONDS * 2**self.num_failures, MAX_BACKOFF_SECONDS)
        self.num_failures = min(self.num_failures + 1, 10)  # 2**10 is past the ceiling, and never overflows
        wanted = self._earliest(error) + random.uniform(0, ceiling)
        return min(wanted, self._max_wait - waited)  # the last try is at the very end

    def _earliest(self, error: LabelerError) -> float:
        """Seconds before which the labeler should not be asked."""
        if not isinstance(error, OverloadedError | DeadlineError):
            return 0.0
        asked = error.retry_after if isinstance(error, OverloadedError) else None
        return max(asked or 0.0, self._budget.spend())
