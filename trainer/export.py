"""What people take away from a run: the labels as Parquet, and the classifier as safetensors with a readable config."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from trainer.checkpoint import read_tensors, write_tensors
from trainer.files import write_json
from trainer.model import CamClassifier, Classifier, create_backbone, normalization
from trainer.semantic_decoupling import SemanticClassifier
from trainer.session import Run
from trainer.training import Training

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


def export_model(run: Run, training: Training) -> None:
    """Writes model/: the kept epoch's weights and what is needed to use them. `load_model` reads it."""
    training.load_kept_weights()
    mean, std = normalization(training.model.backbone)
    write_tensors(run.folder.path("model/model.safetensors"), training.model.state_dict(), {})
    config = {
        "backbone": run.config.backbone,
        **_architecture(training.model),
        "image_size": run.config.image_size,
        "mean": mean,
        "std": std,
        "label_names": run.class_names,
        "problem_type": "multi_label_classification",
    }
    write_json(run.folder.path("model/config.json"), config)


def load_model(folder: Path) -> tuple[Classifier, tuple[str, ...]]:
    """The classifier that `export_model` wrote, in evaluation mode, and its class names.

    It takes (B, 3, S, S) float32, squashed to the config's image_size and normalised by its mean and std, and gives
    logits (B, C) and CAMs (B, C, h, w), or those of SST and SARB the classes' features (B, C, D). Raises ValueError
    when the folder holds no such model.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        model = build_classifier(config, num_classes=len(config["label_names"]))
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} holds no exported classifier ({error!r})") from error
    model.load_state_dict(read_tensors(folder / "model.safetensors")[0])
    return model.eval(), tuple(config["label_names"])


def _architecture(model: Classifier) -> dict[str, Any]:
    """What `build_classifier` needs to know of a classifier, besides its backbone and its classes."""
    if isinstance(model, SemanticClassifier):
        return {"classifier": "semantic", "width": model.width, "word_size": model.words.shape[1]}
    assert isinstance(model, CamClassifier)
    return {"classifier": "cam", "cam_boost": model.boost}


def build_classifier(config: Mapping[str, Any], *, num_classes: int) -> Classifier:
    """A classifier without weights from the settings that an exported model and, for the paper's classifier, a run's
    resolved config share."""
    backbone = create_backbone(config["backbone"], weights="none")
    if config.get("classifier", "cam") == "cam":
        return CamClassifier(backbone, num_classes=num_classes, boost=config["cam_boost"])
    words = torch.zeros(num_classes, config["word_size"])
    return SemanticClassifier(backbone, num_classes=num_classes, width=config["width"], words=words)
