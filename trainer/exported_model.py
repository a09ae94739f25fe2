"""model/: the classifier in a folder that timm, transformers and this trainer open.

    model.safetensors   timm's weights        config.json      what timm and transformers read, and `ccd` for our own
    preprocess.json     images to input       README.md        model card
    checksums.txt       sha256sum's format    model.onnx, model.fp16.onnx   by `ccd export --onnx`

A classifier without a timm form (timm_model.py) has a config.json and weights that `load_model` alone reads.
Each file is whole or absent, config.json comes after the weights and the checksums last: whatever stops the export,
doing it again gives the same bytes, and what opens until then is the whole classifier.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch

from trainer import __version__
from trainer.checkpoint import read_tensors, write_tensors
from trainer.checksums import check_weights
from trainer.files import read_json, write_atomically, write_json
from trainer.model import CamClassifier, Classifier, create_backbone, normalization
from trainer.semantic_decoupling import SemanticClassifier
from trainer.timm_model import NoTimmFormError, TimmForm, from_timm, to_timm


@dataclass(frozen=True)
class Description:
    """What a folder says of its classifier. backbone: as `create_backbone` takes it. image_size: S in pixels.
    provenance: how it was made, for people and programs."""

    backbone: str
    image_size: int
    class_names: tuple[str, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)


def write_model(folder: Path, classifier: Classifier, description: Description) -> str | None:
    """Writes weights, config.json and preprocess.json; returns why they have no timm form, None where they have it."""
    mean, std = normalization(classifier.backbone)
    form, reason = _timm_form(classifier, description)
    weights = folder / "model.safetensors"
    if form is None:
        write_tensors(weights, classifier.state_dict(), {})
        config = {"backbone": description.backbone, **_architecture(classifier), "ccd": dict(description.provenance)}
    else:
        tensors = {name: tensor.contiguous() for name, tensor in form.model.state_dict().items()}
        # transformers refuses a file that does not say whose it is
        write_atomically(weights, safetensors.torch.save(tensors, {"format": "pt"}))
        config = _timm_config(form, classifier, description, mean, std)
    preprocess = {"image_size": description.image_size, "mean": mean, "std": std}
    names = {"label_names": description.class_names, "problem_type": "multi_label_classification"}
    write_json(folder / "preprocess.json", _PREPROCESSING | preprocess)
    write_json(folder / "config.json", config | preprocess | names)
    return reason


# What load_squashed and normalise do (data/transforms.py), and what crop_mode "squash" makes timm and transformers do.
_PREPROCESSING = {
    "channels": "RGB, upright by EXIF, transparent parts on white",
    "resize": "squash to image_size x image_size",
    "interpolation": "bilinear, antialiased",
    "value": "(pixel / 255 - mean) / std of each channel",
    "layout": "NCHW float32",
}


def _timm_form(classifier: Classifier, description: Description) -> tuple[TimmForm | None, str | None]:
    try:
        return to_timm(classifier, description.backbone, image_size=description.image_size), None
    except NoTimmFormError as error:
        return None, str(error)


def _timm_config(
    form: TimmForm,
    classifier: Classifier,
    description: Description,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Any]:
    """timm's config.json. `num_classes` stays out of model_args, where transformers would give it twice."""
    assert isinstance(classifier, CamClassifier)
    size, num_classes = description.image_size, len(description.class_names)
    known: dict[str, Any] = form.model.pretrained_cfg  # type: ignore[assignment]
    pretrained_cfg = {
        "tag": "ccd",
        "custom_load": False,
        "input_size": [3, size, size],
        "fixed_input_size": bool(known.get("fixed_input_size")) and not form.model_args.get("dynamic_img_size"),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": mean,
        "std": std,
        "num_classes": num_classes,
        "first_conv": known.get("first_conv"),
        "classifier": known.get("classifier"),
    }
    return {
        "architecture": form.architecture,
        "num_classes": num_classes,
        "num_features": form.model.num_features,
        "global_pool": "avg",
        "model_args": form.model_args,
        "pretrained_cfg": pretrained_cfg,
        "ccd": {**description.provenance, "cam_boost": classifier.boost, "version": __version__},
    }


def load_model(folder: Path) -> tuple[Classifier, tuple[str, ...]]:
    """The classifier that `write_model` wrote, in evaluation mode, and its class names.

    It takes (B, 3, S, S) float32, squashed to the config's image_size and normalised by its mean and std, and gives
    logits (B, C) and CAMs (B, C, h, w), or those of SST and SARB the classes' features (B, C, D). Raises ValueError
    when the folder holds no such model, or a damaged one.
    """
    try:
        config = read_json(folder / "config.json")
        names = tuple(config["label_names"])
        check_weights(folder)
        if "architecture" in config:
            model = timm.create_model(f"local-dir:{folder}", pretrained=True)
            return from_timm(model, boost=config["ccd"]["cam_boost"]), names
        model = build_classifier(config, num_classes=len(names))
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} holds no exported classifier ({error!r})") from error
    model.load_state_dict(read_tensors(folder / "model.safetensors")[0])
    return model.eval(), names


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
