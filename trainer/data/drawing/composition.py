"""Composes things and a place into a scene whose exact contents are known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trainer.data.drawing.backgrounds import PAINTERS, paint_background
from trainer.data.drawing.catalogue import Subject
from trainer.data.drawing.pen import Pen, rasterize
from trainer.data.drawing.photo import light, photograph

Box = tuple[int, int, int, int]  # x0, y0, x1, y1, half-open, pixels

SIDE_RANGE = (150, 260)  # pixels of the shorter and longer side at most, so that files stay small and drawing fast
# Odds of the first class against the last; places add to it: as measured, person is 8 times as frequent as bus.
LONG_TAIL = 4.0
NATURAL_SHARE = 0.75  # of the objects suit the place; the others are anywhere, so that the place never tells the class
MIN_VISIBLE = 0.3  # an object that is hidden more than this would be a guess even to a person: it is left out


class SceneObject(NamedTuple):
    """One drawn thing: its class, the tight box of what can be seen, and the share of it that can be seen."""

    name: str
    box: Box
    visible_fraction: float


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3) uint8 and what is in it, farthest first."""

    image: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    place: str


class Placed(NamedTuple):
    """A thing before it is painted: (h, w, 4) premultiplied uint8 and its top left corner in the picture."""

    name: str
    sprite: NDArray[np.uint8]
    x: int
    y: int
    flies: bool


def random_place(rng: Generator, catalogue: Sequence[Subject]) -> str:
    """A place that suits a subject drawn by frequency, or sometimes any place."""
    if rng.random() > NATURAL_SHARE:
        return str(rng.choice(list(PAINTERS)))
    return str(rng.choice(random_subject(rng, catalogue, "").places))


def random_subject(rng: Generator, catalogue: Sequence[Subject], place: str, tail: float = LONG_TAIL) -> Subject:
    """A subject by its frequency (the first is `tail` times as likely as the last); mostly one that suits the place."""
    weights = tail ** (-np.arange(len(catalogue)) / max(len(catalogue) - 1, 1))
    suits = np.array([place in subject.places for subject in catalogue])
    if suits.any() and rng.random() < NATURAL_SHARE:
        weights = weights * suits
    return catalogue[int(rng.choice(len(catalogue), p=weights / weights.sum()))]


def object_sizes(rng: Generator, count: int, smallest: float = 0.09) -> list[float]:
    """Longer sides as a share of the picture's shorter side: one prominent thing, the others down to `smallest`."""
    first = rng.uniform(0.35, 0.8)
    return [first, *(math.exp(rng.uniform(math.log(smallest), math.log(0.5))) for _ in range(count - 1))]


def compose(rng: Generator, subjects: Sequence[Subject], sizes: Sequence[float], place: str) -> Scene:
    """Draws the subjects at these sizes (shares of the shorter side) in the place, near ones over far ones."""
    width, height = random_shape(rng)
    pixels, horizon = paint_background(place, width, height, rng)
    placed: list[Placed] = []
    for subject, size in zip(subjects, sizes, strict=True):
        sprite = draw_subject(rng, subject, size * min(width, height))
        x, y = _find_spot(rng, subject, sprite.shape[1], sprite.shape[0], width, height, horizon, placed)
        placed.append(Placed(subject.name, sprite, x, y, subject.flies))
    placed.sort(key=lambda thing: thing.y + thing.sprite.shape[0] + rng.normal(0, 12))  # what stands lower is nearer
    visible = drop_hidden(placed, width, height)
    for thing, _ in visible:
        _paint(pixels, thing, rng)
    return Scene(photograph(pixels, rng), tuple(entry for _, entry in visible), place)


def random_shape(rng: Generator) -> tuple[int, int]:
    """Width and height in pixels: landscape, portrait or nearly square."""
    long, ratio = rng.integers(200, SIDE_RANGE[1] + 1), rng.uniform(0.72, 1.0)
    short = max(int(long * ratio), SIDE_RANGE[0])
    return (int(long), short) if rng.random() < 0.65 else (short, int(long))


def draw_subject(rng: Generator, subject: Subject, size: float) -> NDArray[np.uint8]:
    """One random picture of the subject, its longer side `size` pixels: (h, w, 4) premultiplied uint8."""
    pen = Pen()
    subject.draw(pen, rng)
    tilt = rng.normal(0, 14 if subject.flies else 4)
    stretch, lean = rng.uniform(0.85, 1.18), rng.normal(0, 0.06)
    return rasterize(pen, max(size, 8.0), angle=tilt, flip=rng.random() < 0.5, stretch=stretch, lean=lean)


def _find_spot(
    rng: Generator, subject: Subject, w: int, h: int, width: int, height: int, horizon: float, placed: list[Placed]
) -> tuple[int, int]:
    """The top left corner that hides least of a few random tries; things may be cut by the picture's edge."""
    best, best_cost = (0, 0), math.inf
    natural = rng.random() < NATURAL_SHARE
    for _ in range(6):
        x = int(rng.uniform(-0.15 * w, width - 0.85 * w))
        bottom = rng.uniform(min(horizon * height + 0.3 * h, height), height * 1.04)
        y = int(bottom - h) if natural and not subject.flies else int(rng.uniform(-0.1 * h, max(height - 0.9 * h, 0)))
        y = max(min(y, int(height - 0.8 * h)), int(-0.15 * h))
        cost = rng.uniform(0, 0.15) + sum(_overlap(x, y, w, h, other) for other in placed)
        if cost < best_cost:
            best, best_cost = (x, y), cost
    return best


def _overlap(x: int, y: int, w: int, h: int, other: Placed) -> float:
    """The common area of two boxes, as a share of the smaller box."""
    other_h, other_w = other.sprite.shape[:2]
    common_w = min(x + w, other.x + other_w) - max(x, other.x)
    common_h = min(y + h, other.y + other_h) - max(y, other.y)
    return float(max(common_w, 0) * max(common_h, 0) / min(w * h, other_w * other_h))


def drop_hidden(placed: list[Placed], width: int, height: int) -> list[tuple[Placed, SceneObject]]:
    """Leaves out what is mostly covered or outside the picture; measures what the others still show."""
    free = np.ones((height, width), dtype=bool)
    kept: list[tuple[Placed, SceneObject]] = []
    for thing in reversed(placed):  # nearest first: what it covers is lost to those behind
        window, part = _windows(thing, width, height)
        solid = thing.sprite[part][..., 3] >= 128
        seen = solid & free[window]
        fraction = float(seen.sum() / max((thing.sprite[..., 3] >= 128).sum(), 1))
        if fraction < MIN_VISIBLE or seen.sum() < 20:
            continue
        free[window] &= ~solid
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        x, y = window[1].start, window[0].start
        box = (int(x + columns[0]), int(y + rows[0]), int(x + columns[-1] + 1), int(y + rows[-1] + 1))
        kept.append((thing, SceneObject(thing.name, box, fraction)))
    return kept[::-1]


def _windows(thing: Placed, width: int, height: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of the picture that the thing's rectangle covers, and the part of its sprite that lies inside."""
    h, w = thing.sprite.shape[:2]
    x0, y0, x1, y1 = max(thing.x, 0), max(thing.y, 0), min(thing.x + w, width), min(thing.y + h, height)
    inside = (slice(y0 - thing.y, y1 - thing.y), slice(x0 - thing.x, x1 - thing.x))
    return (slice(y0, y1), slice(x0, x1)), inside


def _paint(pixels: NDArray[np.float32], thing: Placed, rng: Generator) -> None:
    """Blends the lit thing, and the soft shadow at its foot, into the picture."""
    height, width = pixels.shape[:2]
    window, part = _windows(thing, width, height)
    if not thing.flies:
        _cast_shadow(pixels, thing, rng.uniform(0.15, 0.5))
    lit = light(thing.sprite, rng)[part]
    pixels[window] = pixels[window] * (1 - lit[..., 3:]) + lit[..., :3]


def _cast_shadow(pixels: NDArray[np.float32], thing: Placed, strength: float) -> None:
    height, width = pixels.shape[:2]
    h, w = thing.sprite.shape[:2]
    ry = max(0.06 * w, 2.0)
    y0, y1 = max(int(thing.y + h - 2 * ry), 0), min(int(thing.y + h + 2 * ry), height)
    x0, x1 = max(thing.x - w // 5, 0), min(thing.x + w + w // 5, width)
    if y0 >= y1 or x0 >= x1:
        return
    dy = (np.arange(y0, y1, dtype=np.float32) - (thing.y + h - ry * 0.3)) / ry
    dx = (np.arange(x0, x1, dtype=np.float32) - (thing.x + w / 2)) / (0.5 * w)
    shadow = np.exp(-(dy**2))[:, None] * np.exp(-(dx**4))
    pixels[y0:y1, x0:x1] *= 1 - np.float32(strength) * shadow[..., None]
