"""Pseudo-labels: the rows that the labeler answered, kept safe on disk, and the update by local views (eq. 5-7).

N images, C classes, V local views. Knows neither the labeler nor the classifier.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.files import write_atomically

Labels = NDArray[np.float32]


def max_over_views(rows: Labels, image_of_view: NDArray[np.integer], num_images: int) -> Labels:
    """(N, C) float32: for each class the maximum over the image's local views (paper eq. 5-6).

    rows: (V, C), one per view. image_of_view: (V,) in [0, N). An image without a view has a row of NaN.
    """
    local_NC = np.full((num_images, rows.shape[1]), np.nan, np.float32)
    np.fmax.at(local_NC, image_of_view, rows)
    return local_NC


def update_labels(initial: Labels, local: Labels, *, alpha: float, empty: NDArray[np.floating] | None) -> Labels:
    """(N, C) float32 in [0, 1]: alpha * initial + (1 - alpha) * local (paper eq. 7), limited to 1 as in the released
    code, since debiased local labels can exceed 1.

    initial, local: (N, C), debiased; a NaN row of local means that the image had no local view.
    alpha: weight of the initial label in [0, 1].
    empty: local label (C,) of such an image (the released code's is floor / bias); None keeps its initial label.
    """
    if empty is not None:
        local = np.where(np.isnan(local), empty, local)
    blend_NC = np.where(np.isnan(local), initial, alpha * initial + (1 - alpha) * local)
    return blend_NC.clip(0, 1).astype(np.float32)


def save_rows(path: Path, rows: Labels) -> None:
    """Writes rows (N, C) float32 as .npy, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, rows)
    write_atomically(path, buffer.getvalue())


def load_rows(path: Path) -> Labels:
    """What save_rows or a RowStore wrote; in memory."""
    rows: Labels = np.load(path)
    return rows


class RowStore:
    """Rows of float32 in a .npy file that appear one by one and survive a kill at any moment.

    The file is made whole with NaN in every place, then mapped into memory. A row is answered when all of it is finite,
    so that one which was half written when the process died is simply asked for again.
    """

    def __init__(self, path: Path, rows: int, columns: int) -> None:
        """Opens or makes the file. Raises ValueError where it exists with another shape or type."""
        if not path.exists():
            save_rows(path, np.full((rows, columns), np.nan, np.float32))
        self._rows = np.lib.format.open_memmap(path, mode="r+")
        if self._rows.shape != (rows, columns) or self._rows.dtype != np.float32:
            raise ValueError(
                f"{path} holds {self._rows.shape} {self._rows.dtype}, expected ({rows}, {columns}) float32: "
                "it belongs to other images or classes"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def missing(self) -> NDArray[np.int64]:
        """Indices, rising, of the rows that are not answered."""
        return np.flatnonzero(~np.isfinite(self._rows).all(axis=1))

    def put(self, i: int, row: NDArray[np.floating]) -> None:
        """Stores the answer (C,), all finite, of row i. It outlives the process at once, the machine after flush."""
        assert np.isfinite(row).all(), f"row {i} is not finite: {row}"
        self._rows[i] = row

    def flush(self) -> None:
        """Writes what was put to the disk itself."""
        self._rows.flush()

    def rows(self) -> Labels:
        """(N, C) float32, a copy in memory; the rows that are not answered are NaN."""
        rows: Labels = np.array(self._rows)
        rows[self.missing()] = np.nan
        return rows
