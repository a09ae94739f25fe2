"""Draws tools, toys, instruments and large structures for pre-training. The ground is at y = 1."""

import math

from numpy.random import Generator

from trainer.data.drawing.colors import BLACK, GLASS, STEEL, WHITE, WOOD, pick, random_color, shade
from trainer.data.drawing.pen import Pen


def guitar(pen: Pen, rng: Generator) -> None:
    body = pick(rng, WOOD, 0.5)
    pen.blob(
        [(0, 0.42), (0.2, 0.48), (0.15, 0.64), (0.28, 0.82), (0, 1.0), (-0.28, 0.82), (-0.15, 0.64), (-0.2, 0.48)], body
    )
    pen.rect(-0.035, -0.02, 0.035, 0.55, shade(body, 0.5))
    pen.rect(-0.06, -0.14, 0.06, 0.0, shade(body, 0.4), 0.02)
    pen.circle(0, 0.64, 0.08, BLACK)
    pen.rect(-0.1, 0.82, 0.1, 0.86, BLACK)
    for x in (-0.015, 0.015):
        pen.stroke([(x, 0), (x, 0.84)], 0.008, WHITE)


def drum(pen: Pen, rng: Generator) -> None:
    shell, rim = random_color(rng), random_color(rng)
    for side in (-1, 1):
        pen.stroke([(side * 0.1, 0.25), (side * 0.5, -0.05)], 0.04, pick(rng, WOOD))
    pen.rect(-0.45, 0.4, 0.45, 0.9, shell)
    pen.ellipse(0, 0.9, 0.45, 0.1, shell)
    for i in range(4):
        x = -0.45 + i * 0.225
        pen.stroke([(x, 0.48), (x + 0.11, 0.9), (x + 0.225, 0.48)], 0.02, WHITE)
    pen.ellipse(0, 0.4, 0.47, 0.12, rim)
    pen.ellipse(0, 0.39, 0.42, 0.09, WHITE)


def trumpet(pen: Pen, rng: Generator) -> None:
    brass = pick(rng, ((220, 176, 70), STEEL), 0.3)
    pen.ring(-0.05, 0.62, 0.15, 0.05, shade(brass, 0.8), 1.9)
    pen.stroke([(-0.62, 0.5), (0.4, 0.5)], 0.06, brass)
    pen.blob([(0.3, 0.47), (0.5, 0.42), (0.66, 0.26), (0.66, 0.74), (0.5, 0.58), (0.3, 0.53)], brass)
    for x in (-0.15, -0.03, 0.09):
        pen.rect(x - 0.035, 0.36, x + 0.035, 0.78, shade(brass, 0.9), 0.01)
        pen.rect(x - 0.03, 0.3, x + 0.03, 0.36, WHITE)


def hammer(pen: Pen, rng: Generator) -> None:
    pen.stroke([(0, 0.2), (0, 0.96)], (0.08, 0.11), pick(rng, WOOD, 0.4))
    metal = pick(rng, (STEEL, (90, 90, 96)), 0.3)
    pen.rect(-0.1, 0.06, 0.22, 0.26, metal, 0.02)
    pen.rect(0.2, 0.02, 0.32, 0.3, shade(metal, 0.8), 0.03)
    pen.polygon([(-0.1, 0.07), (-0.4, 0.22), (-0.38, 0.28), (-0.1, 0.25)], shade(metal, 0.9))


def pencil(pen: Pen, rng: Generator) -> None:
    paint = random_color(rng)
    pen.rect(-0.09, 0.12, 0.09, 0.78, paint)
    pen.rect(-0.03, 0.12, 0.03, 0.78, shade(paint, 1.3))
    pen.polygon([(-0.09, 0.78), (0.09, 0.78), (0, 1.0)], (232, 200, 150))
    pen.polygon([(-0.03, 0.93), (0.03, 0.93), (0, 1.0)], BLACK)
    pen.rect(-0.09, 0.06, 0.09, 0.13, STEEL)
    pen.rect(-0.09, -0.02, 0.09, 0.07, (230, 140, 150), 0.03)


def ladder(pen: Pen, rng: Generator) -> None:
    wood, wide, slant = pick(rng, WOOD, 0.5), rng.uniform(0.13, 0.2), rng.uniform(0, 0.25)
    for i in range(int(rng.integers(5, 8))):
        y = 0.92 - i * 0.14
        x = slant * (1 - y)
        pen.stroke([(x - wide, y), (x + wide, y)], 0.04, shade(wood, 0.85))
    for side in (-1, 1):
        pen.stroke([(side * wide, 0.98), (side * wide + slant, 0.0)], 0.05, wood)


def rocket(pen: Pen, rng: Generator) -> None:
    hull, fin = pick(rng, (WHITE, STEEL), 0.5), random_color(rng)
    pen.blob([(-0.1, 0.85), (0.1, 0.85), (0.06, 0.95), (0, 1.1), (-0.06, 0.95)], (250, 170, 60))
    for side in (-1, 1):
        pen.polygon([(side * 0.14, 0.55), (side * 0.36, 0.88), (side * 0.14, 0.82)], fin)
    pen.blob([(0, 0.0), (0.17, 0.3), (0.17, 0.7), (0.1, 0.88), (-0.1, 0.88), (-0.17, 0.7), (-0.17, 0.3)], hull)
    pen.blob([(0, 0.0), (0.12, 0.2), (0, 0.23), (-0.12, 0.2)], fin)
    pen.circle(0, 0.42, 0.09, fin)
    pen.circle(0, 0.42, 0.06, GLASS)


def balloon(pen: Pen, rng: Generator) -> None:
    silk, stripe = random_color(rng), random_color(rng)
    pen.blob([(0, 0.0), (0.4, 0.2), (0.36, 0.5), (0.12, 0.74), (-0.12, 0.74), (-0.36, 0.5), (-0.4, 0.2)], silk)
    pen.blob([(0, 0.0), (0.15, 0.25), (0.05, 0.74), (-0.05, 0.74), (-0.15, 0.25)], stripe)
    for x in (-0.09, 0.09):
        pen.stroke([(x, 0.74), (x * 0.9, 0.88)], 0.012, BLACK)
    pen.rect(-0.11, 0.86, 0.11, 1.0, pick(rng, WOOD), 0.02)


def kite(pen: Pen, rng: Generator) -> None:
    first, second, wide = random_color(rng), random_color(rng), rng.uniform(0.25, 0.38)
    pen.stroke([(0, 0.6), (0.08, 0.75), (-0.06, 0.87), (0.05, 1.0)], 0.02, BLACK, curved=True)
    for y in (0.74, 0.88):
        pen.polygon([(-0.08, y - 0.03), (0.1, y + 0.03), (0.1, y - 0.03), (-0.08, y + 0.03)], second)
    for corners, color in (((-wide, 0.22), first), ((wide, 0.22), second)):
        pen.polygon([(0, 0.0), corners, (0, 0.64)], color)
    pen.stroke([(-wide, 0.22), (wide, 0.22)], 0.015, BLACK)


def robot(pen: Pen, rng: Generator) -> None:
    metal, trim = pick(rng, (STEEL,), 0.6), random_color(rng)
    for side in (-1, 1):
        pen.rect(side * 0.13 - 0.07, 0.72, side * 0.13 + 0.07, 1.0, shade(metal, 0.7), 0.02)
        pen.stroke([(side * 0.26, 0.45), (side * 0.4, rng.uniform(0.3, 0.7))], 0.09, shade(metal, 0.8))
    pen.rect(-0.27, 0.36, 0.27, 0.78, metal, 0.04)
    pen.rect(-0.15, 0.46, 0.15, 0.62, trim, 0.02)
    pen.stroke([(0, 0.08), (0, -0.08)], 0.03, BLACK)
    pen.circle(0, -0.1, 0.04, trim)
    pen.rect(-0.2, 0.04, 0.2, 0.34, shade(metal, 1.2), 0.05)
    for x in (-0.09, 0.09):
        pen.circle(x, 0.16, 0.055, BLACK)
        pen.circle(x, 0.16, 0.03, (250, 230, 120))
    pen.rect(-0.1, 0.25, 0.1, 0.29, BLACK)


def tent(pen: Pen, rng: Generator) -> None:
    cloth, wide = random_color(rng), rng.uniform(0.45, 0.6)
    pen.polygon([(-wide * 0.4, 0.25), (wide * 0.75, 0.3), (wide * 1.35, 1.0), (0.1, 1.0)], shade(cloth, 0.65))
    pen.polygon([(-wide * 0.4, 0.22), (0.3, 1.0), (-wide - 0.2, 1.0)], cloth)
    pen.polygon([(-wide * 0.4, 0.38), (0.02, 1.0), (-wide * 0.9, 1.0)], shade(cloth, 0.3))


def windmill(pen: Pen, rng: Generator) -> None:
    wall, sail = pick(rng, (WHITE, (190, 120, 90)), 0.4), random_color(rng)
    pen.polygon([(-0.13, 0.35), (0.13, 0.35), (0.22, 1.0), (-0.22, 1.0)], wall)
    pen.sector(0, 0.36, 0.17, 0.15, 180, 360, shade(sail, 0.6))
    pen.rect(-0.06, 0.8, 0.06, 1.0, (90, 60, 40), 0.02)
    turn = rng.uniform(0, 90)
    for i in range(4):
        angle = math.radians(turn + 90 * i)
        pen.stroke([(0, 0.36), (0.42 * math.cos(angle), 0.36 + 0.42 * math.sin(angle))], 0.025, BLACK)
        pen.stroke(
            [
                (0.13 * math.cos(angle + 0.12), 0.36 + 0.13 * math.sin(angle + 0.12)),
                (0.4 * math.cos(angle + 0.12), 0.36 + 0.4 * math.sin(angle + 0.12)),
            ],
            0.09,
            sail,
        )


def lighthouse(pen: Pen, rng: Generator) -> None:
    first, second = random_color(rng), WHITE
    for i in range(5):
        y, half = 0.25 + i * 0.15, 0.11 + 0.022 * i
        pen.polygon(
            [(-half, y), (half, y), (half + 0.022, y + 0.15), (-half - 0.022, y + 0.15)], first if i % 2 else second
        )
    pen.rect(-0.15, 0.22, 0.15, 0.27, BLACK)
    pen.rect(-0.08, 0.1, 0.08, 0.22, (250, 230, 130))
    pen.sector(0, 0.1, 0.11, 0.1, 180, 360, shade(first, 0.6))


def anchor(pen: Pen, rng: Generator) -> None:
    iron = pick(rng, ((70, 76, 88), STEEL), 0.4)
    pen.ring(0, 0.1, 0.09, 0.06, iron)
    pen.stroke([(0, 0.18), (0, 0.92)], 0.09, iron)
    pen.stroke([(-0.22, 0.32), (0.22, 0.32)], 0.07, iron)
    pen.stroke([(-0.42, 0.62), (-0.3, 0.86), (0, 0.95), (0.3, 0.86), (0.42, 0.62)], 0.09, iron, curved=True)
    for side in (-1, 1):
        pen.polygon([(side * 0.3, 0.7), (side * 0.46, 0.52), (side * 0.5, 0.76)], iron)


DRAWN = (
    guitar,
    drum,
    trumpet,
    hammer,
    pencil,
    ladder,
    rocket,
    balloon,
    kite,
    robot,
    tent,
    windmill,
    lighthouse,
    anchor,
)
