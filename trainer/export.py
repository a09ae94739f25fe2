"""What people take away from a run: the labels as Parquet, and the classifier as safetensors with a readable config."""

import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.exported_model import Description, load_model, write_checksums, write_model
from trainer.files import write_atomically
from trainer.model_card import model_card, named_figures, provenance, read_per_class
from trainer.session import Run
from trainer.training import Training

__all__ = ["export_labels", "export_model", "load_model"]

# A label of at least this much counts as given in the `labels` columns; `probs` holds the label itself.
LABEL_THRESHOLD = 0.5


def export_labels(run: Run) -> None:
    """Writes labels/labels.parquet, one row per training image that could be decoded.

    Columns: file_name (POSIX, the image id), width, height (pixels after EXIF orientation), probs (C float32, the
    final pseudo-label, null where the labeler rejected the image), labels and label_names (classes of at least 0.5),
    status, sha256. Class names are in the schema's metadata. Methods that do not learn from CLIP write none.
    """
    final = run.folder.path("labels/final.npy" if run.config.update else "labels/initial.npy")
    if run.config.method != "ccd":
        return
    probs_NC = np.load(final)
    known = np.isfinite(probs_NC).all(axis=1)
    given = [
        np.flatnonzero(row >= LABEL_THRESHOLD).tolist() if ok else None for row, ok in zip(probs_NC, known, strict=True)
    ]
    names = [None if row is None else [run.class_names[c] for c in row] for row in given]
    row_type = pa.list_(pa.float32(), run.num_classes)
    probs = pa.FixedSizeListArray.from_arrays(probs_NC.reshape(-1), type=row_type, mask=pa.array(~known))
    table = pa.table(
        {
            "file_name": [sample.image_id for sample in run.train.samples],
            "width": pa.array(run.sizes[:, 0]),
            "height": pa.array(run.sizes[:, 1]),
            "probs": probs,
            "labels": pa.array(given, pa.list_(pa.int16())),
            "label_names": pa.array(names, pa.list_(pa.string())),
            "status": ["ok" if ok else "failed" for ok in known],
            "sha256": pa.array(run.hashes, pa.binary(32)),
        }
    )
    table = table.replace_schema_metadata({"ccd.classes": json.dumps(run.class_names)})
    unfinished = run.folder.path("labels/labels.parquet.part")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(run.folder.path("labels/labels.parquet"))


def export_model(run: Run, training: Training, quality: Mapping[str, Mapping[str, float]] | None = None) -> None:
    """Writes model/: the kept epoch's weights, what is needed to use them, and a card with the figures in `quality`,
    as `summary.evaluate` gives them. `load_model` reads it."""
    training.load_kept_weights()
    config, folder, facts = run.config, run.folder.path("model/config.json").parent, provenance(run, training)
    reason = write_model(
        folder, training.model, Description(config.backbone, config.image_size, run.class_names, facts)
    )
    if reason is not None:
        note = f"note: model/ opens here and as ONNX, but not in timm: {reason}"
        run.console.print(note, markup=False, highlight=False, soft_wrap=True)
    card = model_card(
        facts, run.class_names, image_size=config.image_size, timm_form=reason is None,
        figures=named_figures(quality or {}), per_class=read_per_class(run.folder.path("per_class.csv")),
    )  # fmt: skip
    write_atomically(folder / "README.md", card.encode())
    write_checksums(folder)
