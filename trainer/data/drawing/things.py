"""Draws things that stay where they are: tree, house, flower, bottle, cup. The ground is at y = 1."""

import math

from numpy.random import Generator

from trainer.data.drawing.colors import BLACK, GLASS, LEAF, STEEL, WHITE, WOOD, Color, mix, pick, random_color, shade
from trainer.data.drawing.pen import Pen


def tree(pen: Pen, rng: Generator) -> None:
    """Broad-leaved, fir or palm."""
    leaf, bark = pick(rng, LEAF, 0.15), pick(rng, WOOD[:3], 0.1)
    kind = rng.random()
    trunk = rng.uniform(0.05, 0.1)
    if kind < 0.25:
        pen.rect(-trunk / 2, 0.8, trunk / 2, 1.0, bark)
        num_tiers = int(rng.integers(3, 5))
        for i in range(num_tiers):
            low = 0.86 - i * 0.72 / num_tiers
            wide, high = 0.34 * (1 - 0.75 * i / num_tiers), 1.15 / num_tiers
            pen.polygon([(-wide, low), (0, low - high), (wide, low), (0, low + 0.03)], shade(leaf, 0.75 + 0.12 * i))
    elif kind < 0.38:
        _palm(pen, rng, leaf, bark)
    else:
        pen.polygon([(-trunk * 0.6, 0.5), (trunk * 0.6, 0.5), (trunk, 1.0), (-trunk, 1.0)], bark)
        for side in (-1, 1):
            pen.stroke([(0, 0.68), (side * 0.2, 0.45)], (trunk, 0.03), bark)
        wide, high = rng.uniform(0.26, 0.42), rng.uniform(0.26, 0.36)
        for i in range(9):
            angle = i * 2.4
            reach = 0.75 if i < 7 else 0.25
            x, y = wide * reach * math.cos(angle), 0.34 + high * reach * math.sin(angle)
            pen.circle(
                x, y, rng.uniform(0.14, 0.2), shade(leaf, 0.9 - 0.35 * (y - 0.34) / high + rng.uniform(-0.08, 0.08))
            )
        if rng.random() < 0.2:
            fruit = random_color(rng)
            for _ in range(7):
                pen.circle(rng.uniform(-wide, wide), rng.uniform(0.12, 0.56), 0.028, fruit)


def _palm(pen: Pen, rng: Generator, leaf: Color, bark: Color) -> None:
    bend = rng.uniform(-0.15, 0.15)
    pen.stroke([(0, 0.98), (bend * 0.6, 0.6), (bend, 0.25)], (0.1, 0.07, 0.055), bark, curved=True)
    for i in range(9):
        angle = math.radians(150 + i * 30 + rng.uniform(-8, 8))
        reach = rng.uniform(0.34, 0.44)
        x, y = reach * math.cos(angle), reach * 0.55 * math.sin(angle)
        pen.stroke(
            [(bend, 0.25), (bend + x * 0.6, 0.2 + y), (bend + x, 0.32 + y * 0.6)],
            (0.04, 0.1, 0.015),
            shade(leaf, rng.uniform(0.75, 1.1)),
            curved=True,
        )


def house(pen: Pen, rng: Generator) -> None:
    """One or two storeys with a gable or a broad roof, door, windows, often a chimney."""
    wall, roof, door = (
        pick(rng, (WHITE, (226, 206, 170), (190, 110, 84)), 0.4),
        pick(rng, ((150, 70, 52), (92, 84, 86)), 0.4),
        random_color(rng),
    )
    wide, eaves, ridge = rng.uniform(0.34, 0.56), rng.uniform(0.38, 0.5), rng.uniform(-0.02, 0.12)
    if rng.random() < 0.65:
        x = wide * rng.choice([-0.55, 0.5])
        pen.rect(x, ridge - 0.03, x + 0.11, eaves, shade(roof, 0.7))
        pen.rect(x - 0.015, ridge - 0.06, x + 0.125, ridge - 0.01, shade(roof, 0.5))
    pen.rect(-wide, eaves - 0.02, wide, 1.0, wall)
    over = wide + rng.uniform(0.04, 0.1)
    if rng.random() < 0.55:
        pen.polygon([(-wide, eaves), (0, ridge + 0.06), (wide, eaves)], wall)
        pen.stroke([(-over, eaves + 0.03), (0, ridge), (over, eaves + 0.03)], 0.07, roof)
        pen.circle(0, eaves - 0.06, 0.06, shade(GLASS, 0.6))
    else:
        pen.polygon([(-over, eaves + 0.02), (-wide * 0.65, ridge), (wide * 0.65, ridge), (over, eaves + 0.02)], roof)
        for share in (0.35, 0.68):
            y = ridge + (eaves - ridge) * share
            half = wide * 0.65 + (over - wide * 0.65) * share
            pen.rect(-half, y, half, y + 0.012, shade(roof, 0.8))
    _door_and_windows(pen, rng, wide, eaves, door)


def _door_and_windows(pen: Pen, rng: Generator, wide: float, eaves: float, door: Color) -> None:
    place = rng.choice([-0.55, 0.0, 0.55]) * wide
    pen.rect(place - 0.075, 0.72, place + 0.075, 1.0, door, 0.01)
    pen.circle(place + 0.045, 0.87, 0.014, STEEL)
    glass = shade(GLASS, rng.uniform(0.4, 1.1)) if rng.random() < 0.7 else (250.0, 222.0, 130.0)
    for y in (eaves + 0.07, 0.74):
        for x in (-0.55 * wide, 0.55 * wide):
            if y > 0.7 and abs(x - place) < 0.18:
                continue
            pen.rect(x - 0.085, y - 0.015, x + 0.085, y + 0.165, WHITE)
            pen.rect(x - 0.07, y, x + 0.07, y + 0.15, glass)
            pen.rect(x - 0.008, y, x + 0.008, y + 0.15, WHITE)
            pen.rect(x - 0.07, y + 0.067, x + 0.07, y + 0.083, WHITE)


def flower(pen: Pen, rng: Generator) -> None:
    """One to three blossoms on stems, growing freely or in a pot."""
    stem, petal, heart = pick(rng, LEAF[:3], 0.05), random_color(rng), pick(rng, ((240, 200, 60), (90, 60, 40)), 0.3)
    potted = rng.random() < 0.5
    base = 0.72 if potted else 0.98
    spots = [(0.0, 0.24)]
    if rng.random() < 0.5:
        spots = [(-0.24, 0.36), (0.25, 0.3), (0.0, 0.16)][: int(rng.integers(2, 4))]
    for x, y in spots:
        pen.stroke([(0, base), (x * 0.5, (base + y) / 2 + 0.05), (x, y)], 0.035, stem, curved=True)
    for side in (-1, 1):
        y = base - rng.uniform(0.05, 0.2)
        pen.blob(
            [(0, y), (side * 0.13, y - 0.14), (side * 0.27, y - 0.15), (side * 0.16, y - 0.02)],
            shade(stem, rng.uniform(0.8, 1.2)),
        )
    if potted:
        pot = pick(rng, ((186, 96, 62), WHITE), 0.5)
        pen.polygon([(-0.2, 0.7), (0.2, 0.7), (0.14, 1.0), (-0.14, 1.0)], pot)
        pen.rect(-0.23, 0.67, 0.23, 0.75, shade(pot, 0.85), 0.02)
    radius = rng.uniform(0.17, 0.21) if len(spots) == 1 else rng.uniform(0.12, 0.15)
    tulip = rng.random() < 0.3
    for x, y in spots:
        _blossom(pen, rng, x, y, radius, petal, heart, tulip)


def _blossom(pen: Pen, rng: Generator, x: float, y: float, r: float, petal: Color, heart: Color, tulip: bool) -> None:
    if tulip:
        pen.blob(
            [
                (x - r * 0.8, y - r * 0.8),
                (x - r * 0.3, y - r * 0.4),
                (x, y - r * 1.1),
                (x + r * 0.3, y - r * 0.4),
                (x + r * 0.8, y - r * 0.8),
                (x + r * 0.7, y + r * 0.5),
                (x, y + r),
                (x - r * 0.7, y + r * 0.5),
            ],
            petal,
        )
        pen.blob(
            [(x - r * 0.3, y + r * 0.6), (x, y - r * 0.9), (x + r * 0.3, y + r * 0.6), (x, y + r * 0.95)],
            shade(petal, 1.25),
        )
        return
    num_petals = int(rng.integers(5, 10))
    for i in range(num_petals):
        angle = 360.0 * i / num_petals + rng.uniform(-6, 6)
        dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        pen.ellipse(
            x + dx * r * 0.62,
            y + dy * r * 0.62,
            r * 0.5,
            r * 1.5 / num_petals + r * 0.07,
            shade(petal, 0.88 + 0.24 * (i % 2)),
            angle,
        )
    pen.circle(x, y, r * 0.36, heart)


def bottle(pen: Pen, rng: Generator) -> None:
    """Wine, water or sauce bottle: body, shoulder, neck, cap, label and a highlight."""
    glass = pick(rng, ((44, 92, 56), (110, 66, 34), GLASS, (210, 226, 222)), 0.45)
    wide, neck = rng.uniform(0.13, 0.2), rng.uniform(0.045, 0.065)
    shoulder, top = rng.uniform(0.34, 0.5), rng.uniform(0.02, 0.08)
    slope = rng.uniform(0.06, 0.18)
    half = [
        (neck, top),
        (neck, shoulder - slope),
        (wide * 0.85, shoulder - slope * 0.15),
        (wide, shoulder + 0.06),
        (wide, 0.96),
        (wide - 0.03, 1.0),
    ]
    pen.polygon(half + [(-x, y) for x, y in reversed(half)], glass)
    cap = random_color(rng)
    if rng.random() < 0.4:
        pen.rect(-neck * 1.05, top - 0.03, neck * 1.05, top + rng.uniform(0.1, 0.16), cap, 0.01)
    else:
        pen.rect(-neck * 1.35, top - 0.05, neck * 1.35, top + 0.04, cap, 0.015)
    if rng.random() < 0.7:
        label, y0 = pick(rng, (WHITE, (240, 226, 190)), 0.5), shoulder + rng.uniform(0.1, 0.16)
        y1 = y0 + rng.uniform(0.16, 0.26)
        pen.rect(-wide, y0, wide, y1, label)
        pen.rect(-wide, (y0 + y1) / 2 - 0.025, wide * rng.uniform(0.2, 0.9), (y0 + y1) / 2 + 0.025, random_color(rng))
    pen.stroke([(-wide * 0.62, shoulder + 0.08), (-wide * 0.62, 0.9)], (0.03, 0.02), shade(glass, 1.55))


def cup(pen: Pen, rng: Generator) -> None:
    """A mug, or a rounded tea cup on a saucer; an open rim and a handle on one side."""
    glaze = random_color(rng) if rng.random() < 0.7 else WHITE
    inside = pick(rng, ((70, 42, 26), (150, 96, 50), WHITE), 0.1)
    tea = rng.random() < 0.4
    wide, bottom = rng.uniform(0.32, 0.4), 0.16 if tea else rng.uniform(0.27, 0.34)
    if tea:
        pen.ellipse(0, 0.93, 0.6, 0.09, shade(glaze, 0.75))
        pen.ellipse(0, 0.91, 0.58, 0.08, shade(glaze, 1.15))
    top = 0.42 if tea else rng.uniform(0.16, 0.26)
    grip = (0.6 if tea else 0.58) + rng.uniform(-0.02, 0.03)
    pen.ring(wide * 0.98, grip, rng.uniform(0.13, 0.17), 0.07, shade(glaze, 0.85), 0.85)
    if tea:
        pen.blob(
            [
                (-wide, top),
                (0, top),
                (wide, top),
                (wide * 0.85, 0.68),
                (bottom, 0.91),
                (0, 0.93),
                (-bottom, 0.91),
                (-wide * 0.85, 0.68),
            ],
            glaze,
        )
    else:
        pen.polygon(
            [(-wide, top), (wide, top), (bottom, 0.95), (bottom * 0.7, 0.985), (-bottom * 0.7, 0.985), (-bottom, 0.95)],
            glaze,
        )
    if rng.random() < 0.4:
        band = random_color(rng)
        pen.polygon([(-wide * 0.95, 0.56), (wide * 0.95, 0.56), (wide * 0.9, 0.68), (-wide * 0.9, 0.68)], band)
    pen.ellipse(0, top, wide, 0.09, shade(glaze, 1.25))
    pen.ellipse(0, top + 0.015, wide * 0.86, 0.065, mix(inside, BLACK, 0.2))
    if rng.random() < 0.3:
        for x in (-0.1, 0.08):
            pen.stroke(
                [(x, top - 0.04), (x + 0.05, top - 0.14), (x, top - 0.22), (x + 0.05, top - 0.3)],
                (0.03, 0.03, 0.025, 0.01),
                (225, 225, 228),
                curved=True,
            )
