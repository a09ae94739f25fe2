"""Pre-trains the small timm network that the demo classifier starts from, on drawings of other classes than the demo's.

python -m tools.train_demo_backbone    # some minutes on two CPU cores
"""

import math
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import timm
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import save_for_hf
from torch import Tensor, nn

from tools.pretraining_classes import CLASS_NAMES, SUBJECTS
from trainer.data.drawing.backgrounds import PAINTERS
from trainer.data.drawing.composition import compose
from trainer.data.seeds import SeedSpace, seeded_generator

MODEL_FOLDER = Path(__file__).resolve().parents[1] / "trainer" / "demo_backbone"
ARCHITECTURE = "resnet10t"
# Half of resnet10t's usual width: 1.3 M parameters, trained at some 300 pictures of 112 pixels a second on two CPU
# cores; a thinner stem, which is where resnet10t spends half its time. The last stage is dilated instead of strided,
# so that class activation maps have a cell for every 16 pixels instead of 32.
MODEL_ARGS: dict[str, Any] = {"channels": [32, 64, 128, 256], "stem_width": 16, "output_stride": 16}
SIDE = 112  # pixels of the training input
# What timm should record of these weights, instead of what it knows of the ImageNet weights of the same architecture.
PRETRAINED_CFG = {
    "tag": "ccd_demo", "origin_url": "", "license": "", "crop_pct": 1.0, "test_crop_pct": 1.0,
    "input_size": (3, SIDE, SIDE), "test_input_size": (3, SIDE, SIDE), "pool_size": (SIDE // 16, SIDE // 16),
}  # fmt: skip
STORED_SIDE = 128  # pixels of the drawn pictures, before random crops
BATCH = 64
LEARNING_RATE = 2e-3  # AdamW
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
CLUTTER_SHARE = 0.4  # of the pictures show one or two smaller things beside the one that is asked for
VALIDATION_SHARE = 16  # every 16th picture is kept apart to report an honest accuracy
CHUNK = 64  # pictures per task of the process pool


def main(
    *, epochs: int = 8, images: int = 16_000, seed: int = 0, workers: int = 2,
    work: Path = Path("build/demo_backbone"), output: Path = MODEL_FOLDER,
) -> None:  # fmt: skip
    """Draws the pictures, trains on them, and saves config.json and model.safetensors for timm's `local-dir:`.

    Parameters
    ----------
    epochs
        Passes over the pictures.
    images
        Pictures to draw.
    seed
        Of the pictures, the first weights and the order of training.
    workers
        Processes that draw.
    work
        Folder for the drawn pictures.
    output
        Folder of the finished model.
    """
    pixels, labels = load_or_draw(work, images, seed, workers)
    model = train(pixels, labels, epochs, seed)
    model = model.to(memory_format=torch.contiguous_format)  # safetensors takes no other
    save_for_hf(model, str(output), model_args=MODEL_ARGS, safe_serialization=True)
    (output / "model.safetensors").chmod(0o644)  # safetensors writes files for the owner only


def load_or_draw(folder: Path, num_images: int, seed: int, workers: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures (N, S, S, 3) uint8 and the class (N,) of the prominent thing in each, from the folder or newly drawn."""
    file = folder / f"things-{num_images}-{seed}.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, num_images, CHUNK)
        with ProcessPoolExecutor(workers) as pool:
            chunks = list(pool.map(partial(_draw_chunk, num_images=num_images, seed=seed), starts))
        pixels, labels = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        partial_file = file.with_suffix(".partial.npz")
        np.savez(partial_file, pixels=pixels, labels=labels)
        partial_file.replace(file)
    with np.load(file) as data:
        return data["pixels"], data["labels"]


def _draw_chunk(start: int, num_images: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    indices = range(start, min(start + CHUNK, num_images))
    drawn = [_draw(seed, index) for index in indices]
    return np.stack([image for image, _ in drawn]), np.array([label for _, label in drawn])


def _draw(seed: int, index: int) -> tuple[NDArray[np.uint8], int]:
    """One prominent thing anywhere, sometimes with smaller ones."""
    rng = seeded_generator(SeedSpace.BACKBONE, seed, index)
    label = int(rng.integers(len(SUBJECTS)))
    others = int(rng.integers(1, 3)) if rng.random() < CLUTTER_SHARE else 0
    subjects = [SUBJECTS[label], *(SUBJECTS[int(rng.integers(len(SUBJECTS)))] for _ in range(others))]
    sizes = [rng.uniform(0.4, 0.95), *rng.uniform(0.1, 0.25, others)]
    scene = compose(rng, subjects, sizes, str(rng.choice(list(PAINTERS))))
    image = Image.fromarray(scene.image).resize((STORED_SIDE, STORED_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image), label


def train(pixels: NDArray[np.uint8], labels: NDArray[np.int64], epochs: int, seed: int) -> nn.Module:
    """Plain softmax classification; prints the accuracy on the pictures kept apart."""
    torch.manual_seed(seed)
    model = timm.create_model(
        ARCHITECTURE, num_classes=len(CLASS_NAMES), pretrained_cfg_overlay=PRETRAINED_CFG, **MODEL_ARGS
    )
    model = model.to(memory_format=torch.channels_last)
    kept = np.arange(len(labels)) % VALIDATION_SHARE == 0
    training, validation = np.flatnonzero(~kept), np.flatnonzero(kept)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    num_steps = epochs * (len(training) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=num_steps, pct_start=0.1)
    for epoch in range(epochs):
        started, order = time.monotonic(), np.random.default_rng([seed, epoch]).permutation(training)
        model.train()
        for rows in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH):
            loss = _loss(model, pixels[rows], labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        accuracy = _accuracy(model, pixels[validation], labels[validation])
        print(f"epoch {epoch + 1}/{epochs}  accuracy {accuracy:.1f} %  {time.monotonic() - started:.0f} s")
    return model


def _loss(model: nn.Module, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Tensor:
    """Cross-entropy of one batch, newly augmented."""
    images = _augment(_normalise(pixels))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images)
    return F.cross_entropy(logits.float(), torch.from_numpy(labels), label_smoothing=LABEL_SMOOTHING)


def _normalise(images: NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 with the mean and deviation that timm records for the network."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return (pixels - mean) / std


def _augment(images: Tensor) -> Tensor:
    """Random crops (55 to 100 % of each side, so scale and aspect vary), mirrors, light and tint."""
    count = len(images)
    scale = 0.55 + 0.45 * torch.rand(count, 2)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = scale[:, 0] * torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = scale[:, 1]
    theta[:, :, 2] = (torch.rand(count, 2) * 2 - 1) * (1 - scale)
    grid = F.affine_grid(theta, [count, 3, SIDE, SIDE], align_corners=False)
    cropped = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    jittered = cropped * (0.7 + 0.6 * torch.rand(count, 1, 1, 1)) + 0.2 * torch.randn(count, 3, 1, 1)
    return jittered.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _accuracy(model: nn.Module, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Percent of pictures whose class is named right."""
    model.eval()
    right = 0
    for part in range(math.ceil(len(labels) / BATCH)):
        rows = slice(part * BATCH, (part + 1) * BATCH)
        images = F.interpolate(_normalise(pixels[rows]), (SIDE, SIDE), mode="bilinear", antialias=True)
        right += int((model(images).argmax(1).numpy() == labels[rows]).sum())
    return 100 * right / len(labels)


if __name__ == "__main__":
    cyclopts.run(main)
