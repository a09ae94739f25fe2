"""From the arrays of a run's folder to the tables that people take away: labels/labels.parquet and views.parquet.

Needs the folder alone, so that corrections can be published when the run has long ended. N images, C classes, V views.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from trainer import __version__
from trainer.corrections import Corrections, corrected
from trainer.data.index import Index
from trainer.files import read_json, write_atomically
from trainer.label_table import LabelTable
from trainer.pseudo_labels import load_rows

LABELS = "labels/labels.parquet"
VIEWS = "labels/views.parquet"


def publish(root: Path, *, split: str) -> LabelTable:
    """Writes labels/labels.parquet and the columns of labels/views.parquet that other programs want.

    split: what the data set calls its training images.
    """
    labels = collect_labels(root, split=split)
    labels.write(root / LABELS)
    if (root / VIEWS).is_file():
        _complete_views(root)
    return labels


def collect_labels(root: Path, *, split: str) -> LabelTable:
    """The run's final labels with its corrections, one row for each training image that could be decoded."""
    settings = read_settings(root)
    class_names = tuple(settings["classes"])
    index = Index.read(root / "index.parquet")
    rows = [row for row in index.rows if not row.reason]
    file_names = tuple(row.image_id for row in rows)
    said_NC = Corrections.of_run(root, class_names).entries(file_names, class_names)
    return LabelTable(
        class_names=class_names,
        file_names=file_names,
        sizes=index.sizes[index.ok],
        probs=corrected(machine_labels(root), said_NC),
        reviewed=said_NC >= 0,
        hashes=tuple(row.sha256 or b"" for row in rows),
        split=split,
        clip=_clip(root),
        config_sha=hashlib.sha256((root / "config.resolved.yaml").read_bytes()).hexdigest(),
        version=__version__,
    )


def read_settings(root: Path) -> dict[str, Any]:
    """Every setting of a run, its data and its classes. Raises ValueError where there is no run."""
    path = root / "config.resolved.yaml"
    if not path.is_file():
        raise ValueError(f"{root} is no run's folder: it has no config.resolved.yaml")
    settings: dict[str, Any] = yaml.safe_load(path.read_text())
    return settings


def machine_labels(root: Path) -> npt.NDArray[np.float32]:
    """(N, C) in [0, 1]: the final labels before any correction, a row of NaN where the labeler rejected the image.

    Raises ValueError where the run has not come to them, or its method has none.
    """
    settings = read_settings(root)
    paths = [root / "labels/final.npy", root / "labels/initial.npy"]  # a run may end before the update, or go without
    path = next((path for path in paths if path.is_file()), None)
    if settings["method"] != "ccd" or path is None:
        raise ValueError(f"{root} has no labels: `ccd label` and `ccd run --method ccd` make them")
    return load_rows(path)


def _clip(root: Path) -> str:
    """JSON: the name of the CLIP that labelled and the sha256 of its weights."""
    facts = read_json(root / "state.json").get("labeler", {})
    return json.dumps({name: facts.get(name) for name in ("model", "weights_sha256")})


def _complete_views(root: Path) -> None:
    """Adds to views.parquet the number of each view within its image and CLIP's probabilities of it (C float32, before
    debiasing; null where the labeler rejected the view). The run itself reads the other columns alone."""
    table = pq.read_table(root / VIEWS, partitioning=None)
    names = [name for name in table.column_names if name not in ("view", "probs")]
    settings = read_settings(root)
    probs_VC = load_rows(root / "labels/views.npy") if len(table) else np.empty((0, len(settings["classes"])), "f4")
    rejected = pa.array(~np.isfinite(probs_VC).all(axis=1))
    row_type = pa.list_(pa.float32(), probs_VC.shape[1])
    table = table.select(names).append_column("view", pa.array(_numbers(table["image"].to_numpy()), pa.int16()))
    probs = pa.FixedSizeListArray.from_arrays(probs_VC.reshape(-1), type=row_type, mask=rejected)
    table = table.append_column("probs", probs)
    metadata = {"ccd.classes": json.dumps(settings["classes"]), "ccd.box_offset": json.dumps(settings["box_offset"])}
    buffer = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    write_atomically(root / VIEWS, buffer.getvalue())


def _numbers(image: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(V,) 0, 1, ... within each image; the views of an image stand together."""
    starts = np.flatnonzero(np.diff(image, prepend=-1))
    lengths = np.diff(starts, append=len(image))
    return np.arange(len(image)) - np.repeat(starts, lengths)
