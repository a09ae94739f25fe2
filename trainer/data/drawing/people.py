"""Draws people, from head to feet. Feet stand at y = 1, the figure is one unit high."""

from numpy.random import Generator

from trainer.data.drawing.colors import BLACK, HAIR, SKIN, WHITE, Color, pick, random_color, shade
from trainer.data.drawing.pen import Pen


def person(pen: Pen, rng: Generator) -> None:
    """Standing, walking or waving; a child has a larger head."""
    skin, hair = pick(rng, SKIN, 0.0), pick(rng, HAIR, 0.1)
    shirt, trousers = random_color(rng), random_color(rng)
    head = rng.uniform(0.085, 0.1) if rng.random() < 0.7 else rng.uniform(0.115, 0.135)
    neck, hip, wide = 2 * head + 0.02, rng.uniform(0.5, 0.56), rng.uniform(0.095, 0.14)
    skirt = rng.random() < 0.3
    long_hair = skirt or rng.random() < 0.25
    if long_hair:
        pen.blob([(-head, 0.06), (0, -0.02), (head, 0.06), (head * 1.2, neck + 0.1), (-head * 1.2, neck + 0.1)], hair)
    _legs(pen, rng, hip, wide, skin if skirt else trousers)
    if skirt:
        flare = wide * rng.uniform(1.3, 1.9)
        pen.polygon(
            [(-wide * 0.8, hip - 0.08), (wide * 0.8, hip - 0.08), (flare, hip + 0.2), (-flare, hip + 0.2)], trousers
        )
    _arms(pen, rng, neck, wide, skin, shade(shirt, 0.82))
    shoulders = neck + 0.045
    pen.stroke([(0, neck - 0.06), (0, shoulders)], 0.065, shade(skin, 0.85))
    pen.blob(
        [(-wide, shoulders), (0, neck), (wide, shoulders), (wide * 0.85, hip), (0, hip + 0.03), (-wide * 0.85, hip)],
        shirt,
    )
    if rng.random() < 0.3:
        for level in (0.25, 0.5, 0.75):
            y = shoulders + level * (hip - shoulders)
            pen.rect(-wide * 0.9, y, wide * 0.9, y + 0.025, shade(shirt, 1.5))
    _head(pen, rng, head, skin, hair)


def _legs(pen: Pen, rng: Generator, hip: float, wide: float, color: Color) -> None:
    stride = rng.uniform(0.02, 0.16)
    shoe = pick(rng, (BLACK, WHITE), 0.4)
    for side, tone in ((-1, 0.8), (1, 1.0)):
        foot = side * (wide * 0.4 + stride)
        pen.stroke(
            [(side * wide * 0.45, hip), (foot * 0.75, (hip + 0.96) / 2), (foot, 0.96)],
            (0.11, 0.09, 0.065),
            shade(color, tone),
        )
        pen.ellipse(foot + 0.025, 0.975, 0.055, 0.027, shoe)


def _arms(pen: Pen, rng: Generator, neck: float, wide: float, skin: Color, sleeve: Color) -> None:
    for side in (-1, 1):
        shoulder = (side * wide * 0.9, neck + 0.06)
        reach, lift = rng.uniform(0.03, 0.14), rng.uniform(0.15, 0.2)
        if rng.random() < 0.2:  # waving
            elbow, hand = (
                (shoulder[0] + side * 0.1, shoulder[1] + 0.03),
                (shoulder[0] + side * 0.13, shoulder[1] - 0.15),
            )
        else:
            elbow = (shoulder[0] + side * reach, shoulder[1] + lift * 0.8)
            hand = (elbow[0] + side * rng.uniform(-0.06, 0.05), elbow[1] + lift * 0.85)
        pen.stroke([elbow, hand], 0.045, skin)
        pen.circle(*hand, 0.032, skin)
        pen.stroke([shoulder, elbow], 0.065, sleeve)


def _head(pen: Pen, rng: Generator, head: float, skin: Color, hair: Color) -> None:
    y = head + 0.01
    pen.ellipse(0, y, head * 0.82, head, skin)
    pen.sector(0, y - head * 0.12, head * 0.9, head * 0.95, 180, 360, hair)
    if rng.random() < 0.2:  # a hat
        hat = random_color(rng)
        pen.sector(0, y - head * 0.3, head * 0.9, head * 0.9, 180, 360, hat)
        pen.rect(-head * 1.3, y - head * 0.35, head * 1.3, y - head * 0.18, shade(hat, 0.75), 0.02)
    for side in (-1, 1):
        pen.circle(side * head * 0.32, y + head * 0.08, head * 0.1, BLACK)
    pen.stroke(
        [(-head * 0.25, y + head * 0.5), (0, y + head * 0.58), (head * 0.25, y + head * 0.5)], head * 0.1, (150, 60, 60)
    )
