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


class LabelerProcess:
    """Starts a labeler, knows its address, restarts it on the same port when it dies, stops it at the end.

    The child watches its standard input, which closes when this process ends in whatever way, kill -9 included.
    Raises ValueError when the labeler does not come up; its own last line says why.
    """

    def __init__(self, flags: Sequence[str]) -> None:
        self._flags = flags
        self._stopping = threading.Event()
        self._process, self.address = self._start("0")
        self._watcher = threading.Thread(target=self._restart_when_dead, daemon=True, name="labeler-watcher")
        self._watcher.start()

    def _start(self, port: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "labeler_service", "serve", "--port", port, "--stop-with-stdin", *self._flags]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
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
            self._process.wait()
            if self._stopping.is_set():
                return
            log.warning("the labeler ended with code %s; starting it again", self._process.returncode)
            self._process, _ = self._start(port)
        log.error("the labeler ended %d times; not starting it again", MAX_RESTARTS)

    def close(self) -> None:
        """Asks the labeler to finish and waits for it."""
        self._stopping.set()
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _forward(stream: IO[str], tail: list[str]) -> None:
    """Passes the child's log on and keeps its last lines for an error message."""
    for line in stream:
        if line.strip():
            tail[:] = [*tail[-4:], line.strip()]
            log.debug("labeler: %s", line.rstrip())
