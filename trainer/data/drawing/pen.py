"""A pen that collects filled shapes in free units and turns them into a small antialiased picture with transparency."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from trainer.data.drawing.colors import Color

Points = Sequence[tuple[float, float]] | NDArray[np.float64]

CIRCLE_STEPS = 28  # corners of a polygon that stands for a circle: smooth up to a radius of about 100 pixels
CURVE_STEPS = 6  # straight pieces between two control points of a smooth curve


class Pen:
    """Collects shapes, back to front. x runs right, y runs down, in any unit: the whole is scaled later."""

    def __init__(self) -> None:
        self.shapes: list[tuple[NDArray[np.float64], Color]] = []

    def polygon(self, points: Points, color: Color) -> None:
        self.shapes.append((np.asarray(points, dtype=np.float64), color))

    def blob(self, points: Points, color: Color) -> None:
        """A smooth closed outline through the points."""
        self.polygon(smooth(points, closed=True), color)

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color, angle: float = 0.0) -> None:
        """Centre, half axes, and the clockwise turn in degrees."""
        self.polygon(_arc(x, y, rx, ry, 0.0, 360.0, angle), color)

    def sector(self, x: float, y: float, rx: float, ry: float, start: float, stop: float, color: Color) -> None:
        """The part of an ellipse between two angles in degrees (0 = right, 90 = down), closed by a straight line."""
        self.polygon(_arc(x, y, rx, ry, start, stop), color)

    def circle(self, x: float, y: float, radius: float, color: Color) -> None:
        self.ellipse(x, y, radius, radius, color)

    def ring(self, x: float, y: float, radius: float, width: float, color: Color, squeeze: float = 1.0) -> None:
        """A circle line; `squeeze` narrows it horizontally. The slit of the one polygon has no width."""
        outer, inner = radius + width / 2, radius - width / 2
        outside = _arc(x, y, outer * squeeze, outer, 0.0, 360.0)
        inside = _arc(x, y, max(inner * squeeze, 0.0), inner, 360.0, 0.0)
        self.polygon(np.concatenate([outside, inside]), color)

    def rect(self, x0: float, y0: float, x1: float, y1: float, color: Color, radius: float = 0.0) -> None:
        """A rectangle, its corners rounded by `radius`."""
        if radius <= 0:
            self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)
            return
        r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
        centres = ((x1 - r, y1 - r), (x0 + r, y1 - r), (x0 + r, y0 + r), (x1 - r, y0 + r))
        arcs = [_arc(x, y, r, r, 90.0 * i, 90.0 * i + 90, steps=5) for i, (x, y) in enumerate(centres)]
        self.polygon(np.concatenate(arcs), color)

    def stroke(self, points: Points, width: float | Sequence[float], color: Color, *, curved: bool = False) -> None:
        """A line with round ends; one width, or one for each point (tapering)."""
        path = np.asarray(points, dtype=np.float64)
        widths = np.broadcast_to(np.asarray(width, dtype=np.float64), (len(path),))
        if curved and len(path) > 2:
            bent = smooth(np.column_stack([path, widths]), closed=False)
            path, widths = bent[:, :2], bent[:, 2]
        step = np.gradient(path, axis=0)
        normal = np.column_stack([-step[:, 1], step[:, 0]]) / (np.linalg.norm(step, axis=1, keepdims=True) + 1e-9)
        offset = normal * widths[:, None] / 2
        self.polygon(np.concatenate([path + offset, (path - offset)[::-1]]), color)
        for end in (0, -1):
            self.circle(path[end, 0], path[end, 1], widths[end] / 2, color)


def smooth(points: Points, *, closed: bool) -> NDArray[np.float64]:
    """A Catmull-Rom curve through (N, D) points, as a denser (M, D) list."""
    p = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    a, b, c, d = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    t = np.linspace(0, 1, CURVE_STEPS, endpoint=False)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3)
    dense = curve.reshape(-1, p.shape[1])
    return dense if closed else np.concatenate([dense, p[-1:]])


def rasterize(pen: Pen, size: float, *, angle: float, flip: bool, stretch: float, lean: float) -> NDArray[np.uint8]:
    """The picture, scaled until its longer side is `size` pixels.

    `angle` turns it clockwise (degrees), `flip` mirrors it, `stretch` widens it and `lean` shears it sideways.
    Returns (H, W, 4) uint8: red, green, blue already multiplied by the coverage, and the coverage (0-255).
    """
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    shape = np.array([[-stretch if flip else stretch, lean], [0.0, 1.0]])
    matrix = np.array([[cos, -sin], [sin, cos]]) @ shape
    outlines = [points @ matrix.T for points, _ in pen.shapes]
    corners = np.concatenate(outlines)
    low, high = corners.min(axis=0), corners.max(axis=0)
    factor = 4 if size < 60 else 2  # supersampling: small things need finer coverage, large ones are smooth anyway
    scale = size / max(float((high - low).max()), 1e-6)
    width, height = (max(math.ceil(side * scale), 2) for side in (high - low))
    canvas = Image.new("RGBA", (width * factor, height * factor))
    draw = ImageDraw.Draw(canvas)
    for outline, (_, color) in zip(outlines, pen.shapes, strict=True):
        pixels = (outline - low) * (scale * factor) - 0.5  # Pillow counts pixel centres
        red, green, blue = (min(max(int(value), 0), 255) for value in color)
        draw.polygon(pixels.ravel().tolist(), fill=(red, green, blue, 255))
    return np.asarray(canvas.convert("RGBa").reduce(factor))


def _arc(
    x: float, y: float, rx: float, ry: float, start: float, stop: float, angle: float = 0.0, steps: int = CIRCLE_STEPS
) -> NDArray[np.float64]:
    t = np.radians(np.linspace(start, stop, steps))
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    u, v = rx * np.cos(t), ry * np.sin(t)
    return np.column_stack([x + u * cos - v * sin, y + u * sin + v * cos])
