"""Draws animals: cat, dog, horse, bird. Feet stand at y = 1, the figure is about one unit high."""

from numpy.random import Generator

from trainer.data.drawing.colors import BLACK, FUR, WHITE, Color, mix, pick, random_color, shade
from trainer.data.drawing.pen import Pen


def cat(pen: Pen, rng: Generator) -> None:
    """Sitting and facing us, or walking; pointed ears, long tail, whiskers."""
    fur = pick(rng, FUR)
    belly = mix(fur, WHITE, rng.uniform(0.2, 0.8))
    if rng.random() < 0.55:
        _sitting_cat(pen, rng, fur, belly)
        return
    tail = rng.uniform(-0.35, 0.15)
    pen.stroke(
        [(-0.42, 0.5), (-0.62, 0.4), (-0.7, 0.2 + tail * 0.5), (-0.62, 0.05 + tail)],
        (0.1, 0.085, 0.08, 0.06),
        fur,
        curved=True,
    )
    _walking_legs(pen, rng, fur, 0.42, 0.095, 0.62)
    pen.blob(
        [(-0.48, 0.5), (-0.3, 0.4), (0.1, 0.44), (0.4, 0.4), (0.46, 0.58), (0.25, 0.7), (-0.3, 0.7), (-0.47, 0.64)], fur
    )
    if rng.random() < 0.4:
        for x in (-0.3, -0.16, -0.02, 0.12):
            pen.stroke([(x, 0.42), (x + 0.03, 0.57)], (0.045, 0.012), shade(fur, 0.6))
    _cat_head(pen, rng, 0.5, 0.36, 0.21, fur, belly)


def _sitting_cat(pen: Pen, rng: Generator, fur: Color, belly: Color) -> None:
    side = rng.choice([-1, 1])
    pen.stroke(
        [(side * 0.2, 0.93), (side * 0.42, 0.92), (side * 0.5, 0.75), (side * 0.42, 0.58)],
        (0.1, 0.1, 0.08, 0.06),
        shade(fur, 0.85),
        curved=True,
    )
    wide = rng.uniform(0.27, 0.34)
    pen.blob(
        [(-0.15, 0.4), (0.15, 0.4), (wide * 0.85, 0.7), (wide, 0.95), (0, 0.99), (-wide, 0.95), (-wide * 0.85, 0.7)],
        fur,
    )
    pen.ellipse(0, 0.66, 0.11, 0.2, belly)
    for x in (-0.085, 0.085):
        pen.stroke([(x, 0.7), (x, 0.94)], (0.1, 0.09), shade(fur, 0.9))
        pen.ellipse(x, 0.96, 0.07, 0.04, belly)
    _cat_head(pen, rng, rng.uniform(-0.03, 0.03), 0.28, 0.24, fur, belly)


def _cat_head(pen: Pen, rng: Generator, x: float, y: float, r: float, fur: Color, belly: Color) -> None:
    for side in (-1, 1):
        for size, color in ((1.0, fur), (0.6, (226.0, 150.0, 150.0))):
            tip = (x + side * r * (0.55 + 0.3 * size), y - r * (0.45 + 0.95 * size))
            pen.polygon(
                [
                    (x + side * r * (0.6 + 0.36 * size), y - r * 0.3),
                    (x + side * r * (0.55 - 0.4 * size), y - r * 0.72),
                    tip,
                ],
                color,
            )
    pen.ellipse(x, y, r * 1.08, r * 0.92, fur)
    pen.ellipse(x, y + r * 0.42, r * 0.48, r * 0.34, belly)
    eye = pick(rng, ((120, 190, 90), (230, 190, 70), (110, 170, 210)), 0.0)
    for side in (-1, 1):
        pen.ellipse(x + side * r * 0.45, y - r * 0.08, r * 0.21, r * 0.2, eye)
        pen.ellipse(x + side * r * 0.45, y - r * 0.08, r * 0.08, r * 0.19, BLACK)
        for lift in (-0.08, 0.12):
            pen.stroke(
                [(x + side * r * 0.35, y + r * 0.4), (x + side * r * 1.35, y + r * (0.35 + lift * 2))],
                r * 0.045,
                shade(belly, 1.3),
            )
    pen.polygon([(x - r * 0.12, y + r * 0.24), (x + r * 0.12, y + r * 0.24), (x, y + r * 0.4)], (200, 100, 110))


def _walking_legs(pen: Pen, rng: Generator, fur: Color, reach: float, width: float, top: float) -> None:
    """Four legs from `top` down to y = 1; the far pair is darker and drawn first."""
    for tone, shift in ((0.72, 0.1), (1.0, 0.0)):
        for x in (-reach + width / 2, reach - width / 2):
            foot = x + rng.uniform(-0.08, 0.08) + shift * 0.8
            pen.stroke(
                [(x + shift * 0.5, top - 0.05), ((x + foot) / 2 + 0.015, (top + 1) / 2), (foot, 0.97)],
                (width * 1.5, width, width * 0.8),
                shade(fur, tone),
            )
            pen.ellipse(foot + width * 0.25, 0.98, width * 0.6, width * 0.32, shade(fur, tone * 0.9))


def dog(pen: Pen, rng: Generator) -> None:
    """Standing or sitting in profile; a long snout with a black nose, hanging or upright ear, collar."""
    fur = pick(rng, FUR)
    ear = shade(fur, rng.uniform(0.45, 0.8))
    sitting = rng.random() < 0.4
    if sitting:
        pen.stroke([(-0.28, 0.9), (-0.46, 0.88), (-0.56, 0.74)], (0.1, 0.07, 0.04), fur, curved=True)
        pen.blob([(-0.1, 0.42), (0.16, 0.36), (0.22, 0.6), (0.1, 0.9), (-0.3, 0.97), (-0.38, 0.8), (-0.28, 0.6)], fur)
        pen.ellipse(-0.2, 0.82, 0.17, 0.15, shade(fur, 0.88))
        pen.stroke([(0.14, 0.55), (0.17, 0.96)], (0.14, 0.085), shade(fur, 1.08))
        pen.ellipse(0.2, 0.97, 0.08, 0.035, shade(fur, 0.9))
        pen.ellipse(-0.1, 0.965, 0.14, 0.04, shade(fur, 0.9))
        neck, head = (0.05, 0.48), (0.1, 0.24)
    else:
        top = rng.uniform(0.6, 0.7)
        lift = rng.uniform(0.1, 0.4)
        pen.stroke(
            [(-0.5, top - 0.14), (-0.64, top - 0.2 - lift * 0.4), (-0.68, top - 0.24 - lift)],
            (0.1, 0.07, 0.035),
            fur,
            curved=True,
        )
        _walking_legs(pen, rng, fur, 0.45, 0.1, top + 0.02)
        pen.blob(
            [
                (-0.52, top - 0.16),
                (-0.3, top - 0.22),
                (0.2, top - 0.2),
                (0.46, top - 0.26),
                (0.5, top),
                (0.3, top + 0.12),
                (-0.1, top + 0.03),
                (-0.44, top + 0.06),
            ],
            fur,
        )
        neck, head = (0.4, top - 0.1), (0.56, top - 0.36)
    if rng.random() < 0.4:
        pen.ellipse(neck[0] - 0.2, neck[1] + 0.1, 0.13, 0.09, mix(fur, WHITE, 0.7), 20)
    _dog_head(pen, rng, neck, head, fur, ear)


def _dog_head(
    pen: Pen, rng: Generator, neck: tuple[float, float], head: tuple[float, float], fur: Color, ear: Color
) -> None:
    x, y = head
    pen.stroke([neck, (x - 0.02, y + 0.02)], (0.3, 0.2), fur)
    if rng.random() < 0.5:
        collar = random_color(rng)
        middle = (0.5 * (neck[0] + x), 0.5 * (neck[1] + y) + 0.02)
        pen.stroke([(middle[0] - 0.1, middle[1] - 0.03), (middle[0] + 0.12, middle[1] + 0.05)], 0.05, collar)
    snout = rng.uniform(0.22, 0.32)
    if rng.random() < 0.4:  # tongue
        pen.ellipse(x + snout * 0.75, y + 0.16, 0.035, 0.07, (226, 110, 120))
    pen.ellipse(x, y, 0.17, 0.155, fur)
    pen.blob(
        [
            (x + 0.02, y - 0.06),
            (x + snout, y - 0.01),
            (x + snout + 0.03, y + 0.07),
            (x + snout - 0.03, y + 0.12),
            (x + 0.02, y + 0.14),
        ],
        shade(fur, 1.15),
    )
    pen.ellipse(x + snout + 0.005, y + 0.015, 0.045, 0.038, BLACK)
    pen.stroke([(x + snout, y + 0.09), (x + 0.1, y + 0.09)], 0.015, shade(fur, 0.4))
    pen.circle(x + 0.06, y - 0.055, 0.03, BLACK)
    pen.circle(x + 0.068, y - 0.063, 0.01, WHITE)
    if rng.random() < 0.65:
        pen.blob(
            [(x - 0.12, y - 0.12), (x - 0.02, y - 0.1), (x - 0.02, y + 0.1), (x - 0.1, y + 0.2), (x - 0.18, y + 0.1)],
            ear,
        )
    else:
        pen.polygon([(x - 0.14, y - 0.07), (x - 0.13, y - 0.28), (x + 0.02, y - 0.12)], ear)


def horse(pen: Pen, rng: Generator) -> None:
    """In profile, standing or grazing-high: long legs, arched neck with a mane, long face and hanging tail."""
    coat = pick(rng, FUR)
    mane = shade(coat, 0.45) if rng.random() < 0.7 else mix(coat, WHITE, 0.7)
    swing = rng.uniform(0.0, 0.15)
    pen.stroke([(-0.42, 0.42), (-0.54 - swing, 0.5), (-0.54 - swing, 0.78)], (0.07, 0.11, 0.05), mane, curved=True)
    for tone, shift in ((0.7, 0.08), (1.0, 0.0)):
        for x, bend in ((-0.34, -0.03), (0.3, 0.03)):
            foot = x + shift + rng.uniform(-0.1, 0.1)
            knee = ((x + shift + foot) / 2 + bend, 0.76)
            pen.stroke([(x + shift * 0.5, 0.54), knee, (foot, 0.96)], (0.16, 0.07, 0.05), shade(coat, tone))
            pen.polygon([(foot - 0.035, 0.94), (foot + 0.035, 0.94), (foot + 0.055, 1.0), (foot - 0.045, 1.0)], BLACK)
    pen.blob(
        [(-0.46, 0.44), (-0.3, 0.35), (0.0, 0.4), (0.3, 0.35), (0.42, 0.48), (0.3, 0.63), (-0.1, 0.64), (-0.38, 0.62)],
        coat,
    )
    x, y = 0.58 + rng.uniform(-0.06, 0.06), 0.1 + rng.uniform(-0.04, 0.1)
    pen.blob([(0.2, 0.4), (x - 0.14, y + 0.02), (x + 0.02, y), (x - 0.02, y + 0.18), (0.42, 0.52)], coat)
    pen.stroke(
        [(0.2, 0.38), (x - 0.24, y + 0.12), (x - 0.1, y - 0.02), (x, y - 0.03)],
        (0.05, 0.09, 0.08, 0.04),
        mane,
        curved=True,
    )
    pen.polygon([(x - 0.06, y), (x - 0.02, y - 0.13), (x + 0.04, y)], coat)
    pen.blob(
        [
            (x - 0.07, y),
            (x + 0.06, y),
            (x + 0.26, y + 0.2),
            (x + 0.24, y + 0.28),
            (x + 0.14, y + 0.27),
            (x - 0.04, y + 0.17),
        ],
        coat,
    )
    pen.ellipse(x + 0.21, y + 0.235, 0.05, 0.04, shade(coat, 0.7), 45)
    pen.circle(x + 0.05, y + 0.07, 0.022, BLACK)
    if rng.random() < 0.3:  # saddle
        pen.blob([(-0.14, 0.36), (0.1, 0.36), (0.08, 0.5), (-0.1, 0.5)], random_color(rng))


def bird(pen: Pen, rng: Generator) -> None:
    """Perching in profile, or flying with spread wings."""
    plumage = random_color(rng)
    wing, belly = shade(plumage, rng.uniform(0.5, 0.8)), mix(plumage, WHITE, rng.uniform(0.2, 0.7))
    beak = pick(rng, ((236, 168, 40), (60, 60, 60), (220, 96, 50)), 0.1)
    flying = rng.random() < 0.45
    if flying:
        up = rng.uniform(0.25, 0.5)
        pen.blob([(0.02, 0.5), (0.12, 0.3), (0.3, 0.48 - up), (0.2, 0.5)], shade(wing, 0.75))
    else:
        for x in (0.0, 0.1):
            pen.stroke([(x, 0.8), (x + 0.02, 0.98), (x + 0.1, 0.98)], 0.025, shade(beak, 0.8))
    pen.polygon([(-0.25, 0.55), (-0.66, 0.62 + rng.uniform(-0.1, 0.25)), (-0.58, 0.75), (-0.2, 0.72)], wing)
    pen.blob([(-0.3, 0.6), (-0.05, 0.45), (0.22, 0.42), (0.33, 0.58), (0.18, 0.78), (-0.08, 0.83)], plumage)
    pen.blob([(-0.05, 0.75), (0.2, 0.62), (0.3, 0.6), (0.2, 0.76), (0.0, 0.82)], belly)
    pen.polygon([(0.46, 0.34), (0.46, 0.46), (0.64 + rng.uniform(0, 0.1), 0.42)], beak)
    pen.circle(0.34, 0.39, 0.155, plumage)
    pen.circle(0.4, 0.355, 0.035, WHITE)
    pen.circle(0.405, 0.355, 0.023, BLACK)
    if flying:
        pen.blob(
            [(0.14, 0.56), (-0.02, 0.62), (-0.16, 0.56), (-0.38, 0.42 - up), (-0.12, 0.44 - up * 0.7), (0.05, 0.4)],
            wing,
        )
    else:
        pen.blob([(0.16, 0.55), (0.05, 0.72), (-0.2, 0.74), (-0.42, 0.66), (-0.15, 0.54)], wing)
