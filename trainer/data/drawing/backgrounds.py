"""Paints the places behind the things: street, field, water, sky, room, tabletop, studio, and plain clutter."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from trainer.data.drawing.colors import LEAF, WHITE, WOOD, Color, mix, pale_color, pick, random_color, shade

Canvas = ImageDraw.ImageDraw


def paint_background(place: str, width: int, height: int, rng: Generator) -> tuple[NDArray[np.float32], float]:
    """(H, W, 3) float32 in [0, 255], and the height of the horizon as a share of H (0 = top)."""
    if place not in PAINTERS:
        raise ValueError(f"unknown place {place!r}; known places are {', '.join(PAINTERS)}")
    image = Image.new("RGB", (width, height))
    horizon = PAINTERS[place](ImageDraw.Draw(image), width, height, rng)
    _scatter_distractors(ImageDraw.Draw(image), width, height, rng)
    blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 1.8)))  # out of focus, as behind a photo's subject
    pixels = np.asarray(blurred, dtype=np.float32)
    return pixels + _cloudiness(width, height, rng, rng.uniform(2, 14)), horizon


def _street(draw: Canvas, w: int, h: int, rng: Generator) -> float:
    horizon = rng.uniform(0.4, 0.65)
    _sky(draw, w, h * horizon, rng)
    if rng.random() < 0.7:
        _skyline(draw, w, h * horizon, rng)
    _ground(draw, w, h, horizon, pick(rng, ((120, 120, 124), (150, 144, 136), (96, 98, 104)), 0.15))
    if rng.random() < 0.6:
        y = h * rng.uniform(horizon + 0.12, 0.95)
        for x in range(-10, w, 44):
            draw.polygon([(x, y), (x + 24, y), (x + 21, y + 4), (x - 3, y + 4)], fill=_ink(WHITE))
    if rng.random() < 0.5:
        draw.rectangle([0, h * horizon, w, h * (horizon + 0.06)], fill=_ink(shade(random_color(rng), 0.8)))
    return horizon


def _field(draw: Canvas, w: int, h: int, rng: Generator) -> float:
    horizon = rng.uniform(0.3, 0.65)
    _sky(draw, w, h * horizon, rng)
    _hills(draw, w, h * horizon, rng)
    ground = pick(rng, (*LEAF[:3], (196, 176, 110), (232, 234, 238), (150, 116, 80)), 0.1)
    _ground(draw, w, h, horizon, ground)
    for _ in range(int(rng.integers(0, 50))):
        x, y = rng.uniform(0, w), rng.uniform(h * horizon, h)
        draw.line(
            [(x, y), (x + rng.uniform(-3, 3), y - rng.uniform(2, 8))], fill=_ink(shade(ground, rng.uniform(0.6, 1.4)))
        )
    return horizon


def _water(draw: Canvas, w: int, h: int, rng: Generator) -> float:
    horizon = rng.uniform(0.3, 0.6)
    _sky(draw, w, h * horizon, rng)
    if rng.random() < 0.6:
        _hills(draw, w, h * horizon, rng)
    sea = pick(rng, ((50, 110, 160), (70, 150, 170), (90, 110, 130), (44, 72, 110)), 0.1)
    _ground(draw, w, h, horizon, sea)
    for _ in range(40):
        y = h * rng.uniform(horizon, 1.0)
        x, half = rng.uniform(0, w), 3 + 14 * (y / h - horizon)
        draw.line([(x - half, y), (x + half, y)], fill=_ink(shade(sea, rng.uniform(0.85, 1.5))))
    return horizon


def _open_sky(draw: Canvas, w: int, h: int, rng: Generator) -> float:
    _sky(draw, w, h, rng)
    if rng.random() < 0.5:
        _hills(draw, w, h * 1.02, rng)
    return 0.9


def _room(draw: Canvas, w: int, h: int, rng: Generator) -> float:
    horizon = rng.uniform(0.5, 0.75)
    wall = pale_color(rng)
    _gradient(draw, w, 0, h * horizon, shade(wall, 0.9), wall)
    _wallpaper(draw, w, h * horizon, wall, rng)
    floor = pick(rng, WOOD, 0.4)
    _gradient(draw, w, h * horizon, h, shade(floor, 0.8), shade(floor, 1.15))
    for i in range(int(rng.integers(0, 9))):
        x = w * (i + 0.5) / 8
        draw.line([(x, h * horizon), (w / 2 + (x - w / 2) * 2, h)], fill=_ink(shade(floor, 0.75)))
    draw.rectangle([0, h * horizon - 3, w, h * horizon + 2], fill=_ink(shade(wall, rng.choice([0.6, 1.4]))))
    for _ in range(int(rng.integers(0, 3))):
        x, y, a, b = rng.uniform(0, w), rng.uniform(0, h * horizon * 0.6), rng.uniform(20, 60), rng.uniform(20, 60)
        draw.rectangle([x, y, x + a, y + b], fill=_ink(random_color(rng)), outline=_ink(pick(rng, WOOD)), width=3)
    if rng.random() < 0.3:
        x, y = w * rng.uniform(0.2, 0.8), h * rng.uniform(horizon + 0.1, 1)
        draw.ellipse([x - 80, y - 22, x + 80, y + 22], fill=_ink(random_color(rng)))
    return horizon


def _wallpaper(draw: Canvas, w: int, bottom: float, wall: Color, rng: Generator) -> None:
    pattern, line = rng.random(), shade(wall, rng.choice([0.86, 0.93, 1.25]))
    step = int(rng.integers(14, 40))
    if pattern < 0.25:
        for x in range(0, w, step):
            draw.rectangle([x, 0, x + step // 2, bottom], fill=_ink(line))
    elif pattern < 0.5:  # tiles or bricks
        shift = rng.integers(0, 2) * step // 2
        for row, y in enumerate(range(0, int(bottom), step)):
            draw.line([(0, y), (w, y)], fill=_ink(line), width=2)
            for x in range(-step + shift * (row % 2), w, step):
                draw.line([(x, y), (x, min(y + step, bottom))], fill=_ink(line), width=2)
    elif pattern < 0.62:
        for y in range(step // 2, int(bottom), step):
            for x in range(step // 2, w, step):
                draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=_ink(line))


def _tabletop(draw: Canvas, w: int, h: int, rng: Generator) -> float:
    horizon = rng.uniform(0.35, 0.6)
    wall = random_color(rng) if rng.random() < 0.4 else pale_color(rng)
    _gradient(draw, w, 0, h * horizon, shade(wall, 0.7), wall)
    for _ in range(int(rng.integers(0, 8))):  # blurred lights
        x, y, r = rng.uniform(0, w), rng.uniform(0, h * horizon), rng.uniform(5, 26)
        draw.ellipse([x - r, y - r, x + r, y + r], fill=_ink(mix(wall, random_color(rng), 0.4)))
    _ground(draw, w, h, horizon, pick(rng, WOOD, 0.4))
    return horizon


def _studio(draw: Canvas, w: int, h: int, rng: Generator) -> float:
    color = random_color(rng) if rng.random() < 0.5 else pale_color(rng)
    _gradient(draw, w, 0, h, color, shade(color, rng.uniform(0.6, 1.4)))
    return 0.55


def _clutter(draw: Canvas, w: int, h: int, rng: Generator) -> float:
    """Big random patches: no place at all."""
    _gradient(draw, w, 0, h, random_color(rng), random_color(rng))
    for _ in range(int(rng.integers(5, 16))):
        _patch(draw, w, h, rng, rng.uniform(15, 70))
    return 0.4


def _sky(draw: Canvas, w: int, bottom: float, rng: Generator) -> None:
    top = pick(rng, ((110, 160, 215), (150, 190, 225), (190, 200, 210), (240, 180, 140), (60, 70, 110)), 0.1)
    _gradient(draw, w, 0, bottom, top, mix(top, WHITE, rng.uniform(0.2, 0.8)))
    for _ in range(int(rng.integers(0, 5))):
        x, y, r = rng.uniform(0, w), rng.uniform(0, bottom * 0.8), rng.uniform(6, 16)
        for shift in (-1.1, 0.0, 1.2):
            draw.ellipse(
                [x + shift * r * 1.3 - r * 1.4, y - r * 0.6, x + shift * r * 1.3 + r * 1.4, y + r * 0.6],
                fill=_ink(mix(top, WHITE, 0.75)),
            )


def _hills(draw: Canvas, w: int, base: float, rng: Generator) -> None:
    for layer in range(int(rng.integers(0, 3))):
        tone = shade(pick(rng, (*LEAF[:4], (110, 120, 150), (130, 110, 110))), 0.8 + 0.2 * layer)
        phase, waves, high = rng.uniform(0, 6), rng.uniform(0.5, 3), rng.uniform(0.05, 0.25) * base
        xs = np.linspace(0, w, 24)
        ys = base - high * (0.55 + 0.45 * np.sin(phase + waves * xs / w * 6.3))
        draw.polygon([(0, base + 2), *zip(xs.tolist(), ys.tolist(), strict=True), (w, base + 2)], fill=_ink(tone))


def _skyline(draw: Canvas, w: int, base: float, rng: Generator) -> None:
    """Far grey blocks with lit dots: too plain to be taken for a house."""
    x = -10.0
    while x < w:
        wide, high, tone = (
            rng.uniform(18, 50),
            base * rng.uniform(0.15, 0.75),
            shade(pale_color(rng), rng.uniform(0.5, 0.95)),
        )
        draw.rectangle([x, base - high, x + wide, base + 1], fill=_ink(tone))
        for _ in range(int(rng.integers(0, 7))):
            a, b = x + rng.uniform(2, wide - 4), base - rng.uniform(4, max(high, 5.0))
            draw.rectangle([a, b, a + 3, b + 4], fill=_ink(shade(tone, rng.choice([0.7, 1.4]))))
        x += wide + rng.uniform(-4, 12)


def _scatter_distractors(draw: Canvas, w: int, h: int, rng: Generator) -> None:
    """Shapes that are no class, so that not every coloured spot is a thing."""
    for _ in range(int(rng.integers(0, 6))):
        _patch(draw, w, h, rng, rng.uniform(4, 22))


def _patch(draw: Canvas, w: int, h: int, rng: Generator, r: float) -> None:
    x, y, kind, ink = rng.uniform(0, w), rng.uniform(0, h), rng.random(), _ink(random_color(rng))
    if kind < 0.35:
        draw.ellipse([x - r, y - r * rng.uniform(0.4, 1), x + r, y + r * rng.uniform(0.4, 1)], fill=ink)
    elif kind < 0.75:
        draw.polygon([(x + r * a, y + r * b) for a, b in rng.uniform(-1, 1, (int(rng.integers(3, 6)), 2))], fill=ink)
    else:
        draw.line(
            [(x, y), (x + r * rng.uniform(-3, 3), y + r * rng.uniform(-3, 3))], fill=ink, width=int(rng.integers(1, 6))
        )


def _ground(draw: Canvas, w: int, h: int, horizon: float, color: Color) -> None:
    _gradient(draw, w, h * horizon, h, shade(color, 1.12), shade(color, 0.8))


def _gradient(draw: Canvas, w: int, y0: float, y1: float, top: Color, bottom: Color) -> None:
    for y in range(int(y0), int(y1) + 1):
        draw.line([(0, y), (w, y)], fill=_ink(mix(top, bottom, (y - y0) / max(y1 - y0, 1))))


def _cloudiness(width: int, height: int, rng: Generator, strength: float) -> NDArray[np.float32]:
    """(H, W, 1) soft uneven light: a coarse random grid, smoothly enlarged."""
    grid = rng.standard_normal((int(rng.integers(3, 12)),) * 2).astype(np.float32)
    field = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(field, dtype=np.float32)[..., None] * np.float32(strength / 2)


def _ink(color: Color) -> tuple[int, int, int]:
    red, green, blue = (min(max(int(value), 0), 255) for value in color)
    return red, green, blue


PAINTERS: dict[str, Callable[[Canvas, int, int, Generator], float]] = {
    "street": _street,
    "field": _field,
    "water": _water,
    "sky": _open_sky,
    "room": _room,
    "tabletop": _tabletop,
    "studio": _studio,
    "clutter": _clutter,
}
