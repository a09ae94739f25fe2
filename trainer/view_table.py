"""The local views of a run as a table: of which image, for which class, and where. V views.

Knows no classifier, so that it can be read without one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

NO_CLASS = -1  # of views that no classifier chose


@dataclass(frozen=True)
class Views:
    """V views in the order of their images. `image` (V,) int64 positions in the training set; `class_index` (V,)
    int16 the class that asked for the view, -1 for none; `boxes` (V, 4) int32 x0 y0 x1 y1, half-open, in pixels of the
    original image."""

    image: npt.NDArray[np.int64]
    class_index: npt.NDArray[np.int16]
    boxes: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.image)

    def rows_of_image(self) -> dict[int, npt.NDArray[np.int64]]:
        """Rows of each image that has views."""
        images, starts = np.unique(self.image, return_index=True)
        return dict(zip(images.tolist(), np.split(np.arange(len(self)), starts[1:]), strict=True)) if len(self) else {}

    def write(self, path: Path, image_ids: list[str], class_names: tuple[str, ...]) -> None:
        """Parquet, one row a view, with names beside positions so that other programs can read it alone."""
        x0, y0, x1, y1 = self.boxes.T
        columns = {
            "image": self.image,
            "file_name": [image_ids[i] for i in self.image],
            "class": self.class_index,
            "class_name": ["" if c == NO_CLASS else class_names[c] for c in self.class_index],
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
        }
        unfinished = path.with_name(path.name + ".part")
        pq.write_table(pa.table(columns), unfinished, compression="zstd")
        unfinished.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Views":
        table = pq.read_table(path)
        boxes = np.stack([table[side].to_numpy() for side in ("x0", "y0", "x1", "y1")], axis=1).astype(np.int32)
        return cls(table["image"].to_numpy(), table["class"].to_numpy(), boxes)
