"""Draws small belongings for pre-training: clothes, keys, cameras. The ground is at y = 1."""

import math

from numpy.random import Generator

from trainer.data.drawing.colors import BLACK, GLASS, STEEL, WHITE, WOOD, pick, random_color, shade
from trainer.data.drawing.pen import Pen


def umbrella(pen: Pen, rng: Generator) -> None:
    first, second = random_color(rng), random_color(rng)
    pen.stroke([(0, 0.05), (0, 0.88), (0.06, 0.97), (0.15, 0.93)], 0.04, pick(rng, (*WOOD, STEEL)), curved=True)
    pen.sector(0, 0.5, 0.55, rng.uniform(0.38, 0.5), 180, 360, first)
    pen.polygon([(-0.2, 0.5), (0, 0.04), (0.2, 0.5)], second if rng.random() < 0.6 else shade(first, 0.8))
    for x in (-0.38, -0.02, 0.36):
        pen.sector(x, 0.51, 0.17, 0.07, 180, 360, shade(first, 0.45))


def key(pen: Pen, rng: Generator) -> None:
    metal = pick(rng, (STEEL, (200, 160, 60)), 0.4)
    pen.ring(-0.35, 0.5, rng.uniform(0.15, 0.2), 0.1, metal)
    pen.stroke([(-0.18, 0.5), (0.55, 0.5)], 0.08, metal)
    for x in (0.52, 0.38, 0.28)[: int(rng.integers(2, 4))]:
        pen.rect(x - 0.035, 0.5, x + 0.035, 0.5 + rng.uniform(0.14, 0.24), metal)


def hat(pen: Pen, rng: Generator) -> None:
    felt, band, high = random_color(rng), random_color(rng), rng.uniform(0.3, 0.55)
    pen.ellipse(0, 0.85, 0.6, 0.12, shade(felt, 0.8))
    pen.blob([(-0.32, 0.84), (-0.28, 0.84 - high), (0, 0.8 - high), (0.28, 0.84 - high), (0.32, 0.84), (0, 0.9)], felt)
    pen.polygon([(-0.33, 0.72), (0.33, 0.72), (0.34, 0.85), (-0.34, 0.85)], band)


def shoe(pen: Pen, rng: Generator) -> None:
    leather, sole = random_color(rng), pick(rng, (WHITE, BLACK), 0.3)
    high = rng.uniform(0.1, 0.45)
    pen.blob(
        [
            (-0.5, 0.9),
            (-0.48, 0.5 - high * 0.5),
            (-0.15, 0.5 - high * 0.5),
            (0.02, 0.62),
            (0.4, 0.7),
            (0.55, 0.9),
            (0, 0.94),
        ],
        leather,
    )
    pen.rect(-0.54, 0.88, 0.58, 0.98, sole, 0.05)
    for i in range(3):
        x = -0.12 + i * 0.09
        pen.stroke([(x, 0.5 + i * 0.07), (x + 0.1, 0.46 + i * 0.07)], 0.025, WHITE)


def clock(pen: Pen, rng: Generator) -> None:
    rim = random_color(rng)
    if rng.random() < 0.4:
        for side in (-1, 1):
            pen.circle(side * 0.25, 0.12, 0.12, shade(rim, 0.8))
            pen.stroke([(side * 0.25, 0.85), (side * 0.34, 0.98)], 0.06, shade(rim, 0.7))
    pen.circle(0, 0.52, 0.45, rim)
    pen.circle(0, 0.52, 0.36, WHITE)
    for i in range(12):
        angle = math.radians(30 * i)
        pen.circle(0.3 * math.cos(angle), 0.52 + 0.3 * math.sin(angle), 0.02, BLACK)
    for length, width in ((0.18, 0.05), (0.27, 0.035)):
        angle = rng.uniform(0, 6.3)
        pen.stroke([(0, 0.52), (length * math.cos(angle), 0.52 + length * math.sin(angle))], width, BLACK)


def camera(pen: Pen, rng: Generator) -> None:
    body = pick(rng, (BLACK, STEEL), 0.5)
    pen.rect(-0.2, 0.16, 0.12, 0.4, shade(body, 0.8), 0.04)
    pen.rect(0.3, 0.2, 0.44, 0.4, (200, 60, 60), 0.03)
    pen.rect(-0.58, 0.28, 0.58, 0.98, body, 0.08)
    pen.rect(-0.58, 0.28, 0.58, 0.44, shade(body, 1.3), 0.05)
    for radius, tone in ((0.29, 0.5), (0.23, 1.5), (0.19, 0.25)):
        pen.circle(0, 0.64, radius, shade(STEEL, tone))
    pen.circle(-0.06, 0.58, 0.05, shade(GLASS, 1.2))


def phone(pen: Pen, rng: Generator) -> None:
    pen.rect(-0.27, 0.0, 0.27, 1.0, pick(rng, (BLACK, WHITE), 0.5), 0.07)
    pen.rect(-0.23, 0.09, 0.23, 0.88, random_color(rng))
    for row in range(3):
        for column in range(3):
            x, y = -0.15 + column * 0.15, 0.22 + row * 0.17
            pen.rect(x - 0.05, y - 0.05, x + 0.05, y + 0.05, random_color(rng), 0.02)
    pen.circle(0, 0.94, 0.03, STEEL)


def glasses(pen: Pen, rng: Generator) -> None:
    frame, lens = random_color(rng), shade(GLASS, rng.uniform(0.2, 1.2))
    radius = rng.uniform(0.2, 0.25)
    for side in (-1, 1):
        pen.circle(side * 0.3, 0.5, radius, lens)
        pen.ring(side * 0.3, 0.5, radius, 0.06, frame)
        pen.stroke([(side * (0.3 + radius), 0.45), (side * 0.68, 0.38)], 0.05, frame)
    pen.stroke([(-0.09, 0.46), (0, 0.4), (0.09, 0.46)], 0.05, frame, curved=True)


def backpack(pen: Pen, rng: Generator) -> None:
    cloth, pocket = random_color(rng), random_color(rng)
    pen.ring(0, 0.14, 0.12, 0.05, shade(cloth, 0.6))
    for side in (-1, 1):
        pen.rect(side * 0.38 - 0.09, 0.5, side * 0.38 + 0.09, 0.9, shade(cloth, 0.75), 0.06)
    pen.rect(-0.36, 0.12, 0.36, 1.0, cloth, 0.2)
    pen.rect(-0.26, 0.55, 0.26, 0.93, pocket, 0.06)
    pen.rect(-0.26, 0.55, 0.26, 0.66, shade(pocket, 0.75), 0.05)
    pen.stroke([(-0.3, 0.42), (0.3, 0.42)], 0.03, shade(cloth, 0.5))


def book(pen: Pen, rng: Generator) -> None:
    cover = random_color(rng)
    for side in (-1, 1):
        pen.polygon([(0, 0.9), (side * 0.62, 0.78), (side * 0.62, 0.24), (0, 0.34)], cover)
        pen.blob(
            [(0, 0.84), (side * 0.3, 0.74), (side * 0.57, 0.74), (side * 0.57, 0.22), (side * 0.3, 0.2), (0, 0.3)],
            shade(WHITE, 0.98 if side > 0 else 0.9),
        )
        for i in range(5):
            y = 0.34 + i * 0.08
            pen.stroke([(side * 0.1, y), (side * 0.5, y - 0.06)], 0.018, (120, 120, 120))


def scissors(pen: Pen, rng: Generator) -> None:
    handle, spread = random_color(rng), rng.uniform(0.08, 0.25)
    for side in (-1, 1):
        pen.polygon([(-0.03 * side, 0.55), (0.05 * side, 0.5), (side * spread, 0.0)], shade(STEEL, 1.0 + 0.2 * side))
        pen.stroke([(0, 0.52), (-side * 0.14, 0.7)], 0.07, handle)
        pen.ring(-side * 0.18, 0.83, 0.12, 0.07, handle)
    pen.circle(0, 0.53, 0.035, BLACK)


def teapot(pen: Pen, rng: Generator) -> None:
    glaze = random_color(rng)
    pen.stroke([(0.3, 0.75), (0.5, 0.6), (0.6, 0.35)], (0.2, 0.11, 0.09), shade(glaze, 0.85), curved=True)
    pen.ring(-0.42, 0.6, 0.2, 0.07, shade(glaze, 0.8))
    pen.ellipse(0, 0.66, 0.42, 0.32, glaze)
    pen.sector(0, 0.4, 0.26, 0.14, 180, 360, shade(glaze, 1.2))
    pen.circle(0, 0.24, 0.05, shade(glaze, 0.7))
    pen.rect(-0.22, 0.93, 0.22, 1.0, shade(glaze, 0.7), 0.02)


DRAWN = (umbrella, key, hat, shoe, clock, camera, phone, glasses, backpack, book, scissors, teapot)
