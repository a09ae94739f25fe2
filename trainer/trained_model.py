"""Opens a trained classifier from any of its files: a run's folder, an exported model/, a checkpoint, an ONNX file."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from trainer.checkpoint import read_tensors
from trainer.export import build_classifier, load_model
from trainer.files import read_json
from trainer.model import Classifier, normalization
from trainer.onnx_classifier import OnnxClassifier

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedModel:
    """A classifier, and the images it takes: squashed to image_size pixels, normalised by mean and std of each channel
    for pixels in [0, 1]. class_names: by column, None where no file tells."""

    classifier: Classifier
    num_classes: int
    class_names: tuple[str, ...] | None
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def open_model(path: Path, device: torch.device) -> TrainedModel:
    """The classifier in `path`, on `device`; of a run's folder the one that the run kept.

    Raises ValueError, in one line, for a path that holds no classifier.
    """
    model = _open(path, device)
    model.classifier.to(device).to(memory_format=torch.channels_last)
    return model


def _open(path: Path, device: torch.device) -> TrainedModel:
    if path.is_dir():
        return _open_folder(path)
    if path.suffix == ".safetensors" and path.is_file():
        return _exported(path.parent) if path.with_name("config.json").is_file() else _checkpoint(path)
    if path.suffix == ".onnx" and path.is_file():
        return _onnx(path, device)
    kinds = "a run's folder, an exported model/, a checkpoint epoch-NNN.safetensors or an .onnx file"
    raise ValueError(f"{path} is no classifier{'' if path.exists() else ': there is no such file'}; give {kinds}")


def _open_folder(path: Path) -> TrainedModel:
    if (path / "config.resolved.yaml").is_file():
        if not (path / "model" / "config.json").is_file():
            raise ValueError(f"the run in {path} has not ended; give one of {path / 'checkpoints'}/epoch-*.safetensors")
        path = path / "model"
    return _exported(path)


def _exported(folder: Path) -> TrainedModel:
    classifier, class_names = load_model(folder)
    config = read_json(folder / "config.json")
    return TrainedModel(classifier, len(class_names), class_names, config["image_size"], config["mean"], config["std"])


def _checkpoint(path: Path) -> TrainedModel:
    """A run's checkpoint, which needs the settings in the run's folder."""
    config_path = path.absolute().parents[1] / "config.resolved.yaml"
    if not config_path.is_file():
        raise ValueError(f"{path} is of no use without its run's settings; there is no {config_path}")
    config = yaml.safe_load(config_path.read_text())
    if config["method"] in ("sst", "sarb"):  # their classifier's shapes are in the exported model alone
        raise ValueError(f"{path} is a checkpoint of {config['method']}: give the run's folder when it has ended")
    class_names = tuple(config["classes"])
    classifier = build_classifier(config, num_classes=len(class_names))
    tensors, _ = read_tensors(path)
    classifier.load_state_dict(_of_training(tensors) or tensors)
    mean, std = normalization(classifier.backbone)
    return TrainedModel(classifier, len(class_names), class_names, config["image_size"], mean, std)


def _of_training(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The classifier's in last.safetensors, which holds the whole training: averaged where they were; else nothing."""
    for prefix in ("module.average.module.", "module.model."):
        found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        if found:
            return found
    return {}


def _onnx(path: Path, device: torch.device) -> TrainedModel:
    """An ONNX file; what it does not hold comes from a config.json beside it, as `export_model` writes it."""
    classifier = OnnxClassifier(path, device)
    config_path = path.with_name("config.json")
    config: dict[str, Any] = read_json(config_path) if config_path.is_file() else {}
    if "mean" not in config:
        log.warning("no mean and std in a config.json beside %s: images are normalised by ImageNet's", path)
    if "label_names" not in config:
        log.warning("no label_names in a config.json beside %s: its classes are taken to be the data set's", path)
    image_size = classifier.image_size or config.get("image_size")
    if image_size is None:
        raise ValueError(f"{path} takes images of any size; say which as image_size in a config.json beside it")
    return TrainedModel(
        classifier,
        classifier.num_classes,
        tuple(config["label_names"]) if "label_names" in config else None,
        image_size,
        config.get("mean", IMAGENET_DEFAULT_MEAN),
        config.get("std", IMAGENET_DEFAULT_STD),
    )
