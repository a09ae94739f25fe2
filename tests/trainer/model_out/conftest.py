"""One small exported model for all tests of what leaves the trainer: the bundled backbone with a boosted head."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainer.__main__ import main
from trainer.checksums import write_checksums
from trainer.exported_model import Description, write_model
from trainer.model import CamClassifier, create_backbone, feature_map

NAMES = ("cat", "dog", "traffic light")
FACTS = {
    "method": "ccd", "constants": "fixed", "seed": 0, "epoch": 1, "images": 8, "backbone": "demo",
    "backbone_licence": "Apache-2.0, bundled with ccd", "clip": "RN50", "prompt": "a photo of the {}",
    "clip_sha256": "0" * 64, "clip_licence": "MIT",
}  # fmt: skip


Trained = Callable[..., CamClassifier]


@pytest.fixture(scope="session")
def trained() -> Trained:
    """trained(backbone, boost, num_classes=3): a classifier with weights as after training: batch norms that do
    something, activations on both sides of 0."""

    def make(name: str, boost: float, num_classes: int = len(NAMES)) -> CamClassifier:
        torch.manual_seed(0)
        weights = "imagenet" if name == "demo" else "none"
        classifier = CamClassifier(create_backbone(name, weights=weights), num_classes=num_classes, boost=boost)
        for module in classifier.modules():
            if name != "demo" and isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, std=0.1)
                module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        _spread(classifier.eval())
        return classifier

    return make


@torch.no_grad()
def _spread(classifier: CamClassifier) -> None:
    """Puts activations on noise around 0, none far from it: boosted and not, and no probability near 0 or 1."""
    activations = classifier.head(feature_map(classifier.backbone, torch.randn(4, 3, 96, 96)))
    classifier.head.weight /= activations.std()
    classifier.head.bias.copy_(-activations.mean(dim=(0, 2, 3)) / activations.std())  # type: ignore[union-attr]


@pytest.fixture(scope="session")
def classifier(trained: Trained) -> CamClassifier:
    """The classifier that `model_folder` holds."""
    return trained("demo", 3.0)


@pytest.fixture(scope="session")
def model_folder(classifier: CamClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of three classes at 64 px. Shared: leave it as it is."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    assert write_model(folder, classifier, Description("demo", 64, NAMES, FACTS)) is None
    write_checksums(folder)
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, image_bytes: Callable[..., bytes]) -> Path:
    """Five PNG images, which every program decodes alike, one of them in a folder of its own."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "below").mkdir()
    for seed in range(4):
        (folder / f"{seed}.png").write_bytes(image_bytes(seed, 96 + seed, 80, "PNG"))
    (folder / "below" / "<b>'4'.png").write_bytes(image_bytes(4, 40, 200, "PNG"))
    return folder


@pytest.fixture
def ccd(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """ccd(*arguments): the command line within this process; returns the exit code and what it printed."""

    def call(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(exit_info.value.code, int)
        return exit_info.value.code, captured.out + captured.err

    return call
