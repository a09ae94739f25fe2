"""A folder that Hugging Face's datasets reads as `imagefolder`: links to the images and a table that keeps its types.

https://huggingface.co/docs/datasets/image_dataset. The types stand in the table's schema as `datasets` itself writes
them; as JSON lines they would turn into text.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.exports.source import ExportSource

README = """\
---
task_categories:
- image-classification
task_ids:
- multi-label-image-classification
---

Labels by ccd {version}, thresholds: {rule}. `probs` are the labels before any threshold.

```python
from datasets import load_dataset

images = load_dataset("imagefolder", data_dir=".", split="train")
```

The images are links to {image_root}; `push_to_hub` uploads their content.
"""


def write_hugging_face(source: ExportSource, folder: Path) -> dict[str, Any]:
    """Writes train/metadata.parquet, train/images/ with links, and README.md.

    Links are numbered, since a path may hold what `datasets` takes for a pattern; `image_id` is the path as it was.
    """
    (folder / "train" / "images").mkdir(parents=True)
    names = [_link(source, row, folder / "train") for row in source.rows]
    class_names, probs = source.labels.class_names, source.labels.probs[source.rows]
    row_type = pa.list_(pa.float32(), len(class_names))
    columns = {
        "file_name": pa.array(names, pa.string()),
        "image_id": pa.array([source.labels.file_names[row] for row in source.rows], pa.string()),
        "labels": pa.array([source.classes_of(row) for row in source.rows], pa.list_(pa.int64())),
        "probs": pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(probs).reshape(-1), type=row_type),
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features(class_names)}})}
    pq.write_table(pa.table(columns, metadata=metadata), folder / "train" / "metadata.parquet", compression="zstd")
    card = README.format(version=source.labels.version, rule=source.rule, image_root=ascii(source.image_root))
    (folder / "README.md").write_text(card)
    return {"images": len(names)}


def features(class_names: tuple[str, ...]) -> dict[str, Any]:
    """The columns' types in the words of datasets 4 and later."""
    return {
        "file_name": {"dtype": "string", "_type": "Value"},
        "image_id": {"dtype": "string", "_type": "Value"},
        "labels": {"feature": {"names": list(class_names), "_type": "ClassLabel"}, "_type": "List"},
        "probs": {
            "feature": {"dtype": "float32", "_type": "Value"},
            "length": len(class_names),
            "_type": "List",
        },
    }


def _link(source: ExportSource, row: int, folder: Path) -> str:
    """images/NUMBER.EXTENSION, a link to the image."""
    extension = os.path.splitext(source.paths[row])[1].lower()
    name = f"images/{row:08d}{extension}"
    (folder / name).symlink_to(source.paths[row])
    return name
