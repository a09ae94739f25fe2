"""Draws what stands in a room: chair, sofa, table, lamp, tv. The floor is at y = 1."""

from numpy.random import Generator

from trainer.data.drawing.colors import BLACK, STEEL, WHITE, WOOD, Color, pick, random_color, shade
from trainer.data.drawing.pen import Pen


def chair(pen: Pen, rng: Generator) -> None:
    """A four-legged chair seen at an angle, or an office chair."""
    color = pick(rng, WOOD, 0.5)
    seat = random_color(rng) if rng.random() < 0.4 else shade(color, 1.15)
    if rng.random() < 0.25:
        _office_chair(pen, rng, seat)
        return
    wide, level, skew, leg = (
        rng.uniform(0.5, 0.62),
        rng.uniform(0.52, 0.6),
        rng.uniform(0.1, 0.2),
        rng.uniform(0.05, 0.07),
    )
    back_left, back_right = skew, skew + wide
    for x, top, bottom in ((back_left + 0.03, level, 0.88), (back_right - 0.03, level, 0.88)):
        pen.stroke([(x, top), (x, bottom)], leg, shade(color, 0.65))
    top = rng.uniform(-0.05, 0.06)
    for x in (back_left + 0.03, back_right - 0.03):
        pen.stroke([(x, level), (x + 0.02, top)], leg, shade(color, 0.85))
    _chair_back(pen, rng, back_left + 0.04, back_right - 0.01, top, level, color)
    front = level + 0.13
    pen.polygon([(back_left, level), (back_right, level), (wide, front), (0, front)], seat)
    pen.polygon([(0, front), (wide, front), (wide, front + 0.06), (0, front + 0.06)], shade(seat, 0.7))
    pen.polygon(
        [(wide, front), (back_right, level), (back_right, level + 0.05), (wide, front + 0.06)], shade(seat, 0.55)
    )
    for x in (0.04, wide - 0.04):
        pen.stroke([(x, front + 0.06), (x, 0.98)], leg, color)


def _chair_back(pen: Pen, rng: Generator, left: float, right: float, top: float, level: float, color: Color) -> None:
    kind = rng.random()
    if kind < 0.35:
        pen.rect(left, top, right, top + (level - top) * 0.7, color, 0.05)
    elif kind < 0.7:
        for share in (0.05, 0.33, 0.6):
            y = top + (level - top) * share
            pen.rect(left, y, right, y + 0.08, shade(color, 1.05), 0.02)
    else:
        pen.rect(left - 0.02, top, right + 0.02, top + 0.09, color, 0.03)
        for i in range(4):
            x = left + (right - left) * (i + 0.7) / 4.6
            pen.stroke([(x, top + 0.05), (x, level)], 0.035, shade(color, 0.95))


def _office_chair(pen: Pen, rng: Generator, color: Color) -> None:
    for foot in (-0.3, -0.12, 0.12, 0.3):
        pen.stroke([(0, 0.84), (foot, 0.95)], 0.05, BLACK)
        pen.circle(foot, 0.97, 0.035, BLACK)
    pen.stroke([(0, 0.6), (0, 0.86)], 0.06, STEEL)
    pen.stroke([(0.12, 0.62), (0.24, 0.58), (0.22, 0.3)], 0.05, BLACK)
    pen.rect(0.1, -0.02, 0.24, rng.uniform(0.42, 0.5), color, 0.07)
    pen.rect(-0.32, 0.54, 0.22, 0.65, shade(color, 0.85), 0.05)
    if rng.random() < 0.6:
        pen.stroke([(-0.18, 0.38), (0.12, 0.38)], 0.05, BLACK)
        pen.stroke([(-0.05, 0.38), (-0.02, 0.56)], 0.04, BLACK)


def sofa(pen: Pen, rng: Generator) -> None:
    """Seen from the front: a broad back, two arms, one to three seat cushions, short legs."""
    cloth = random_color(rng)
    wide, arm, num_seats = rng.uniform(0.75, 1.15), rng.uniform(0.13, 0.22), int(rng.integers(2, 4))
    top, seat, rounding = rng.uniform(0.28, 0.42), rng.uniform(0.64, 0.7), rng.uniform(0.03, 0.14)
    for x in (-wide * 0.85, wide * 0.85):
        pen.rect(x - 0.03, 0.88, x + 0.03, 1.0, pick(rng, WOOD, 0.1))
    inner = wide - arm
    pen.rect(-wide * 0.94, top, wide * 0.94, 0.85, shade(cloth, 0.8), rounding)
    step = 2 * inner / num_seats
    for i in range(num_seats):
        x = -inner + i * step
        pen.rect(x + 0.01, top + 0.05, x + step - 0.01, seat + 0.05, shade(cloth, 0.95), 0.06)
        pen.rect(x + 0.005, seat, x + step - 0.005, seat + 0.13, shade(cloth, 1.18), 0.04)
    pen.rect(-inner, seat + 0.12, inner, 0.92, shade(cloth, 0.7))
    for side in (-1, 1):
        left, right = sorted((side * wide, side * inner))
        pen.rect(left, seat - rng.uniform(0.1, 0.13), right, 0.93, cloth, min(rounding + 0.02, 0.1))
    for _ in range(int(rng.integers(0, 3))):
        x, pillow = rng.uniform(-inner + 0.15, inner - 0.15), random_color(rng)
        pen.blob(
            [
                (x - 0.14, seat - 0.2),
                (x, seat - 0.18),
                (x + 0.14, seat - 0.21),
                (x + 0.12, seat + 0.02),
                (x - 0.12, seat + 0.02),
            ],
            pillow,
        )


def table(pen: Pen, rng: Generator) -> None:
    """A rectangular table at an angle, a round one on a foot, or a table with a cloth."""
    wood = pick(rng, WOOD, 0.35)
    kind = rng.random()
    if kind < 0.3:
        level, wide = rng.uniform(0.38, 0.46), rng.uniform(0.55, 0.75)
        pen.polygon([(-0.05, level), (0.05, level), (0.07, 0.95), (-0.07, 0.95)], shade(wood, 0.75))
        pen.ellipse(0, 0.95, 0.3, 0.05, shade(wood, 0.65))
        pen.ellipse(0, level + 0.05, wide, 0.14, shade(wood, 0.6))
        pen.ellipse(0, level, wide, 0.14, wood)
        return
    wide, level, skew, leg = (
        rng.uniform(0.65, 1.05),
        rng.uniform(0.34, 0.5),
        rng.uniform(0.12, 0.28),
        rng.uniform(0.05, 0.09),
    )
    front = level + rng.uniform(0.13, 0.2)
    for x in (-wide + 2 * skew, wide - skew * 0.4):
        pen.rect(x - leg / 2, level, x + leg / 2, 0.86, shade(wood, 0.6))
    corners = [(-wide + skew, level), (wide, level), (wide - skew, front), (-wide, front)]
    for x in (-wide + leg, wide - skew - leg):
        pen.rect(x - leg / 2, front, x + leg / 2, 1.0, shade(wood, 0.85))
    pen.polygon(
        [(-wide, front), (wide - skew, front), (wide - skew, front + 0.07), (-wide, front + 0.07)], shade(wood, 0.7)
    )
    pen.polygon(
        [(wide, level), (wide - skew, front), (wide - skew, front + 0.07), (wide, level + 0.07)], shade(wood, 0.55)
    )
    pen.polygon(corners, shade(wood, 1.12))
    if kind < 0.5:
        cloth = random_color(rng)
        pen.polygon(corners, shade(cloth, 1.1))
        pen.polygon([(-wide, front), (wide - skew, front), (wide - skew, front + 0.16), (-wide, front + 0.16)], cloth)
    elif kind < 0.7:
        pen.rect(-wide + 0.15, front + 0.07, wide - skew - 0.15, front + 0.19, shade(wood, 0.8))
        pen.circle(-skew / 2, front + 0.13, 0.025, BLACK)


def lamp(pen: Pen, rng: Generator) -> None:
    """A floor or table lamp with a shade, or a jointed desk lamp."""
    stand, cover = pick(rng, (BLACK, STEEL, (190, 160, 90)), 0.35), random_color(rng)
    if rng.random() < 0.6:
        cover = pick(rng, ((250, 232, 180), (244, 214, 150), WHITE), 0.0)
    if rng.random() < 0.25:
        _desk_lamp(pen, rng, cover, stand)
        return
    tall = rng.random() < 0.5
    wide = rng.uniform(0.16, 0.22) if tall else rng.uniform(0.32, 0.42)
    narrow, deep = wide * rng.uniform(0.4, 0.75), wide * rng.uniform(1.1, 1.5)
    pen.ellipse(0, 0.96, wide * 0.7, 0.04, shade(stand, 0.8))
    pen.stroke([(0, deep - 0.05), (0, 0.95)], rng.uniform(0.03, 0.05), stand)
    if not tall and rng.random() < 0.7:
        round_foot = random_color(rng)
        middle = (deep + 0.95) / 2
        pen.blob(
            [
                (-0.05, deep + 0.02),
                (0.05, deep + 0.02),
                (0.17, middle + 0.1),
                (0.08, 0.95),
                (-0.08, 0.95),
                (-0.17, middle + 0.1),
            ],
            round_foot,
        )
    pen.polygon([(-narrow, 0), (narrow, 0), (wide, deep), (-wide, deep)], cover)
    pen.polygon([(-narrow * 0.3, 0), (narrow * 0.4, 0), (wide * 0.4, deep), (-wide * 0.3, deep)], shade(cover, 1.35))
    pen.ellipse(0, deep, wide, 0.03, shade(cover, 0.7))
    if rng.random() < 0.35:
        pen.rect(-wide * 0.98, deep - 0.05, wide * 0.98, deep, shade(cover, 0.6))


def _desk_lamp(pen: Pen, rng: Generator, cover: Color, stand: Color) -> None:
    elbow = (-0.25 + rng.uniform(-0.08, 0.08), 0.5)
    head = (0.2, 0.16 + rng.uniform(-0.08, 0.08))
    pen.ellipse(0.0, 0.95, 0.24, 0.05, stand)
    pen.stroke([(0, 0.93), elbow, head], 0.045, shade(stand, 0.9))
    pen.circle(*elbow, 0.05, shade(stand, 0.6))
    x, y = head
    pen.ellipse(x + 0.15, y + 0.22, 0.1, 0.07, (255, 244, 190), -35)
    pen.polygon([(x - 0.08, y), (x + 0.07, y - 0.09), (x + 0.33, y + 0.1), (x + 0.02, y + 0.32)], cover)


def tv(pen: Pen, rng: Generator) -> None:
    """A flat screen on a foot, or an old set with aerials."""
    frame = pick(rng, (BLACK, (60, 60, 64), STEEL), 0.2)
    old = rng.random() < 0.35
    wide, top = (rng.uniform(0.5, 0.58), 0.25) if old else (rng.uniform(0.65, 0.85), 0.0)
    if old:
        frame = pick(rng, WOOD, 0.4)
        for side in (-1, 1):
            pen.stroke([(0, top), (side * 0.3, top - 0.28)], 0.025, STEEL)
            pen.stroke([(side * wide * 0.7, 0.9), (side * wide * 0.8, 1.0)], 0.05, shade(frame, 0.6))
        pen.rect(-wide, top, wide, 0.95, frame, 0.09)
        _screen(pen, rng, -wide + 0.07, top + 0.08, wide - 0.24, 0.87, 0.1)
        for y in (0.42, 0.58):
            pen.circle(wide - 0.12, y, 0.055, shade(frame, 0.5))
        pen.rect(wide - 0.18, 0.7, wide - 0.06, 0.84, shade(frame, 0.6))
        return
    pen.polygon([(-0.06, 0.85), (0.06, 0.85), (0.08, 0.96), (-0.08, 0.96)], shade(frame, 0.8))
    pen.rect(-wide * 0.45, 0.94, wide * 0.45, 1.0, shade(frame, 0.9), 0.03)
    pen.rect(-wide, top, wide, 0.88, frame, 0.04)
    _screen(pen, rng, -wide + 0.045, top + 0.05, wide - 0.045, 0.81, 0.0)


def _screen(pen: Pen, rng: Generator, x0: float, y0: float, x1: float, y1: float, radius: float) -> None:
    """Dark, or showing a plain picture: sky, ground and a sun."""
    color = (36.0, 42.0, 52.0) if rng.random() < 0.4 else random_color(rng)
    pen.rect(x0, y0, x1, y1, color, radius)
    if rng.random() < 0.5:
        pen.rect(
            x0 + 0.01, y0 + (y1 - y0) * rng.uniform(0.5, 0.75), x1 - 0.01, y1 - 0.01, random_color(rng), radius * 0.7
        )
        pen.circle(x0 + (x1 - x0) * rng.uniform(0.2, 0.8), y0 + (y1 - y0) * 0.35, 0.09, random_color(rng))
    span = x1 - x0
    pen.polygon(
        [
            (x0 + span * 0.1, y1 - 0.03),
            (x0 + span * 0.35, y0 + 0.03),
            (x0 + span * 0.47, y0 + 0.03),
            (x0 + span * 0.22, y1 - 0.03),
        ],
        shade(color, 1.2),
    )
