"""Which part of a batch a process has. Knows no process group, so that one process can reckon with any number."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Entry = TypeVar("Entry", bound=np.generic)


@dataclass(frozen=True)
class Share:
    """That of process `rank` among `size` processes: a run of neighbours, so that all shares in the order of their
    processes are the whole. They differ by one at most; one may be empty."""

    rank: int = 0
    size: int = 1

    def bounds(self, total: int) -> tuple[int, int]:
        """First of `total` items, and the one after the last."""
        return self.rank * total // self.size, (self.rank + 1) * total // self.size

    def of(self, items: NDArray[Entry]) -> NDArray[Entry]:
        start, stop = self.bounds(len(items))
        return items[start:stop]


WHOLE = Share()
