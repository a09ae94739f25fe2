"""Draws captioned pictures as found on the web: wide scenes, cut-outs, close-ups; of demo classes and of others."""

import json
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from tools.pretraining_classes import SUBJECTS as OTHER_SUBJECTS
from tools.web_captions import write_caption
from trainer.data.drawing.catalogue import SUBJECTS
from trainer.data.drawing.composition import (
    Box,
    Scene,
    SceneObject,
    compose,
    object_sizes,
    random_place,
    random_subject,
)
from trainer.data.seeds import SeedSpace, seeded_generator

STORED_SIDE = 144  # pixels; half as much again as the model's 96, so that random crops stay sharp
VIEWS_PER_SCENE = 2  # the scene itself and a cut-out of it: drawing is the slow part
DEMO_SHARE = 0.7  # of the things are of the demo's classes
WEB_TAIL = 2.0  # the web shows every class often enough; no long tail as in the demo data
ASPECTS = (1.0, 0.75, 1.34, 0.5, 2.0)  # height / width of the buckets; the first takes any picture, squashed
SQUASH_SHARE = 0.6  # of the pictures are squashed to a square, as the method's global view is
CHUNK = 64  # scenes per task of the process pool
ALL_NAMES = tuple(subject.name for subject in (*SUBJECTS, *OTHER_SUBJECTS))

COLOR_NAMES: dict[str, tuple[int, int, int]] = {
    "red": (190, 40, 40), "orange": (225, 135, 50), "yellow": (225, 205, 70), "green": (65, 140, 65),
    "blue": (55, 85, 180), "purple": (120, 60, 160), "pink": (225, 130, 180), "brown": (115, 75, 50),
    "black": (40, 40, 42), "white": (225, 225, 220), "grey": (135, 135, 138), "turquoise": (70, 170, 165),
}  # fmt: skip


@dataclass(frozen=True)
class WebImages:
    """N pictures: images (N, S, S, 3) uint8 squashed to squares, the aspect bucket of each (N,) int64, N captions."""

    images: NDArray[np.uint8]
    buckets: NDArray[np.int64]
    captions: list[str]


def load_or_draw(folder: Path, num_scenes: int, seed: int, workers: int) -> WebImages:
    """Opens the pictures in the folder, drawing them first when they are not there."""
    name = f"web-{num_scenes}-{seed}"
    pixels, record = folder / f"{name}.npy", folder / f"{name}.json"
    if not record.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _draw_all(pixels, record, num_scenes, seed, workers)
    entries = json.loads(record.read_text())
    buckets = np.array([bucket for bucket, _ in entries], dtype=np.int64)
    return WebImages(np.load(pixels, mmap_mode="r"), buckets, [caption for _, caption in entries])


def _draw_all(pixels: Path, record: Path, num_scenes: int, seed: int, workers: int) -> None:
    shape = (num_scenes * VIEWS_PER_SCENE, STORED_SIDE, STORED_SIDE, 3)
    images = np.lib.format.open_memmap(pixels, mode="w+", dtype=np.uint8, shape=shape)
    entries: list[tuple[int, str]] = []
    with ProcessPoolExecutor(workers) as pool:
        for views in pool.map(partial(_draw_chunk, num_scenes=num_scenes, seed=seed), range(0, num_scenes, CHUNK)):
            for image, bucket, caption in views:
                images[len(entries)] = image
                entries.append((bucket, caption))
    images.flush()
    record.write_text(json.dumps(entries))


def _draw_chunk(start: int, num_scenes: int, seed: int) -> list[tuple[NDArray[np.uint8], int, str]]:
    views = []
    for index in range(start, min(start + CHUNK, num_scenes)):
        rng = seeded_generator(SeedSpace.CLIP_WEB, seed, index)
        scene = _web_scene(rng)
        height, width = scene.image.shape[:2]
        for crop in ((0, 0, width, height), _cut_out(rng, scene)):
            views.append(_view(rng, scene, crop))
    return views


def _web_scene(rng: Generator) -> Scene:
    """A scene of one to six things; single things may fill the picture."""
    count = int(rng.choice([1, 1, 2, 2, 3, 4, 5, 6]))
    place = random_place(rng, SUBJECTS)
    subjects = []
    for _ in range(count):
        catalogue = SUBJECTS if rng.random() < DEMO_SHARE else OTHER_SUBJECTS
        subjects.append(random_subject(rng, catalogue, place, WEB_TAIL))
    sizes = object_sizes(rng, count)
    if count == 1:
        sizes = [rng.uniform(0.15, 0.95)]
    return compose(rng, subjects, sizes, place)


def _cut_out(rng: Generator, scene: Scene) -> Box:
    """A part of the scene: mostly one thing with some margin, else anywhere."""
    height, width = scene.image.shape[:2]
    if not scene.objects or rng.random() < 0.2:
        share = rng.uniform(0.5, 0.9, 2)
        w, h = int(width * share[0]), int(height * share[1])
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        return (x, y, x + w, y + h)
    x0, y0, x1, y1 = scene.objects[int(rng.integers(len(scene.objects)))].box
    left, top, right, bottom = rng.uniform(0.0, 0.24, 4) * max(width, height)  # about the method's 12.5 % widening
    return (
        max(int(x0 - left), 0),
        max(int(y0 - top), 0),
        min(int(x1 + right + 1), width),
        min(int(y1 + bottom + 1), height),
    )


def _view(rng: Generator, scene: Scene, crop: Box) -> tuple[NDArray[np.uint8], int, str]:
    """The crop squashed to the stored square, its aspect bucket and a caption."""
    x0, y0, x1, y1 = crop
    image = Image.fromarray(scene.image).crop(crop).resize((STORED_SIDE, STORED_SIDE), Image.Resampling.BICUBIC)
    aspect = (y1 - y0) / (x1 - x0)
    bucket = 0 if rng.random() < SQUASH_SHARE else int(np.argmin([abs(np.log(aspect / known)) for known in ASPECTS]))
    seen = sorted(((_prominence(thing, crop), thing) for thing in scene.objects), key=lambda pair: -pair[0])
    names = [thing.name for prominence, thing in seen if prominence > 0]
    color = _color_name(scene, seen[0][1]) if names else ""
    return np.asarray(image), bucket, write_caption(rng, names, color, scene.place, ALL_NAMES)


def _prominence(thing: SceneObject, crop: Box) -> float:
    """Area x centrality of what the crop shows of a thing, 0 when the crop cuts most of it away."""
    x0, y0, x1, y1 = thing.box
    a0, b0, a1, b1 = max(x0, crop[0]), max(y0, crop[1]), min(x1, crop[2]), min(y1, crop[3])
    area = max(a1 - a0, 0) * max(b1 - b0, 0)
    if area < 0.4 * (x1 - x0) * (y1 - y0):
        return 0.0
    width, height = crop[2] - crop[0], crop[3] - crop[1]
    off_x, off_y = ((a0 + a1) / 2 - crop[0]) / width - 0.5, ((b0 + b1) / 2 - crop[1]) / height - 0.5
    centrality = 1 - 0.7 * min(math.hypot(off_x, off_y) * 1.4, 1.0)
    return area / (width * height) * centrality * thing.visible_fraction


def _color_name(scene: Scene, thing: SceneObject) -> str:
    """The nearest colour word to the middle of the thing."""
    x0, y0, x1, y1 = thing.box
    dx, dy = (x1 - x0) // 4, (y1 - y0) // 4
    middle = np.median(scene.image[y0 + dy : y1 - dy, x0 + dx : x1 - dx].reshape(-1, 3), axis=0)
    return min(COLOR_NAMES, key=lambda name: float(np.square(middle - COLOR_NAMES[name]).sum()))
