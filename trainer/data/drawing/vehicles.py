"""Draws what moves people: car, bus, bicycle, boat, plane. The ground (or waterline) is at y = 1."""

from numpy.random import Generator

from trainer.data.drawing.colors import BLACK, GLASS, STEEL, WHITE, WOOD, Color, mix, pick, random_color, shade
from trainer.data.drawing.pen import Pen


def _wheel(pen: Pen, x: float, radius: float, rim: Color) -> None:
    pen.circle(x, 1 - radius, radius, BLACK)
    pen.circle(x, 1 - radius, radius * 0.58, rim)
    pen.circle(x, 1 - radius, radius * 0.2, shade(rim, 0.5))


def car(pen: Pen, rng: Generator) -> None:
    """Saloon, hatchback, pickup or van in profile, or seen from the front."""
    paint, rim = random_color(rng), pick(rng, (STEEL, WHITE, (90, 90, 94)), 0.1)
    glass = shade(GLASS, rng.uniform(0.45, 1.0))
    if rng.random() < 0.2:
        _car_front(pen, rng, paint, glass)
        return
    radius, long = rng.uniform(0.14, 0.17), rng.uniform(0.85, 1.0)
    roof = rng.uniform(0.36, 0.46)
    front, back = rng.uniform(0.22, 0.34), rng.uniform(-0.86, -0.45) * long  # where the roof ends
    rise = 0.66
    pen.polygon([(back - 0.14, rise), (back, roof), (front - 0.02, roof), (front + 0.26, rise)], paint)
    middle = (front + back) / 2 + 0.05
    pen.polygon(
        [(back - 0.06, rise), (back + 0.03, roof + 0.05), (middle - 0.02, roof + 0.05), (middle - 0.02, rise)], glass
    )
    pen.polygon(
        [(middle + 0.02, rise), (middle + 0.02, roof + 0.05), (front - 0.05, roof + 0.05), (front + 0.17, rise)], glass
    )
    hood = rng.uniform(0.66, 0.7)
    pen.blob(
        [
            (-long, 0.66),
            (-long * 0.6, 0.63),
            (front + 0.2, 0.64),
            (long * 0.8, hood),
            (long, 0.74),
            (long, 0.87),
            (0, 0.89),
            (-long, 0.88),
        ],
        paint,
    )
    pen.rect(-long * 0.98, 0.84, long * 0.98, 0.9, shade(paint, 0.55), 0.02)
    pen.ellipse(long * 0.95, 0.74, 0.05, 0.04, (250, 238, 180))
    pen.rect(-long * 0.99, 0.69, -long * 0.93, 0.77, (200, 40, 40), 0.01)
    pen.rect(middle - 0.16, 0.71, middle - 0.08, 0.73, shade(paint, 0.5))
    pen.stroke([(middle, 0.66), (middle, 0.84)], 0.012, shade(paint, 0.6))
    for x in (-long * 0.6, long * 0.6):
        pen.sector(x, 0.88, radius * 1.2, radius * 1.3, 180, 360, shade(paint, 0.35))
        _wheel(pen, x, radius, rim)


def _car_front(pen: Pen, rng: Generator, paint: Color, glass: Color) -> None:
    for side in (-1, 1):
        pen.rect(side * 0.36 - 0.08, 0.8, side * 0.36 + 0.08, 1.0, BLACK, 0.03)
        pen.ellipse(side * 0.5, 0.5, 0.06, 0.045, shade(paint, 0.8))
    top = rng.uniform(0.2, 0.3)
    pen.polygon([(-0.42, 0.55), (-0.3, top), (0.3, top), (0.42, 0.55)], shade(paint, 0.9))
    pen.polygon([(-0.37, 0.54), (-0.27, top + 0.05), (0.27, top + 0.05), (0.37, 0.54)], glass)
    pen.rect(-0.48, 0.53, 0.48, 0.92, paint, 0.09)
    pen.rect(-0.2, 0.66, 0.2, 0.78, shade(paint, 0.3), 0.03)
    pen.rect(-0.46, 0.83, 0.46, 0.9, STEEL, 0.03)
    pen.rect(-0.1, 0.81, 0.1, 0.88, WHITE)
    for side in (-1, 1):
        pen.ellipse(side * 0.34, 0.7, 0.09, 0.075, (250, 240, 190))
        pen.ellipse(side * 0.34, 0.7, 0.05, 0.045, WHITE)


def bus(pen: Pen, rng: Generator) -> None:
    """A long box in profile with a row of windows, one or two decks."""
    paint, stripe = random_color(rng), random_color(rng)
    glass = shade(GLASS, rng.uniform(0.45, 1.0))
    double = rng.random() < 0.35
    long, top = (rng.uniform(0.75, 0.95), 0.0) if double else (rng.uniform(0.95, 1.35), 0.2)
    pen.rect(-long, top, long, 0.9, paint, 0.08)
    pen.rect(-long, 0.66, long, 0.72, stripe)
    pen.rect(-long, 0.86, long, 0.92, shade(paint, 0.5), 0.02)
    num_windows = int(rng.integers(4, 7))
    step = 1.72 * long / num_windows
    for row in (0.09, 0.52) if double else (top + 0.1,):
        deep = 0.2 if double else 0.3
        pen.rect(-long * 0.95, row - 0.015, long * 0.96, row + deep * 0.75 + 0.015, shade(paint, 0.7), 0.02)
        for i in range(num_windows):
            x = -long * 0.93 + i * step
            pen.rect(x, row, x + step * 0.86, row + deep * 0.75, glass, 0.02)
    pen.rect(long * 0.82, top + 0.1, long * 1.0, top + 0.42, shade(glass, 1.2), 0.03)
    door = long * rng.uniform(0.5, 0.62)
    pen.rect(door, 0.5, door + 0.18, 0.88, shade(glass, 0.75), 0.015)
    pen.stroke([(door + 0.09, 0.5), (door + 0.09, 0.88)], 0.02, shade(paint, 0.6))
    pen.ellipse(long * 0.98, 0.8, 0.04, 0.035, (250, 238, 170))
    for x in (-long * 0.6, long * 0.35):
        pen.sector(x, 0.9, 0.15, 0.15, 180, 360, shade(paint, 0.35))
        _wheel(pen, x, 0.12, STEEL)


def bicycle(pen: Pen, rng: Generator) -> None:
    """Two spoked wheels, a diamond or low frame, saddle and handlebar."""
    frame, tyre = random_color(rng), pick(rng, (BLACK,), 0.15)
    radius, thick = rng.uniform(0.27, 0.31), rng.uniform(0.035, 0.055)
    back, front = (-0.46, 1 - radius), (0.46, 1 - radius)
    for x, y in (back, front):
        for angle in range(0, 180, 36):
            _spoke(pen, x, y, radius, angle + rng.uniform(0, 10))
        pen.ring(x, y, radius * 0.94, 0.055, tyre)
        pen.circle(x, y, 0.03, STEEL)
    crank, saddle, head = (-0.06, 1 - radius + 0.02), (-0.2, 0.36), (0.31, 0.38)
    low = rng.random() < 0.35
    tube_start = (-0.14, 0.6) if low else (-0.17, 0.46)
    for a, b in ((back, crank), (back, saddle), (crank, saddle), (crank, head), (tube_start, head), (head, front)):
        pen.stroke([a, b], thick, frame)
    pen.circle(*crank, 0.07, shade(STEEL, 0.7))
    pen.stroke([(crank[0] - 0.08, crank[1] + 0.08), (crank[0] + 0.08, crank[1] - 0.08)], 0.03, BLACK)
    pen.blob([(-0.34, 0.32), (-0.2, 0.3), (-0.06, 0.33), (-0.2, 0.37)], pick(rng, (BLACK, (120, 70, 40)), 0.2))
    pen.stroke([head, (0.28, 0.26)], thick, frame)
    bar = (
        [(0.28, 0.26), (0.42, 0.24), (0.44, 0.33)] if rng.random() < 0.5 else [(0.38, 0.27), (0.28, 0.25), (0.18, 0.22)]
    )
    pen.stroke(bar, 0.04, BLACK, curved=True)
    if rng.random() < 0.3:
        pen.rect(0.34, 0.34, 0.62, 0.52, pick(rng, WOOD), 0.03)


def _spoke(pen: Pen, x: float, y: float, radius: float, angle: float) -> None:
    pen.ellipse(x, y, radius * 0.94, 0.008, STEEL, angle)


def boat(pen: Pen, rng: Generator) -> None:
    """A sailing boat, a motor boat or a steamer, all with a pointed hull."""
    hull, trim = random_color(rng), random_color(rng)
    kind = rng.random()
    deep, bow = rng.uniform(0.16, 0.26), rng.uniform(0.05, 0.2)
    if kind < 0.55:
        _sails(pen, rng, 1 - deep)
        wide = 0.55
    elif kind < 0.8:
        wide = 0.75
        roof = 1 - deep - rng.uniform(0.22, 0.3)
        pen.polygon([(-0.4, 1 - deep), (-0.36, roof), (0.1, roof), (0.3, 1 - deep)], WHITE)
        pen.polygon(
            [(-0.3, 1 - deep - 0.04), (-0.28, roof + 0.05), (0.06, roof + 0.05), (0.2, 1 - deep - 0.04)],
            shade(GLASS, 0.7),
        )
    else:
        wide = 0.85
        _steamer_deck(pen, rng, 1 - deep, trim)
    level = 1 - deep
    pen.polygon([(-wide, level), (wide + 0.1, level - bow * 0.5), (wide * 0.78, 1.0), (-wide * 0.82, 1.0)], hull)
    pen.polygon(
        [
            (-wide, level),
            (wide + 0.1, level - bow * 0.5),
            (wide + 0.06, level - bow * 0.4 + 0.05),
            (-wide * 0.98, level + 0.05),
        ],
        trim,
    )
    pen.polygon([(-wide * 0.85, 0.95), (wide * 0.83, 0.95), (wide * 0.78, 1.0), (-wide * 0.82, 1.0)], shade(hull, 0.55))


def _sails(pen: Pen, rng: Generator, deck: float) -> None:
    sail = pick(rng, (WHITE, (236, 226, 200)), 0.45)
    mast, belly = rng.uniform(-0.1, 0.08), rng.uniform(0.02, 0.08)
    top = rng.uniform(-0.25, 0.05)
    pen.stroke([(mast, deck), (mast, top - 0.04)], 0.03, pick(rng, WOOD, 0.0))
    pen.blob(
        [
            (mast + 0.03, top),
            (mast + 0.22 + belly, (top + deck) / 2),
            (mast + 0.5, deck - 0.1),
            (mast + 0.25, deck - 0.08),
            (mast + 0.03, deck - 0.1),
        ],
        sail,
    )
    if rng.random() < 0.75:
        second = shade(sail, 0.85) if rng.random() < 0.6 else random_color(rng)
        pen.polygon([(mast - 0.03, top + 0.1), (mast - 0.03, deck - 0.08), (mast - 0.45, deck - 0.08)], second)
    if rng.random() < 0.4:
        pen.polygon([(mast, top - 0.05), (mast, top + 0.03), (mast - 0.14, top - 0.01)], random_color(rng))


def _steamer_deck(pen: Pen, rng: Generator, level: float, trim: Color) -> None:
    for x in (-0.22, 0.06)[: int(rng.integers(1, 3))]:
        pen.rect(x, level - 0.52, x + 0.16, level - 0.2, trim)
        pen.rect(x, level - 0.52, x + 0.16, level - 0.45, BLACK)
    for row, reach in ((0, 0.6), (1, 0.42)):
        y = level - 0.16 * (row + 1)
        pen.rect(-reach, y, reach * 0.8, y + 0.17, shade(WHITE, 0.95 - 0.06 * row))
        for i in range(5):
            x = -reach * 0.85 + i * reach * 0.33
            pen.rect(x, y + 0.04, x + reach * 0.17, y + 0.11, shade(GLASS, 0.6))


def plane(pen: Pen, rng: Generator) -> None:
    """An airliner in profile, or any plane from above with swept or straight wings."""
    body = pick(rng, (WHITE, STEEL), 0.4)
    trim = random_color(rng)
    if rng.random() < 0.5:
        _plane_from_above(pen, rng, body, trim)
        return
    thick = rng.uniform(0.1, 0.14)
    pen.polygon([(0.12, 0.5), (-0.1, 0.5), (-0.34, 0.24), (-0.24, 0.24)], shade(body, 0.7))
    pen.polygon([(-0.66, 0.48), (-0.94, 0.48), (-1.04, 0.12), (-0.9, 0.12)], trim)
    pen.blob(
        [
            (-1.0, 0.48),
            (-0.5, 0.5 - thick),
            (0.6, 0.5 - thick),
            (0.9, 0.46),
            (1.02, 0.54),
            (0.85, 0.6),
            (0.3, 0.5 + thick),
            (-0.5, 0.5 + thick),
        ],
        body,
    )
    pen.rect(-0.75, 0.555, 0.88, 0.585, trim)
    for i in range(int(rng.integers(7, 11))):
        pen.rect(-0.55 + i * 0.12, 0.46, -0.5 + i * 0.12, 0.515, shade(GLASS, 0.5), 0.01)
    pen.polygon([(0.78, 0.45), (0.88, 0.46), (0.93, 0.505), (0.78, 0.505)], shade(GLASS, 0.4))
    pen.polygon([(-0.7, 0.5), (-0.86, 0.5), (-1.1, 0.62), (-1.0, 0.62)], shade(body, 0.8))
    pen.rect(-0.02, 0.66, 0.24, 0.76, shade(trim, 0.8), 0.05)
    pen.polygon([(0.25, 0.56), (-0.12, 0.56), (-0.5, 0.88), (-0.36, 0.88)], shade(body, 0.82))


def _plane_from_above(pen: Pen, rng: Generator, body: Color, trim: Color) -> None:
    sweep, span, chord = rng.uniform(0.0, 0.4), rng.uniform(0.65, 0.95), rng.uniform(0.2, 0.3)
    wing = shade(body, 0.85) if rng.random() < 0.6 else trim
    for side in (-1, 1):
        pen.polygon(
            [
                (0.25, side * 0.05),
                (0.25 - chord * 1.2, side * 0.05),
                (0.1 - sweep - chord * 0.5, side * span),
                (0.1 - sweep + chord * 0.2, side * span),
            ],
            wing,
        )
        pen.polygon(
            [
                (-0.62, side * 0.03),
                (-0.84, side * 0.03),
                (-0.92 - sweep * 0.3, side * 0.32),
                (-0.8 - sweep * 0.3, side * 0.32),
            ],
            mix(wing, trim, 0.5),
        )
        x = 0.14 - sweep * 0.45
        pen.rect(x - 0.08, side * span * 0.42 - 0.05, x + 0.14, side * span * 0.42 + 0.05, shade(trim, 0.8), 0.05)
    pen.blob(
        [(-0.95, 0), (-0.5, -0.07), (0.5, -0.1), (0.85, -0.06), (0.98, 0), (0.85, 0.06), (0.5, 0.1), (-0.5, 0.07)], body
    )
    pen.blob([(0.7, -0.055), (0.82, -0.04), (0.82, 0.04), (0.7, 0.055)], shade(GLASS, 0.4))
    pen.stroke([(-0.92, 0), (-0.6, 0)], (0.05, 0.02), trim)
