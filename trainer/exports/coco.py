"""COCO's JSON. It knows boxes only: a class without a crop of its own gets the whole image's.

https://cocodataset.org/#format-data
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.exports.source import ExportSource, as_text, count_spelled


def write_coco(source: ExportSource, folder: Path) -> dict[str, Any]:
    """Writes instances.json and results.json (the same boxes as predictions). Boxes are x, y, width, height in pixels;
    `attributes.source` of an annotation tells `cam`, a crop around activations, from `image`.
    """
    paths = [source.relative_path(row) for row in source.rows]
    images = [
        {"id": row + 1, "file_name": as_text(path), "width": int(width), "height": int(height)}
        for row, path, (width, height) in zip(source.rows, paths, source.labels.sizes[source.rows], strict=True)
    ]
    annotations = [{"id": number, **annotation} for number, annotation in enumerate(_annotations(source), start=1)]
    info = {
        "description": "labels by ccd",
        "version": source.labels.version,
        "image_root": as_text(source.image_root),
        "thresholds": source.rule,
    }
    categories = [
        {"id": c, "name": name, "supercategory": "ccd"} for c, name in enumerate(source.labels.class_names, start=1)
    ]
    instances = {
        "info": info,
        "licenses": [],
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }
    (folder / "instances.json").write_text(json.dumps(instances))
    keys = ("image_id", "category_id", "bbox", "score")
    results = [{key: annotation[key] for key in keys} for annotation in annotations]
    (folder / "results.json").write_text(json.dumps(results))
    return {"file_names_that_are_no_utf8": count_spelled(paths)}


def _annotations(source: ExportSource) -> Iterator[dict[str, Any]]:
    for row in source.rows:
        for c in source.classes_of(row):
            box = source.boxes.get((row, c))
            x0, y0, x1, y1 = box or (0, 0, *map(int, source.labels.sizes[row]))
            yield {
                "image_id": row + 1,
                "category_id": c + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
                "score": source.score(row, c),
                "attributes": {"source": "cam" if box else "image", "said_by": source.said_by(row, c)},
            }
