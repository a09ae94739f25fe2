"""Label Studio's tasks with our labels as predictions, for a person to accept or mend.

https://labelstud.io/guide/predictions. Images stay where they are: Label Studio serves them from its own disk, and
insists that its document root is above the folder of the images, not that folder.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from trainer.exports.source import ExportSource, as_text
from trainer.uncertainty import entry_uncertainties

# Label Studio's upload limit is 200 MB a request by default, and its import is slow above some tens.
FILE_BYTES = 50_000_000


def write_label_studio(source: ExportSource, folder: Path) -> dict[str, Any]:
    """Writes config.xml, the labelling interface, and tasks-001.json, tasks-002.json, ... of at most 50 MB each."""
    (folder / "config.xml").write_text(label_config(source.labels.class_names, boxes=True), encoding="utf-8")
    files = 0
    for files, text in enumerate(_chunks(source), start=1):
        (folder / f"tasks-{files:03d}.json").write_text(text)
    return {"files": files, **serving(source)}


def serving(source: ExportSource) -> dict[str, str]:
    """What Label Studio must be told so that it finds the images: its environment and its local storage's path."""
    return {
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": as_text(document_root(source)),
        "local_storage_path": as_text(source.image_root),
    }


def document_root(source: ExportSource) -> str:
    return os.path.dirname(source.image_root)


def label_config(class_names: Sequence[str], *, boxes: bool) -> str:
    """XML: an image, a choice of classes and, with boxes, rectangles that carry a class."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    controls: list[tuple[str, str, dict[str, str], str]] = [("Choices", "labels", {"choice": "multiple"}, "Choice")]
    if boxes:
        controls.append(("RectangleLabels", "box", {}, "Label"))
    for tag, name, options, item in controls:
        control = ElementTree.SubElement(view, tag, {"name": name, "toName": "image"} | options)
        for class_name in class_names:
            ElementTree.SubElement(control, item, value=class_name)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def label_task(source: ExportSource, row: int, *, boxes: bool) -> dict[str, Any]:
    """One image. `file_name` is its id, by which `ccd review --apply` finds it again; Label Studio sorts tasks by
    `uncertainty` and by the probability of each class. Both are in [0, 1]."""
    labels = source.labels
    path = os.path.relpath(source.paths[row], document_root(source))
    uncertainty = round(float(entry_uncertainties(labels.probs[row]).max()), 6)
    scores = {f"p({name})": source.score(row, c) for c, name in enumerate(labels.class_names)}
    return {
        "data": {
            "image": f"/data/local-files/?d={quote(os.fsencode(path))}",
            "file_name": labels.file_names[row],
            "uncertainty": uncertainty,
            **scores,
        },
        "predictions": [
            {
                "model_version": f"{source.name}-{labels.config_sha[:8]}",
                "score": round(1 - uncertainty, 6),
                "result": _regions(source, row, boxes=boxes),
            }
        ],
    }


def _regions(source: ExportSource, row: int, *, boxes: bool) -> list[dict[str, Any]]:
    names = source.labels.class_names
    given = source.classes_of(row)
    choices = {"choices": [names[c] for c in given]}
    regions = [{"id": "labels", "from_name": "labels", "to_name": "image", "type": "choices", "value": choices}]
    return regions + [_rectangle(source, row, c) for c in given if boxes and (row, c) in source.boxes]


def _rectangle(source: ExportSource, row: int, c: int) -> dict[str, Any]:
    """In percent of the image's sides."""
    x0, y0, x1, y1 = source.boxes[row, c]
    width, height = map(int, source.labels.sizes[row])
    return {
        "id": f"box-{c}",
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": source.score(row, c),
        "value": {
            "x": 100 * x0 / width,
            "y": 100 * y0 / height,
            "width": 100 * (x1 - x0) / width,
            "height": 100 * (y1 - y0) / height,
            "rotation": 0,
            "rectanglelabels": [source.labels.class_names[c]],
        },
    }


def _chunks(source: ExportSource) -> Iterator[str]:
    """JSON lists of tasks, each as long as FILE_BYTES allow (JSON is ASCII here); one at least."""
    tasks: list[str] = []
    size = 0
    for row in source.rows:
        task = json.dumps(label_task(source, row, boxes=True))
        if tasks and size + len(task) + 2 > FILE_BYTES:
            yield f"[{','.join(tasks)}]"
            tasks, size = [], 0
        tasks.append(task)
        size += len(task) + 1
    yield f"[{','.join(tasks)}]"
