"""Pictures of the report: small WebP images as data URIs, each made once.

Boxes are x0, y0, x1, y1 as shares of the upright image's width and height, in [0, 1].
"""

import base64
import io
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image, ImageDraw

from trainer.data.images import decode

Box = tuple[float, float, float, float]
Map = npt.NDArray[np.floating]

# Longer side in pixels: of a picture in the wall, and of a crop or a thumbnail.
LARGE, SMALL = 224, 112
# Of 0 to 100; 60 gives 3 to 8 kB for a photograph of 224 px.
QUALITY = 60
# How much of the picture the activation map hides.
MAP_OPACITY = 0.45


@dataclass(frozen=True)
class Picture:
    """What an <img> needs: a data URI, and the size in pixels, so that the page does not jump."""

    uri: str
    width: int
    height: int


class Pictures:
    """Makes pictures and keeps them. With enabled=False it makes none: such a report can be given away."""

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._made: dict[Hashable, Picture | None] = {}

    def thumbnail(self, path: Path) -> Picture | None:
        """The whole image, small; None where its file is gone or cannot be read any more."""
        return self._once(("thumbnail", path), path, lambda image: image, SMALL)

    def crop(self, path: Path, box: Box) -> Picture | None:
        """What CLIP saw of the image; else like `thumbnail`."""
        return self._once(("crop", path, box), path, lambda image: image.crop(_pixels(box, image.size)), SMALL)

    def overlay(self, path: Path, box: Box | None, map_hw: Map | None) -> Picture | None:
        """The whole image under an activation map (h, w), with a box; else like `thumbnail`."""
        key = ("overlay", path, box, None if map_hw is None else map_hw.tobytes())
        return self._once(key, path, lambda image: _overlay(image, box, map_hw), LARGE)

    def _once(
        self, key: Hashable, path: Path, change: Callable[[Image.Image], Image.Image], side: int
    ) -> Picture | None:
        if not self._enabled:
            return None
        if key not in self._made:
            try:
                self._made[key] = _encode(change(decode(path.read_bytes(), at_least=2 * LARGE)), side)
            except (OSError, ValueError):
                self._made[key] = None
        return self._made[key]


def _overlay(image: Image.Image, box: Box | None, map_hw: Map | None) -> Image.Image:
    image = _shrunk(image, LARGE)
    if map_hw is not None:
        scaled_hw = (map_hw - map_hw.min()) / max(float(map_hw.max() - map_hw.min()), 1e-5)
        colours = Image.fromarray(colormaps["inferno"](scaled_hw.astype(np.float64), bytes=True)).convert("RGB")
        image = Image.blend(image, colours.resize(image.size, Image.Resampling.BICUBIC), MAP_OPACITY)
    if box is not None:  # two lines, one of which is seen on any ground
        draw = ImageDraw.Draw(image)
        x0, y0, x1, y1 = _pixels(box, image.size)
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline="black", width=4)
        draw.rectangle((x0 + 1, y0 + 1, max(x0 + 1, x1 - 2), max(y0 + 1, y1 - 2)), outline="white", width=2)
    return image


def _pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """At least one pixel, within the image."""
    (x0, y0, x1, y1), (width, height) = box, size
    left, top = min(int(x0 * width), width - 1), min(int(y0 * height), height - 1)
    return left, top, max(left + 1, min(round(x1 * width), width)), max(top + 1, min(round(y1 * height), height))


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    """A longer side of `side` pixels; smaller images grow, so that a crop of a few pixels can be seen."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)


def _encode(image: Image.Image, side: int) -> Picture:
    image = _shrunk(image, side)
    content = io.BytesIO()
    image.save(content, "WEBP", quality=QUALITY)
    uri = f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
    return Picture(uri, image.width, image.height)
