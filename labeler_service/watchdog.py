"""Ends the process when its event loop is stuck: nothing else could, and nobody would be answered."""

import asyncio
import faulthandler
import logging
import os
import threading

logger = logging.getLogger(__name__)

# Seconds without an answer; far longer than any pause that the loop should make, or that a busy machine makes it make.
STUCK_SECONDS = 60
EXIT_STATUS = 1


class Watchdog:
    """A thread that asks the event loop for a sign of life each second. It counts the seconds that it was awake itself,
    so that a process that was frozen as a whole, or whose machine was asleep, goes on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, stuck_seconds: int = STUCK_SECONDS) -> None:
        self._loop = loop
        self._stuck_seconds = stuck_seconds
        self._answered = True
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Before the loop is closed."""
        self._stopped.set()

    def _answer(self) -> None:
        self._answered = True

    def _watch(self) -> None:
        silent_seconds = 0
        while not self._stopped.wait(1.0):
            silent_seconds = 0 if self._answered else silent_seconds + 1
            if silent_seconds >= self._stuck_seconds:
                logger.critical("the event loop is stuck; the stacks of all threads follow")
                faulthandler.dump_traceback()
                os._exit(EXIT_STATUS)
            if self._answered:
                self._answered = False
                self._loop.call_soon_threadsafe(self._answer)
