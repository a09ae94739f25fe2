"""Trains the small CLIP that `--model demo` serves, on drawn pictures with web-like captions.

python -m tools.train_demo_clip               # about half an hour on two CPU cores, pictures included
python -m tools.train_demo_clip --evaluate    # what the committed weights can and cannot do
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tools import demo_clip_model
from tools.demo_clip_evaluation import evaluate_and_print
from tools.web_images import ASPECTS, WebImages, load_or_draw

BATCH = 64  # small, for more steps: some thousands of steps are all that half an hour allows
LEARNING_RATE = 1.5e-3  # AdamW
WEIGHT_DECAY = 0.1
WARMUP_STEPS = 300
MAX_LOGIT_SCALE = math.log(100)  # OpenAI CLIP's own limit on the learned temperature
# (share of the epochs, input side): most is learned on small pictures, which are more than twice as fast.
SIZE_STAGES = ((0.6, 64), (0.4, 96))


@dataclass(frozen=True)
class Batch:
    """Normalised pictures (B, 3, H, W) float32 of one shape, and their captions' tokens (B, L) int64."""

    images: Tensor
    tokens: Tensor


def main(
    *, evaluate: bool = False, epochs: int = 10, scenes: int = 36_000, seed: int = 0, workers: int = 2,
    work: Path = Path("build/demo_clip"), output: Path = demo_clip_model.MODEL_FOLDER,
) -> None:  # fmt: skip
    """Trains and saves the demo CLIP, or evaluates the saved one.

    Parameters
    ----------
    evaluate
        Only print how well the saved model labels demo pictures.
    epochs
        Passes over the web pictures.
    scenes
        Scenes to draw; each gives two pictures.
    seed
        Of the pictures, the first weights and the order of training.
    workers
        Processes that draw.
    work
        Folder for the drawn pictures and for the state that an interrupted training goes on from.
    output
        Folder of the finished model.
    """
    if not evaluate:
        train(load_or_draw(work, scenes, seed, workers), epochs, seed, work, output)
    evaluate_and_print(demo_clip_model.load(output))


def train(data: WebImages, epochs: int, seed: int, work: Path, output: Path) -> None:
    """One pass of the loop is one epoch; all its state is saved after each, and the model so far is saved as usable."""
    torch.manual_seed(seed)
    model = demo_clip_model.build().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=LEARNING_RATE, betas=(0.9, 0.98), eps=1e-6, fused=True)
    tokens = demo_clip_model.tokenizer()(data.captions)
    steps_per_epoch = len(data.captions) // BATCH
    checkpoint = work / f"checkpoint-{len(data.captions)}-{epochs}-{seed}.pt"
    first = _resume(checkpoint, model, optimizer)
    for epoch in range(first, epochs):
        started, losses = time.monotonic(), []
        side = _side(epoch / epochs)
        for step, batch in enumerate(_batches(data, tokens, side, np.random.default_rng([seed, epoch]))):
            progress = (epoch * steps_per_epoch + step, epochs * steps_per_epoch)
            losses.append(_train_step(model, optimizer, batch, *progress))
        note = {"seed": str(seed), "epochs": f"{epoch + 1} of {epochs}", "command": "python -m tools.train_demo_clip"}
        demo_clip_model.save(model, output, note)
        partial = checkpoint.with_suffix(".partial")
        torch.save({"epoch": epoch + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, partial)
        partial.replace(checkpoint)
        scale, seconds = model.logit_scale.exp().item(), time.monotonic() - started
        print(f"epoch {epoch + 1}/{epochs}  {side} px  loss {np.mean(losses):.3f}  scale {scale:.1f}  {seconds:.0f} s")


def _parameter_groups(model: Any) -> list[dict[str, Any]]:
    """Weight decay on matrices only: not on gains, biases, the temperature, nor on rarely seen token embeddings."""
    named = list(model.named_parameters())
    plain = [p for name, p in named if p.ndim < 2 or "embedding" in name]
    decayed = [p for name, p in named if not (p.ndim < 2 or "embedding" in name)]
    return [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": WEIGHT_DECAY}]


def _resume(checkpoint: Path, model: Any, optimizer: torch.optim.Optimizer) -> int:
    """The number of finished epochs, with model and optimizer as they were after them."""
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])


def _side(progress: float) -> int:
    """The input side in pixels at this share of the training."""
    reached = 0.0
    for share, side in SIZE_STAGES:
        reached += share
        if progress < reached - 1e-9:
            return side
    return SIZE_STAGES[-1][1]


def _batches(data: WebImages, tokens: Tensor, side: int, rng: np.random.Generator) -> Iterator[Batch]:
    """All pictures once, in batches of one aspect each, in random order."""
    chunks = []
    for bucket in range(len(ASPECTS)):
        members = rng.permutation(np.flatnonzero(data.buckets == bucket))
        chunks += [(bucket, members[i : i + BATCH]) for i in range(0, len(members) - BATCH + 1, BATCH)]
    for index in rng.permutation(len(chunks)):
        bucket, members = chunks[index]
        rows = np.sort(members)
        images = _augment(demo_clip_model.normalise(data.images[rows]), *_shape(side, ASPECTS[bucket], rng))
        yield Batch(images, tokens[torch.from_numpy(rows)])


def _shape(side: int, aspect: float, rng: np.random.Generator) -> tuple[int, int]:
    """Height and width near the bucket's aspect (height / width), the longer one being `side`."""
    if aspect == 1.0:
        return side, side
    jittered = aspect * rng.uniform(0.85, 1.18)
    height, width = (side, side / jittered) if jittered > 1 else (side * jittered, side)
    return max(round(height), demo_clip_model.STRIDE), max(round(width), demo_clip_model.STRIDE)


def _augment(images: Tensor, height: int, width: int) -> Tensor:
    """Random crops (75 to 100 % of each side) and mirrors, resized to the shape; random contrast, light and tint."""
    if max(height, width) * 2 <= images.shape[-1]:
        images = F.avg_pool2d(images, 2)  # against aliasing
    count = len(images)
    scale = 0.75 + 0.25 * torch.rand(count, 2)
    shift = (torch.rand(count, 2) * 2 - 1) * (1 - scale)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale[:, 0] * mirror, scale[:, 1], shift
    grid = F.affine_grid(theta, [count, 3, height, width], align_corners=False)
    cropped = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    contrast, light, tint = torch.rand(count, 1, 1, 1), torch.randn(count, 1, 1, 1), torch.randn(count, 3, 1, 1)
    jittered = cropped * (0.75 + 0.5 * contrast) + 0.15 * light + 0.1 * tint
    return jittered.contiguous(memory_format=torch.channels_last)


def _train_step(model: Any, optimizer: torch.optim.Optimizer, batch: Batch, step: int, num_steps: int) -> float:
    """One step of CLIP's symmetric contrastive loss, with warm-up and a cosine to zero."""
    for group in optimizer.param_groups:
        group["lr"] = LEARNING_RATE * min(step / WARMUP_STEPS, 0.5 * (1 + math.cos(math.pi * step / num_steps)))
    with torch.autocast("cpu", dtype=torch.bfloat16):  # 1.7 to 2.2 times as fast on CPUs that have it
        images, texts = (
            demo_clip_model.encode_images(model, batch.images),
            demo_clip_model.encode_texts(model, batch.tokens),
        )
    logits = model.logit_scale.exp() * images @ texts.T
    target = torch.arange(len(logits))
    loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
    return loss.item()


if __name__ == "__main__":
    cyclopts.run(main)
