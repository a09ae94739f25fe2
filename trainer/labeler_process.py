"""A labeler of one's own: a child process on a free loopback port that never outlives its parent.

The trainer does not import the labeler; it runs `python -m labeler_service` as anybody would.
"""

import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Self

log = logging.getLogger(__name__)

# A crashing labeler is started again this often before the run gives up.
MAX_RESTARTS = 5
# The labeler's own grace for calls in flight is 20 seconds.
STOP_SECONDS = 30


class LabelerProcess:
    """Starts a labeler, knows its `address`, restarts it on the same port when it dies, stops it at the end.

    The child watches its standard input, which closes when this process ends in whatever way, kill -9 included.
    Raises ValueError when the labeler does not come up; its own last line says why.
    """

    def __init__(self, flags: Sequence[str]) -> None:
        self._flags = flags
        self._stopping = threading.Event()
        self.process, self.address = self._start("0")
        self._watcher = threading.Thread(target=self._restart_when_dead, daemon=True, name="labeler-watcher")
        self._watcher.start()

    def _start(self, port: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "labeler_service", "serve", "--port", port, "--stop-with-stdin", *self._flags]
        pipe = subprocess.PIPE
        # in a session of its own, so that Ctrl-C reaches the trainer alone, which then stops the labeler
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
        assert process.stdout is not None
        assert process.stderr is not None
        tail: list[str] = []
        reader = threading.Thread(target=_forward, args=(process.stderr, tail), daemon=True)
        reader.start()
        ready = process.stdout.readline()  # "serving MODEL at HOST:PORT", or nothing when it failed
        if not ready:
            process.wait()
            reader.join()
            reason = tail[-1] if tail else f"exit code {process.returncode}"
            raise ValueError(f"the labeler did not start: {reason}")
        return process, ready.split()[-1]

    def _restart_when_dead(self) -> None:
        port = self.address.rpartition(":")[2]
        for _ in range(MAX_RESTARTS):
            self.process.wait()
            if self._stopping.is_set():
                return
            log.warning("the labeler ended with code %s; starting it again", self.process.returncode)
            try:
                self.process, _ = self._start(port)
            except ValueError as error:  # the client's patience decides when the run gives up
                log.error("%s", error)
                return
        log.error("the labeler ended %d times; not starting it again", MAX_RESTARTS)

    def close(self) -> None:
        """Asks the labeler to finish and waits for it."""
        self._stopping.set()
        while self._watcher.is_alive():  # it may be starting another one at this moment
            _stop(self.process)
            self._watcher.join(timeout=0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _forward(stream: IO[str], tail: list[str]) -> None:
    """Passes the child's log on and keeps its last lines for an error message."""
    for line in stream:
        if line.strip():
            tail[:] = [*tail[-4:], line.strip()]
            log.debug("labeler: %s", line.rstrip())
