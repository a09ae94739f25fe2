"""FiftyOne's JSON of image classifications and detections, loaded without copying an image.

Schemas: FiftyOneImageClassificationDataset and FiftyOneImageDetectionDataset,
https://docs.voxel51.com/user_guide/import_datasets.html. Written by hand, since importing fiftyone starts a MongoDB.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer.data.names import spell
from trainer.exports.source import ExportSource, as_text

README = """\
```python
import fiftyone as fo

fo.Dataset.from_dir(
    dataset_type=fo.types.FiftyOneImageClassificationDataset,
    data_path={data_path!r},
    labels_path="labels.json",
    label_field="ccd",
)
```

Keep nothing but images in that folder: an `a.json` beside `a.jpg` would be taken for it.

`detections.json` holds the crops that showed CLIP a class, as `fo.types.FiftyOneImageDetectionDataset`.
"""


def write_fiftyone(source: ExportSource, folder: Path) -> dict[str, Any]:
    """Writes labels.json, detections.json and README.md, which shows how to load them.

    FiftyOne finds an image by its path without the extension. Raises ValueError where two images differ in nothing
    else. An image whose path is no UTF-8 cannot be found so, and is left out.
    """
    keys, left_out = _keys(source)
    _write(folder / "labels.json", source, keys, lambda row, c: _classification(source, row, c))
    _write(folder / "detections.json", source, keys, lambda row, c: _detection(source, row, c))
    (folder / "README.md").write_text(README.format(data_path=as_text(source.image_root)))
    return {"data_path": as_text(source.image_root), "left_out": left_out}


def _keys(source: ExportSource) -> tuple[dict[int, str], list[str]]:
    """The key of each image by its place, and the images without one."""
    keys: dict[int, str] = {}
    row_of: dict[str, int] = {}
    left_out = []
    for row in source.rows:
        path = source.relative_path(row)
        key = os.path.splitext(path)[0]
        if as_text(key) != key:
            left_out.append(spell(path))
            continue
        if key in row_of:
            other = source.relative_path(row_of[key])
            raise ValueError(
                f"FiftyOne cannot tell {spell(other)!r} from {spell(path)!r}, which differ in their extension alone: "
                "rename one, or leave fiftyone out of --format"
            )
        keys[row], row_of[key] = key, row
    return keys, left_out


_Item = dict[str, Any]


def _write(path: Path, source: ExportSource, keys: Mapping[int, str], item: Callable[[int, int], _Item | None]) -> None:
    labels = {
        key: [found for c in source.classes_of(row) if (found := item(row, c)) is not None] for row, key in keys.items()
    }
    path.write_text(json.dumps({"classes": source.labels.class_names, "labels": labels}))


def _classification(source: ExportSource, row: int, c: int) -> _Item:
    """`label` is the place among the classes."""
    return {"label": c, "confidence": source.score(row, c), "attributes": {"source": source.said_by(row, c)}}


def _detection(source: ExportSource, row: int, c: int) -> _Item | None:
    """With x, y, width and height as shares of the image's; None of a class without a crop."""
    if (row, c) not in source.boxes:
        return None
    x0, y0, x1, y1 = source.boxes[row, c]
    width, height = map(int, source.labels.sizes[row])
    box = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
    return {**_classification(source, row, c), "bounding_box": box}
