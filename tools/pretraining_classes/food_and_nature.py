"""Draws food, plants and small animals for pre-training. The ground is at y = 1."""

import math

from numpy.random import Generator

from trainer.data.drawing.colors import BLACK, LEAF, WHITE, mix, pick, random_color, shade
from trainer.data.drawing.pen import Pen


def mushroom(pen: Pen, rng: Generator) -> None:
    cap, wide = random_color(rng), rng.uniform(0.38, 0.52)
    pen.blob([(-0.1, 0.45), (0.1, 0.45), (0.15, 0.95), (0, 1.0), (-0.15, 0.95)], pick(rng, (WHITE,)))
    level = rng.uniform(0.45, 0.55)
    pen.ellipse(0, level, wide * 0.95, 0.07, shade(cap, 0.5))
    pen.sector(0, level, wide, rng.uniform(0.35, 0.5), 180, 360, cap)
    for x, y, r in ((-0.22, 0.12, 0.05), (0.02, 0.2, 0.07), (0.24, 0.1, 0.045)):
        pen.ellipse(x, level - y, r, r * 0.8, WHITE)


def apple(pen: Pen, rng: Generator) -> None:
    skin = random_color(rng)
    pen.stroke([(0, 0.3), (0.03, 0.1), (0.08, 0.02)], 0.05, (90, 60, 40), curved=True)
    pen.blob(
        [(0, 0.3), (0.3, 0.2), (0.48, 0.5), (0.28, 0.95), (0, 0.92), (-0.28, 0.95), (-0.48, 0.5), (-0.3, 0.2)], skin
    )
    pen.ellipse(0.2, 0.12, 0.15, 0.07, pick(rng, LEAF), -25)
    pen.ellipse(-0.2, 0.42, 0.07, 0.12, shade(skin, 1.4), 20)


def banana(pen: Pen, rng: Generator) -> None:
    skin, bend = pick(rng, ((240, 210, 70), (160, 190, 70)), 0.4), rng.uniform(0.2, 0.4)
    path = [(-0.55, 0.5), (-0.3, 0.5 + bend), (0.2, 0.52 + bend), (0.5, 0.35)]
    pen.stroke(path, (0.06, 0.24, 0.24, 0.07), skin, curved=True)
    pen.stroke(
        [(-0.45, 0.53), (-0.25, 0.5 + bend), (0.18, 0.5 + bend), (0.45, 0.36)],
        (0.01, 0.05, 0.05, 0.01),
        shade(skin, 0.8),
        curved=True,
    )
    pen.stroke([(0.48, 0.38), (0.56, 0.26)], 0.06, (110, 90, 50))


def cake(pen: Pen, rng: Generator) -> None:
    sponge, icing = random_color(rng), random_color(rng)
    for low, half in ((1.0, 0.5), (0.7, 0.36))[: int(rng.integers(1, 3))]:
        pen.rect(-half, low - 0.32, half, low, sponge, 0.03)
        pen.rect(-half, low - 0.34, half, low - 0.22, icing, 0.05)
        for i in range(5):
            pen.circle(-half + half * 0.4 * (i + 0.5), low - 0.22, half * 0.17, icing)
        top = low - 0.32
    for x in (-0.2, 0.0, 0.2):
        pen.rect(x - 0.02, top - 0.2, x + 0.02, top, random_color(rng))
        pen.ellipse(x, top - 0.24, 0.025, 0.05, (255, 200, 80))


def ice_cream(pen: Pen, rng: Generator) -> None:
    pen.polygon([(-0.22, 0.42), (0.22, 0.42), (0, 1.0)], pick(rng, ((214, 160, 96),)))
    for i in range(3):
        pen.stroke([(-0.18 + i * 0.12, 0.46), (0.02 + i * 0.05, 0.72)], 0.012, (150, 100, 60))
    for i in range(int(rng.integers(1, 4))):
        pen.circle(0.12 * (-1) ** i if i else 0, 0.34 - 0.14 * i, 0.23 - 0.03 * i, random_color(rng))


def carrot(pen: Pen, rng: Generator) -> None:
    root = pick(rng, ((236, 130, 40),), 0.4)
    for angle in (-0.5, -0.15, 0.2, 0.5):
        pen.stroke(
            [(0, 0.3), (angle * 0.3, 0.14), (angle * 0.55, -0.05)], (0.04, 0.1, 0.02), pick(rng, LEAF[:3]), curved=True
        )
    pen.blob([(-0.16, 0.32), (0, 0.27), (0.16, 0.32), (0.1, 0.65), (0, 1.0), (-0.1, 0.65)], root)
    for y in (0.42, 0.55, 0.7):
        pen.stroke([(-0.08, y), (0.02, y + 0.02)], 0.015, shade(root, 0.7))


def cactus(pen: Pen, rng: Generator) -> None:
    skin = pick(rng, LEAF)
    pen.stroke([(0, 0.8), (0, 0.18)], 0.22, skin)
    for side in (-1, 1):
        y = rng.uniform(0.35, 0.6)
        pen.stroke([(0, y + 0.1), (side * 0.28, y + 0.08), (side * 0.3, y - 0.18)], 0.12, shade(skin, 0.9), curved=True)
    for x in (-0.05, 0.05):
        pen.stroke([(x, 0.78), (x, 0.15)], 0.012, shade(skin, 0.65))
    pot = random_color(rng)
    pen.polygon([(-0.24, 0.74), (0.24, 0.74), (0.17, 1.0), (-0.17, 1.0)], pot)


def fish(pen: Pen, rng: Generator) -> None:
    skin, deep = random_color(rng), rng.uniform(0.2, 0.34)
    pen.polygon([(-0.35, 0.5), (-0.68, 0.26), (-0.58, 0.5), (-0.68, 0.76)], shade(skin, 0.75))
    pen.polygon([(-0.15, 0.5 - deep * 0.8), (0.02, 0.4 - deep), (0.2, 0.5 - deep * 0.8)], shade(skin, 0.7))
    pen.blob([(-0.42, 0.5), (0, 0.5 - deep), (0.4, 0.42), (0.5, 0.52), (0.38, 0.6), (0, 0.5 + deep)], skin)
    for x in (-0.2, -0.02, 0.14)[: int(rng.integers(0, 4))]:
        pen.stroke([(x, 0.5 - deep * 0.7), (x - 0.03, 0.5 + deep * 0.7)], 0.05, shade(skin, 1.4))
    pen.circle(0.34, 0.46, 0.05, WHITE)
    pen.circle(0.35, 0.46, 0.03, BLACK)


def butterfly(pen: Pen, rng: Generator) -> None:
    wing, spot = random_color(rng), random_color(rng)
    for side in (-1, 1):
        pen.blob([(0, 0.45), (side * 0.2, 0.1), (side * 0.55, 0.08), (side * 0.5, 0.42), (side * 0.2, 0.52)], wing)
        pen.blob([(0, 0.5), (side * 0.35, 0.52), (side * 0.4, 0.8), (side * 0.15, 0.85)], shade(wing, 0.75))
        pen.circle(side * 0.38, 0.26, 0.08, spot)
        pen.circle(side * 0.26, 0.68, 0.06, spot)
        pen.stroke([(0, 0.28), (side * 0.12, 0.06)], 0.02, BLACK)
    pen.ellipse(0, 0.5, 0.045, 0.28, BLACK)


def snail(pen: Pen, rng: Generator) -> None:
    shell, body = random_color(rng), pick(rng, ((190, 160, 120), (140, 130, 110)))
    pen.blob([(-0.5, 0.98), (-0.3, 0.85), (0.2, 0.84), (0.4, 0.55), (0.55, 0.6), (0.5, 0.9), (0.3, 1.0)], body)
    for x in (0.42, 0.54):
        pen.stroke([(x, 0.6), (x + 0.06, 0.4)], 0.025, body)
        pen.circle(x + 0.06, 0.4, 0.03, BLACK)
    for radius, tone in ((0.33, 1.0), (0.23, 0.7), (0.14, 1.2), (0.06, 0.6)):
        pen.circle(-0.03 + (0.33 - radius) * 0.25, 0.6, radius, shade(shell, tone))


def turtle(pen: Pen, rng: Generator) -> None:
    shell, skin = random_color(rng), pick(rng, LEAF)
    for x in (-0.3, 0.25):
        pen.rect(x - 0.08, 0.75, x + 0.08, 1.0, skin, 0.05)
    pen.stroke([(0.3, 0.78), (0.52, 0.6)], 0.13, skin)
    pen.ellipse(0.58, 0.54, 0.13, 0.1, skin)
    pen.circle(0.63, 0.51, 0.022, BLACK)
    pen.polygon([(-0.42, 0.78), (-0.58, 0.88), (-0.4, 0.86)], skin)
    pen.sector(0, 0.82, 0.46, rng.uniform(0.4, 0.52), 180, 360, shell)
    pen.rect(-0.48, 0.78, 0.48, 0.85, shade(shell, 0.65), 0.03)
    for x in (-0.22, 0.0, 0.22):
        pen.ellipse(x, 0.66 - 0.08 * (x == 0), 0.09, 0.08, shade(shell, 0.75))


def crab(pen: Pen, rng: Generator) -> None:
    shell = random_color(rng)
    for side in (-1, 1):
        for i in range(3):
            pen.stroke(
                [
                    (side * 0.25, 0.7),
                    (side * (0.45 + 0.05 * i), 0.66 + 0.08 * i),
                    (side * (0.5 + 0.03 * i), 0.85 + 0.06 * i),
                ],
                0.04,
                shade(shell, 0.75),
            )
        pen.stroke([(side * 0.28, 0.6), (side * 0.5, 0.5), (side * 0.46, 0.3)], 0.07, shade(shell, 0.9))
        pen.ellipse(side * 0.46, 0.22, 0.13, 0.16, shell)
        pen.polygon([(side * 0.46, 0.26), (side * 0.42, 0.0), (side * 0.54, 0.02)], shade(shell, 0.4))
        pen.stroke([(side * 0.1, 0.55), (side * 0.12, 0.4)], 0.03, shell)
        pen.circle(side * 0.12, 0.38, 0.05, BLACK)
    pen.ellipse(0, 0.68, 0.36, 0.22, shell)


def spider(pen: Pen, rng: Generator) -> None:
    body = pick(rng, (BLACK, (80, 60, 50)), 0.5)
    for side in (-1, 1):
        for i in range(4):
            angle = math.radians(-60 + 36 * i)
            knee = (side * 0.36, 0.45 + 0.34 * math.sin(angle) - 0.1)
            pen.stroke([(0, 0.5), knee, (side * 0.56, 0.5 + 0.6 * math.sin(angle) + 0.05)], 0.035, shade(body, 0.8))
    pen.ellipse(0, 0.62, 0.2, 0.25, body)
    pen.circle(0, 0.36, 0.14, shade(body, 1.15))
    for x in (-0.05, 0.05):
        pen.circle(x, 0.3, 0.03, WHITE)


def snowman(pen: Pen, rng: Generator) -> None:
    snow, scarf = mix(WHITE, random_color(rng), 0.12), random_color(rng)
    pen.circle(0, 0.78, 0.26, snow)
    pen.circle(0, 0.42, 0.19, snow)
    for side in (-1, 1):
        pen.stroke([(side * 0.17, 0.42), (side * 0.4, rng.uniform(0.2, 0.45))], 0.025, (90, 60, 40))
    pen.circle(0, 0.16, 0.14, snow)
    pen.rect(-0.14, 0.26, 0.14, 0.32, scarf, 0.03)
    for x in (-0.05, 0.05):
        pen.circle(x, 0.13, 0.02, BLACK)
    pen.polygon([(0, 0.16), (0, 0.2), (0.14, 0.2)], (240, 130, 40))
    pen.rect(-0.17, 0.02, 0.17, 0.05, BLACK)
    pen.rect(-0.1, -0.14, 0.1, 0.04, BLACK)


DRAWN = (
    mushroom,
    apple,
    banana,
    cake,
    ice_cream,
    carrot,
    cactus,
    fish,
    butterfly,
    snail,
    turtle,
    crab,
    spider,
    snowman,
)
