"""The classifier that people take away from a run: safetensors with a readable config."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainer.checkpoint import read_tensors, write_tensors
from trainer.files import write_json
from trainer.model import CamClassifier, Classifier, create_backbone, normalization
from trainer.semantic_decoupling import SemanticClassifier
from trainer.session import Run
from trainer.training import Training


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
