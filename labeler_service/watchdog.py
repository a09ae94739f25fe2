"""Ends the process when its event loop is stuck: nothing else could, and nobody would be answered."""

import faulthandler
import logging
import os
import threading

logger = logging.getLogger(__name__)

# Seconds without a beat; far longer than any pause that the loop should make, or that a busy machine makes it make.
STUCK_SECONDS = 60
EXIT_STATUS = 1


class Watchdog:
    """A thread that wants to hear `beat()` from the event loop. It counts seconds that it was awake itself, so that a
    process that was frozen as a whole, or whose machine was asleep, goes on.
    """

    def __init__(self, stuck_seconds: int = STUCK_SECONDS) -> None:
        self._stuck_seconds = stuck_seconds
        self._beats = 0
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def beat(self) -> None:
        self._beats += 1

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        heard, silent_seconds = -1, 0
        while not self._stopped.wait(1.0):
            silent_seconds = 0 if self._beats != heard else silent_seconds + 1
            heard = self._beats
            if silent_seconds >= self._stuck_seconds:
                logger.critical("the event loop is stuck; the stacks of all threads follow")
                faulthandler.dump_traceback()
                os._exit(EXIT_STATUS)
