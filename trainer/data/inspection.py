"""Looks at files: their bytes' hash and the size of the picture, or why one cannot be used. Also a program that does so
for another process: `python -m trainer.data.inspection` takes pickled lists of paths and answers with lists of facts.

A million small files keep Python's one lock busy, and threads wait for each other; processes do not. A file that kills
its process (a decoder's fault, memory) is one failed file, not the end of a run.
"""

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from threading import Semaphore
from typing import Any, NamedTuple

from trainer.data.images import MAX_BYTES, inspect

# From here on processes of one's own pay: starting one takes 0.25 s (measured), as long as 10,000 tiny files or ten
# large photographs.
PROCESSES_FROM = 10_000


class Facts(NamedTuple):
    """Of one file. width and height: pixels after EXIF orientation, 0 where it failed. sha256: of the file's bytes,
    None where they could not be read. reason: why the file cannot be used, "" where it can."""

    width: int
    height: int
    num_bytes: int
    sha256: bytes | None
    reason: str


Inspect = Callable[[Sequence[str]], list[Facts]]


def inspect_files(paths: Sequence[str]) -> list[Facts]:
    """Reads, hashes and decodes each file to its end."""
    return [_inspect_file(path) for path in paths]


def _inspect_file(path: str) -> Facts:
    try:
        data = _read(path)
    except OSError as error:
        return Facts(0, 0, 0, None, error.strerror or str(error))
    if isinstance(data, int):
        return Facts(0, 0, data, None, f"file is over the limit of {MAX_BYTES // 2**20} MiB")
    sha256 = hashlib.sha256(data).digest()
    try:
        width, height = inspect(data)
    except ValueError as error:
        return Facts(0, 0, len(data), sha256, str(error))
    return Facts(width, height, len(data), sha256, "")


def _read(path: str) -> bytes | int:
    """A file's bytes, or the number of them where they are over the limit. Of a tiny file it takes 5 us, and 9 with
    Python's file objects."""
    file = os.open(path, os.O_RDONLY)
    try:
        num_bytes = os.fstat(file).st_size
        if num_bytes > MAX_BYTES:
            return num_bytes
        data = os.read(file, num_bytes + 1)
        while len(data) != num_bytes and (more := os.read(file, 2**20)):  # it gave less, or had said a wrong size
            data += more
        return data
    finally:
        os.close(file)


@contextmanager
def inspectors(workers: int, num_files: int) -> Iterator[Inspect]:
    """A function for any number of threads, which looks at the files of `workers` of them at a time. num_files: that
    it will be given in all."""
    if workers == 1 or num_files < PROCESSES_FROM:
        free_threads = Semaphore(workers)

        def inspect_here(paths: Sequence[str]) -> list[Facts]:
            with free_threads:
                return inspect_files(paths)

        yield inspect_here
        return
    with ExitStack() as stack:
        free: SimpleQueue[InspectionProcess] = SimpleQueue()
        for _ in range(workers + 1):  # no processor waits while one of them has no files yet
            free.put(stack.enter_context(InspectionProcess()))

        def inspect_elsewhere(paths: Sequence[str]) -> list[Facts]:
            process = free.get()
            try:
                return process.inspect(paths)
            finally:
                free.put(process)

        yield inspect_elsewhere


class InspectionProcess:
    """This file as a program, for one thread at a time. It ends when its standard input does: it outlives nobody."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        command, pipe = [sys.executable, "-m", __name__], subprocess.PIPE
        # in a session of its own, so that Ctrl-C reaches the caller alone
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
        self._is_ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def inspect(self, paths: Sequence[str]) -> list[Facts]:
        """As `inspect_files`; a file at which the process dies has failed. Raises RuntimeError when it does not start:
        that is no file's fault."""
        if not self._is_ready:
            try:
                self._is_ready = self._receive()
            except EOFError:
                raise RuntimeError(f"{sys.executable} -m {__name__} does not start") from None
        try:
            return self._ask(paths)
        except (OSError, EOFError, pickle.UnpicklingError):
            self.close()
            self._start()
        if len(paths) == 1:
            return [Facts(0, 0, 0, None, "the decoder crashed on it, or took more memory than there is")]
        return [facts for path in paths for facts in self.inspect([path])]

    def _ask(self, paths: Sequence[str]) -> list[Facts]:
        assert self._process.stdin is not None
        pickle.dump(list(paths), self._process.stdin)
        self._process.stdin.flush()
        return [Facts(*facts) for facts in self._receive()]

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        return pickle.load(self._process.stdout)  # of this very program

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> "InspectionProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> None:
    """Says True when it is ready, then answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints is no answer
    pickle.dump(True, answers)
    answers.flush()
    while True:
        try:
            paths = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump([tuple(facts) for facts in inspect_files(paths)], answers)
        answers.flush()


if __name__ == "__main__":
    main()
