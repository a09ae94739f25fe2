"""A value that is made of files, and made again when they change. Knows nothing of what is in them."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Reloading(Generic[T]):
    """Raises ValueError when `load` does so for the files as they are now; later, a broken version is logged once and
    the value before it stays."""

    def __init__(self, files: Sequence[Path], load: Callable[[], T]) -> None:
        self._files = files
        self._load = load
        self._seen = self._states()
        self._value = load()

    def value(self) -> T:
        """The value of the files as they are now; the same object while they stay as they are."""
        states = self._states()
        if states != self._seen:
            # Before loading: what changes meanwhile is seen next time.
            self._seen = states
            try:
                self._value = self._load()
            except ValueError as error:
                logger.error("%s; the version before it stays in use", error)
            else:
                logger.info("read %s again", ", ".join(path.name for path in self._files))
        return self._value

    def _states(self) -> list[tuple[int, int, int] | None]:
        return [_state(path) for path in self._files]


def _state(path: Path) -> tuple[int, int, int] | None:
    """What differs between versions of a file. The inode also tells replaced files, such as Kubernetes' secrets."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
