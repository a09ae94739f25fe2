"""SST and SARB as runs: what both begin with, resumed where labels are completed, exported and loaded again."""

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from trainer.config import RunConfig
from trainer.data.drawing.catalogue import CLASS_NAMES
from trainer.data.scenes import write_demo_dataset
from trainer.export import export_model, load_model
from trainer.label_regimes import told_labels
from trainer.labeling import Labeler
from trainer.methods.semantic import SemanticObjective
from trainer.model import create_backbone
from trainer.objective import Step
from trainer.semantic_decoupling import SemanticClassifier
from trainer.session import Run, open_run
from trainer.training import Training

NAN = float("nan")
EPOCHS = 7  # two of them complete labels


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "voc"
    write_demo_dataset(folder, num_train=16, num_val=2, seed=1)
    return folder


@pytest.fixture
def start(scenes: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """start(name, **settings): a run on the scenes with half of the entries, its rates ten times lower from epoch 3."""
    runs = []

    def make(name: str, **settings: Any) -> Run:
        config = RunConfig(
            classes=",".join(CLASS_NAMES), known_share=0.5, epochs=EPOCHS, warmup_epochs=0, rate_epochs=3,
            head_multiplier=3.0, image_size=32, batch_size=8, device="cpu", workers=1, **settings,
        )  # fmt: skip
        runs.append(open_run(f"voc:{scenes}", tmp_path / name, config, Console(quiet=True)))
        return runs[-1]

    yield make
    for run in runs:
        run.folder.close()


def train(training: Training, epochs: int, stage: str) -> Training:
    run = training.run
    labeler = Labeler(run.config, run.class_names)  # never asked
    training.train_until(epochs, lambda: told_labels(run, labeler), stage=stage)
    return training


@pytest.mark.parametrize("method", ["sst", "sarb"])
def test_killed_among_completed_labels_a_run_ends_with_the_same_bits(method: str, start: Callable[..., Run]) -> None:
    """Would fail if the memory, prototypes, shares, edges or rates began anew."""
    run = start("whole", method=method)
    whole = train(Training(run), EPOCHS - 1, "warmup")
    shutil.copytree(run.folder.root, run.folder.root.with_name("killed"))
    train(whole, EPOCHS, "training")
    killed = start("killed", method=method)
    resumed = train(Training(killed), EPOCHS, "training")
    checkpoints = [each.folder.path("checkpoints/last.safetensors").read_bytes() for each in (run, killed)]
    assert checkpoints[0] == checkpoints[1]
    assert whole.model.adjacency.diagonal().sum() > 0
    rates = [group["lr"] for group in resumed._updates.optimizer.param_groups]
    assert rates == pytest.approx([1e-5, 3e-5, 1e-5]), "backbone, head, objective"


def test_an_exported_model_is_the_same_classifier(start: Callable[..., Run], tmp_path: Path) -> None:
    """With words of another length than learned ones have, and a width that is the backbone's."""
    vectors = tmp_path / "glove.txt"
    words = sorted(set(" ".join(CLASS_NAMES).split()))
    vectors.write_text("".join(f"{word} {i} {i % 3} -1 0.5\n" for i, word in enumerate(words)))
    run = start("run", method="sst", word_vectors=str(vectors))
    training = train(Training(run), 1, "training")
    export_model(run, training)
    model, names = load_model(run.folder.path("model/config.json").parent)
    assert names == run.class_names
    images = torch.randn(2, 3, 32, 32)
    for found, expected in zip(model(images), training.model.eval()(images), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_first_epoch_rises_to_the_full_weight(fake_run: Callable[..., Any]) -> None:
    """Three images of which something is known are two batches of two: half the weight, then all of it."""
    objective = SemanticObjective(fake_run(4, 1, batch_size=2))
    backbone = create_backbone("resnet10t", weights="none")
    objective.attach(SemanticClassifier(backbone, num_classes=1, width=4))
    objective.begin(torch.tensor([[1.0], [1.0], [NAN], [0.0]]))
    features = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    labels = torch.ones(2, 1)
    step = Step(torch.zeros(2, 1), None, features, labels, torch.arange(2))
    for epoch, expected in ((0, (0.5, 1.0)), (1, (1.0, 1.0))):
        objective.begin_epoch(epoch, 20)
        for weight in expected:
            terms = objective(step)
            assert terms["contrast_loss"].item() == pytest.approx(0.05 * weight)
            assert terms["label_loss"].item() == pytest.approx(math.log(2))
