"""Training in this process: with every option it goes on with the same bits and evaluates the weights it should."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from trainer.checkpoint import read_tensors
from trainer.config import RunConfig, resolve
from trainer.data.pixel_cache import PixelCache
from trainer.data.sample import ImageSet, Sample
from trainer.engine import Machine
from trainer.run_folder import RunFolder
from trainer.session import Run
from trainer.trained_model import open_model
from trainer.training import Training

NUM_IMAGES, NUM_CLASSES = 10, 3
LABELS = np.random.default_rng(0).random((NUM_IMAGES, NUM_CLASSES)).astype(np.float32)
FLOAT16 = Machine(torch.device("cpu"), torch.float16)  # not offered: a CPU is slow at it, but computes it
MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path, image_bytes: Callable[..., bytes]) -> MakeRun:
    """make_run(name, machine=None, **settings): ten images in three batches, one epoch of warm-up and one with
    consistency."""

    def make(name: str, machine: Machine | None = None, **settings: Any) -> Run:
        samples = tuple(Sample(f"{i}", tmp_path / f"{i}.jpg") for i in range(NUM_IMAGES))
        for seed, sample in enumerate(samples):
            sample.path.write_bytes(image_bytes(seed))
        small = {"backbone": "demo", "backbone_weights": "none", "image_size": 32, "batch_size": 4}
        schedule = {"epochs": 2, "warmup_epochs": 1, "stop": "last", "workers": 1, "device": "cpu"}
        wanted = RunConfig(**(small | schedule | settings))
        config = resolve(wanted, data_format="folder", num_classes=NUM_CLASSES, prompt="{}")
        return Run(
            data="folder", config=config, own_folder=RunFolder(tmp_path / name), console=Console(quiet=True),
            machine=machine or Machine.choose(config), cache=PixelCache(), class_names=("a", "b", "c"),
            train=ImageSet("train", samples), hashes=(), sizes=np.full((NUM_IMAGES, 2), 96, np.int32),
            validation=None, failed=(), published=None,
        )  # fmt: skip

    return make


def train(training: Training, epoch: int, stage: str) -> None:
    training.train_until(epoch, lambda: LABELS, stage=stage)


@pytest.mark.parametrize(
    ("machine", "settings"),
    [
        (None, {"accumulate": 2}),
        (None, {"layer_decay": 0.5, "size_jitter": (32, 96)}),
        (None, {"precision": "bfloat16", "ema": 0.9}),
        (FLOAT16, {"ema": 0.5, "accumulate": 3}),
    ],
)
def test_stopped_after_an_epoch_it_ends_with_the_same_bits(
    machine: Machine | None, settings: dict[str, Any], make_run: MakeRun
) -> None:
    """Would fail if the average, its count, the loss scale or the sizes of batches were not those of the epoch."""
    straight, stopped = (make_run(name, machine, **settings) for name in ("straight", "stopped"))
    training = Training(straight)
    train(training, 1, "warmup")
    train(training, 2, "training")
    train(Training(stopped), 1, "warmup")
    train(Training(stopped), 2, "training")
    files = sorted(path.name for path in straight.folder.root.glob("checkpoints/*.safetensors"))
    assert "last.safetensors" in files
    assert "epoch-001.safetensors" in files
    for name in files:
        first, second = (run.folder.path(f"checkpoints/{name}").read_bytes() for run in (straight, stopped))
        assert first == second, name


def test_averaged_weights_are_what_is_evaluated_and_kept(make_run: MakeRun, tmp_path: Path) -> None:
    """Would fail if the average were kept and the last step's weights were exported, or the other way round trained."""
    training = Training(make_run("run", ema=0.9))
    train(training, 2, "warmup")
    checkpoints = tmp_path / "run" / "checkpoints"
    kept, _ = read_tensors(checkpoints / "epoch-001.safetensors")
    whole, _ = read_tensors(checkpoints / "last.safetensors")
    assert torch.equal(kept["head.weight"], whole["module.average.module.head.weight"])
    assert not torch.equal(kept["head.weight"], whole["module.model.head.weight"])
    assert torch.equal(training.model.state_dict()["head.weight"], kept["head.weight"])
    training.load_kept_weights()
    assert whole["module.average.n_averaged"] == 6


def test_last_checkpoint_opens_as_the_averaged_classifier(make_run: MakeRun, tmp_path: Path) -> None:
    """`ccd evaluate` of a run that is under way must measure what the run would keep."""
    run = make_run("run", ema=0.9)
    train(Training(run), 1, "warmup")
    settings = asdict(run.config) | {"classes": ["a", "b", "c"]}
    run.folder.path("config.resolved.yaml").write_text(yaml.safe_dump(settings))
    names = ("last.safetensors", "epoch-000.safetensors")
    last, epoch = (
        open_model(run.folder.path(f"checkpoints/{name}"), torch.device("cpu")).classifier.state_dict()
        for name in names
    )
    assert all(torch.equal(tensor, epoch[name]) for name, tensor in last.items())


def test_accumulated_batches_make_fewer_steps(make_run: MakeRun) -> None:
    """Three batches of ten images: two steps an epoch, of two batches and of the last one."""
    run = make_run("run", accumulate=2)
    train(Training(run), 1, "warmup")
    tensors, _ = read_tensors(run.folder.path("checkpoints/last.safetensors"))
    assert {int(tensor) for name, tensor in tensors.items() if name.endswith(".step")} == {2}


def test_float16_is_for_gpus() -> None:
    with pytest.raises(ValueError, match="--precision float16 is for GPUs; on a CPU use --precision bfloat16"):
        Machine.choose(RunConfig(precision="float16", device="cpu"))


@pytest.mark.parametrize(
    ("backbone", "sizes", "says"),
    [
        ("vit_tiny_patch16_224", (64, 96), None),
        ("vit_small_patch14_dinov2", (448, 480), "images of 480 pixels"),  # 480 is no multiple of 14
    ],
)
def test_sizes_that_a_backbone_does_not_take(
    backbone: str, sizes: tuple[int, int], says: str | None, make_run: MakeRun
) -> None:
    """Would fail if it were found out in the first batch, after the labels were made."""
    run = make_run("run", backbone=backbone, size_jitter=sizes)
    if says is None:
        Training(run)
        return
    with pytest.raises(ValueError, match=f"--size-jitter: .*{says}"):
        Training(run)


@pytest.mark.slow
def test_compiled_it_goes_on_with_the_same_bits_and_the_same_names(make_run: MakeRun) -> None:
    """Compiled code must not be in the weights' names, and not depend on what was compiled before."""
    eager, straight, stopped = (make_run(name, compile=name != "eager") for name in ("eager", "straight", "stopped"))
    training = Training(straight)
    train(training, 1, "warmup")
    train(training, 2, "training")
    train(Training(stopped), 1, "warmup")
    torch.compiler.reset()  # as in a new process
    train(Training(stopped), 2, "training")
    train(Training(eager), 1, "warmup")
    whole, again, plain = (
        read_tensors(run.folder.path("checkpoints/last.safetensors"))[0] for run in (straight, stopped, eager)
    )
    assert whole.keys() == plain.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())


@pytest.mark.slow
def test_compiled_it_learns_what_it_would_learn(make_run: MakeRun) -> None:
    """One epoch: later ones differ by what rounding comes to."""
    runs = [make_run(name, compile=name == "compiled", learning_rate=1e-5) for name in ("eager", "compiled")]
    for run in runs:
        train(Training(run), 1, "warmup")
    eager, compiled = (read_tensors(run.folder.path("checkpoints/last.safetensors"))[0] for run in runs)
    for name in ("module.model.head.weight", "module.model.backbone.bn1.running_mean"):
        torch.testing.assert_close(compiled[name], eager[name], rtol=1e-3, atol=1e-4)
