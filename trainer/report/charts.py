"""Numbers to the geometry of charts, which charts.html.j2 draws as SVG. Knows no run and no HTML.

A chart is drawn in a frame of units that are pixels at the width of a phone, origin top left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import MaxNLocator

# Frame of a chart and of one of many small ones, and the room for tick labels in both.
WIDTH, HEIGHT = 360, 220
SMALL_WIDTH, SMALL_HEIGHT = 180, 120
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 34
MAX_POINTS = 80  # of a curve in a small chart: more cannot be seen


@dataclass(frozen=True)
class Tick:
    """A place on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Frame:
    """What all charts have. x_ticks and y_ticks are in frame units."""

    title: str
    x_label: str
    y_label: str
    width: int
    height: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def left(self) -> int:
        return LEFT

    @property
    def right(self) -> int:
        return self.width - RIGHT

    @property
    def bottom(self) -> int:
        return self.height - BOTTOM


@dataclass(frozen=True)
class Bar:
    """A column of a histogram, in frame units, and what it counts, in words."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve: its name, the points as SVG wants them, and which of the styles."""

    name: str
    points: str
    style: int


@dataclass(frozen=True)
class Chart:
    """Bars, lines and upright marks in a frame."""

    frame: Frame
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    marks: tuple[Tick, ...] = ()


def histogram(
    counts: Sequence[int], names: Sequence[str], *, title: str, x_label: str, y_label: str, small: bool = False,
    mark: float | None = None, mark_text: str = "", ends: tuple[str, str] | None = None,
) -> Chart:  # fmt: skip
    """One column per count. ends: what to write under the first and the last column instead of all names.
    mark: share of the width where an upright line stands."""
    width, height = (SMALL_WIDTH, SMALL_HEIGHT) if small else (WIDTH, HEIGHT)
    y_ticks, top = _axis(0, max([*counts, 1]), height - BOTTOM, TOP, bins=2 if small else 4, whole=True)
    step = (width - LEFT - RIGHT) / len(counts)
    bars = []
    for i, (count, name) in enumerate(zip(counts, names, strict=True)):
        size = count / top * (height - TOP - BOTTOM)
        bars.append(Bar(LEFT + step * (i + 0.1), height - BOTTOM - size, 0.8 * step, size, f"{name}: {count}"))
    if ends is None:
        x_ticks = tuple(Tick(LEFT + step * (i + 0.5), name) for i, name in enumerate(names))
    else:
        x_ticks = (Tick(LEFT, ends[0]), Tick(width - RIGHT, ends[1]))
    marks = () if mark is None else (Tick(LEFT + mark * (width - LEFT - RIGHT), mark_text),)
    return Chart(Frame(title, x_label, y_label, width, height, x_ticks, y_ticks), tuple(bars), marks=marks)


def curves(
    series: Sequence[tuple[str, Sequence[float], Sequence[float]]], *, title: str, x_label: str, y_label: str,
    x_range: tuple[float, float], y_range: tuple[float, float], small: bool = False,
    mark: float | None = None, mark_text: str = "",
) -> Chart:  # fmt: skip
    """Lines of (name, x, y) in data units; y_range is widened to round numbers. mark: x of an upright line."""
    width, height = (SMALL_WIDTH, SMALL_HEIGHT) if small else (WIDTH, HEIGHT)
    bins = 2 if small else 5
    x_ticks, x_high = _axis(*x_range, LEFT, width - RIGHT, bins=bins, whole=x_range[1] > 1, widen=False)
    y_ticks, y_high = _axis(*y_range, height - BOTTOM, TOP, bins=bins)

    def x_of(value: float) -> float:
        return LEFT + (value - x_range[0]) / (x_high - x_range[0]) * (width - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return height - BOTTOM - (value - y_range[0]) / (y_high - y_range[0]) * (height - TOP - BOTTOM)

    lines = []
    for style, (name, xs, ys) in enumerate(series):
        kept = _thinned(len(xs), MAX_POINTS if small else 10 * MAX_POINTS)
        points = " ".join(f"{x_of(xs[i]):.1f},{y_of(ys[i]):.1f}" for i in kept)
        lines.append(Line(name, points, style))
    marks = () if mark is None else (Tick(x_of(mark), mark_text),)
    return Chart(Frame(title, x_label, y_label, width, height, x_ticks, y_ticks), lines=tuple(lines), marks=marks)


def _axis(
    low: float, high: float, start: float, end: float, *, bins: int, whole: bool = False, widen: bool = True
) -> tuple[tuple[Tick, ...], float]:
    """Ticks at round numbers from `low`, and the axis's upper end: with `widen` the first of them from `high` on."""
    values = [value for value in MaxNLocator(bins, integer=whole).tick_values(low, high) if value >= low - 1e-9]
    top = float(max(values[-1], high)) if widen else high
    return tuple(Tick(start + (v - low) / (top - low) * (end - start), f"{v:.10g}") for v in values if v <= top), top


def _thinned(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` positions of `count`, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
