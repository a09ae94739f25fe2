"""Measures what the demo CLIP can do, and its two faults, on pictures of the demo data set."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score

from tools import demo_clip_model
from trainer.data.drawing.catalogue import CLASS_NAMES
from trainer.data.drawing.composition import Box, Scene
from trainer.data.scenes import draw_scene

NUM_SCENES = 2000
FIRST_SCENE = 0  # the demo's own training pictures
PROMPT = "a photo of the {}"  # the paper's
VIEW_SIDE = 128  # pixels; above the native 96, crops of small things are told better (label mAP 94.1 instead of 91.8)
WIDENING = 0.125  # of the picture's longer side, on each side of a box
LOCAL_WEIGHT = 0.8  # final label = 0.2 global + 0.8 local
ENTROPY_GATE = 2.0  # nats; flatter answers say nothing about a class's bias
SMALL_AREA = 0.05  # of the picture
Probabilities = NDArray[np.float32]


@torch.no_grad()
def evaluate_and_print(model: Any, num_scenes: int = NUM_SCENES) -> None:
    """Prints label quality of the global view, the class bias, and what crops around the true boxes add."""
    model.eval()
    scenes = [draw_scene(FIRST_SCENE + index) for index in range(num_scenes)]
    texts = demo_clip_model.encode_texts(
        model, demo_clip_model.tokenizer()([PROMPT.format(name) for name in CLASS_NAMES])
    )
    targets = np.array(
        [[any(thing.name == name for thing in scene.objects) for name in CLASS_NAMES] for scene in scenes]
    )
    whole = np.stack([_score(model, texts, scene.image, None) for scene in scenes])
    local = [[_score(model, texts, scene.image, thing.box) for thing in scene.objects] for scene in scenes]
    best = np.stack([np.max(rows, axis=0) if rows else whole[i] for i, rows in enumerate(local)])
    final = whole + np.float32(LOCAL_WEIGHT) * (best - whole)
    scale = model.logit_scale.exp().item()
    print(f"scenes {num_scenes}  classes an image {targets.sum(1).mean():.2f}  temperature 1/{scale:.1f}")
    print(f"global view: mAP {_mean_ap(targets, whole):.1f}  top-1 is a true class {_top_1(targets, whole):.1f} %")
    print(f"0.2 global + 0.8 crops: mAP {_mean_ap(targets, final):.1f}")
    _print_bias(whole, targets)
    _print_recall(scenes, whole, local)


def _score(model: Any, texts: torch.Tensor, image: NDArray[np.uint8], box: Box | None) -> Probabilities:
    """(C,) probabilities of the squashed picture, or of the widened box with its longer side at the view size."""
    picture = Image.fromarray(image)
    shape = (VIEW_SIDE, VIEW_SIDE)
    if box is not None:
        picture = picture.crop(_widened(box, picture.width, picture.height))
        scale = VIEW_SIDE / max(picture.size)
        width, height = (max(round(side * scale), demo_clip_model.STRIDE) for side in picture.size)
        shape = (width, height)
    pixels = demo_clip_model.normalise(np.asarray(picture.resize(shape, Image.Resampling.BICUBIC))[None])
    logits = model.logit_scale.exp() * demo_clip_model.encode_images(model, pixels) @ texts.T
    probabilities: Probabilities = logits.softmax(dim=-1)[0].numpy()
    return probabilities


def _widened(box: Box, width: int, height: int) -> Box:
    """The box with its margin, cut at the picture's edge."""
    margin = round(WIDENING * max(width, height))
    x0, y0, x1, y1 = box
    return (max(x0 - margin, 0), max(y0 - margin, 0), min(x1 + margin, width), min(y1 + margin, height))


def _mean_ap(targets: NDArray[np.bool_], scores: Probabilities) -> float:
    columns = [c for c in range(targets.shape[1]) if targets[:, c].any()]
    return 100 * float(np.mean([average_precision_score(targets[:, c], scores[:, c]) for c in columns]))


def _top_1(targets: NDArray[np.bool_], scores: Probabilities) -> float:
    return 100 * float(targets[np.arange(len(targets)), scores.argmax(1)].mean())


def _print_bias(whole: Probabilities, targets: NDArray[np.bool_]) -> None:
    """A class's bias: its mean probability where it is the first choice of a sure enough answer."""
    entropy = -(whole * np.log(whole + 1e-9)).sum(1)
    sure, first = entropy <= ENTROPY_GATE, whole.argmax(1)
    rows = []
    for index, name in enumerate(CLASS_NAMES):
        chosen = sure & (first == index)
        rows.append((whole[chosen, index].mean() if chosen.any() else np.nan, int(chosen.sum()), name, index))
    means = np.array([row[0] for row in rows])
    spread = np.nanmin(means) / np.nanmax(means)
    print(f"class bias: mean {np.nanmean(means):.2f}  lowest / highest {spread:.2f}  sure answers {sure.mean():.2f}")
    for mean, count, name, index in sorted(rows):
        ap = average_precision_score(targets[:, index], whole[:, index])
        print(f"  {name:8s} {mean:.2f} over {count:4d} pictures, in {targets[:, index].sum():4d}, AP {100 * ap:.0f}")


def _print_recall(scenes: list[Scene], whole: Probabilities, local: list[list[Probabilities]]) -> None:
    """Found: probability >= 0.5, or ranked within the number of true classes (for a crop: the first)."""
    found: dict[str, list[tuple[bool, bool]]] = {"under 5 %": [], "5 to 15 %": [], "over 15 %": []}
    for scene, row, crops in zip(scenes, whole, local, strict=True):
        height, width = scene.image.shape[:2]
        names = {thing.name for thing in scene.objects}
        leaders = set(np.argsort(-row)[: len(names)].tolist())
        for thing, crop in zip(scene.objects, crops, strict=True):
            c, (x0, y0, x1, y1) = CLASS_NAMES.index(thing.name), thing.box
            area = (x1 - x0) * (y1 - y0) / (width * height)
            group = "under 5 %" if area < SMALL_AREA else "5 to 15 %" if area < 3 * SMALL_AREA else "over 15 %"
            found[group].append((bool(row[c] >= 0.5 or c in leaders), bool(crop[c] >= 0.5 or crop.argmax() == c)))
    for group, pairs in found.items():
        by_whole, by_crop = np.mean(pairs, axis=0) * 100
        print(f"{len(pairs):4d} objects of {group}: the global view finds {by_whole:.0f} %, a crop {by_crop:.0f} %")
