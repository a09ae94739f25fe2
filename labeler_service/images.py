"""Encoded bytes to views, uint8 (H, W, 3): decoding, cropping and resizing. The only file that knows pixels.

Normalisation is left to the device. Everything that arrives here is untrusted: only the formats below are opened,
limits hold before anything is decoded, and whatever goes wrong is an ItemError of that image.
"""

import io
import threading
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from labeler_service.errors import ItemError

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# 13.0.0 closes two critical decoder holes (GHSA-5x8w-8jj5-q52h, GHSA-8g5g-8vmr-9782).
MIN_PILLOW = 13
# Decoding takes up to 16 bytes per pixel (WebP, measured): of images above this size only two are decoded at once.
LARGE_IMAGE_PIXELS = 2**24
_large_images = threading.BoundedSemaphore(2)

_ORIENTATION_TAG = 0x0112  # EXIF 2.32, table 4
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAX_ASPECT = 16
# Transparent pixels show this; graphics with transparency are drawn for light pages.
_BACKGROUND = (255, 255, 255, 255)


@dataclass(frozen=True)
class ImageLimits:
    """Encoded bytes and pixels that an image may have."""

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True)
class ModelPreprocessing:
    """open_clip's own preprocessing of a model (open_clip.transform.PreprocessCfg, without mean and std)."""

    size: int
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: int = 0


class Profile(Enum):
    """How an image becomes a view; the contract's Preprocessing.Profile."""

    PAPER = auto()
    BUCKETED = auto()
    MODEL = auto()


@dataclass(frozen=True)
class ViewGeometry:
    """Sizes of views.

    `side` is the square side of a global view and the longer side of a local one, in pixels. Sides are rounded to
    multiples of `multiple` (1: whole pixels) and are at least `minimum`, the network's stride: a side shorter than that
    would leave no cell in its feature map. MODEL uses `model` alone.
    """

    profile: Profile
    side: int
    multiple: int
    minimum: int
    model: ModelPreprocessing

    def global_size(self) -> tuple[int, int]:
        """(width, height) of a whole image's view."""
        if self.profile is Profile.MODEL:
            return self.model.size, self.model.size
        side = self._snap(self.side)
        return side, side

    def local_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the view of a crop of that size."""
        if self.profile is Profile.MODEL:
            return self.model.size, self.model.size
        scale = self.side / max(width, height)
        return self._snap(width * scale), self._snap(height * scale)

    def _snap(self, side: float) -> int:
        return max(self.minimum, round(side / self.multiple) * self.multiple)


@dataclass(frozen=True)
class Box:
    """Half-open, pixels of the image after its EXIF orientation."""

    x0: int
    y0: int
    x1: int
    y1: int


def prepare_pillow(limits: ImageLimits) -> None:
    """Gives Pillow our limit. Raises ValueError when it is too old to be given untrusted images."""
    if int(PIL.__version__.split(".")[0]) < MIN_PILLOW:
        raise ValueError(f"Pillow {PIL.__version__} has known holes in its decoders: install pillow>={MIN_PILLOW}")
    # Its own check warns above the limit and raises above twice the limit; ours, in decode(), refuses at the limit.
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode(content: bytes, limits: ImageLimits) -> Image.Image:
    """The first frame as RGB, EXIF orientation applied, transparency over white. Raises ItemError."""
    if len(content) > limits.max_bytes:
        raise ItemError("IMAGE_TOO_MANY_BYTES", f"image has {len(content)} bytes, the limit is {limits.max_bytes}")
    try:
        return _decode(content, limits)
    except ItemError:
        raise
    except Image.DecompressionBombError:
        raise ItemError("IMAGE_TOO_MANY_PIXELS", f"image has more than {limits.max_pixels} pixels") from None
    except PIL.UnidentifiedImageError:
        raise ItemError("NOT_AN_IMAGE", f"not an image, or none of {', '.join(FORMATS)}") from None
    except Exception as error:  # Decoders raise OSError, ValueError, SyntaxError, struct.error and more.
        if "truncated" in str(error).lower():
            raise ItemError("IMAGE_TRUNCATED", "image is truncated") from error
        raise ItemError("IMAGE_CORRUPT", "image cannot be decoded") from error


def _decode(content: bytes, limits: ImageLimits) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        num_pixels = image.width * image.height
        if num_pixels > limits.max_pixels:
            size = f"{image.width} x {image.height} = {num_pixels}"
            raise ItemError("IMAGE_TOO_MANY_PIXELS", f"image has {size} pixels, the limit is {limits.max_pixels}")
        with _large_images if num_pixels > LARGE_IMAGE_PIXELS else nullcontext():
            image.load()
            transpose = _read_orientation(image)
            rgb = _to_rgb(image)
            return rgb if transpose is None else rgb.transpose(transpose)


def _read_orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _ORIENTATIONS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # A broken EXIF block says nothing about the pixels, which are good.
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; convert() would clip it to white.
        grey = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _BACKGROUND), rgba).convert("RGB")
    return image.convert("RGB")


def global_view(image: Image.Image, geometry: ViewGeometry) -> Pixels:
    """The whole image: squashed to a square (PAPER, BUCKETED), or as the model's own preprocessing has it."""
    if geometry.profile is Profile.MODEL:
        return _model_view(image, geometry.model)
    return _resize(image, geometry.global_size())


def local_view(image: Image.Image, box: Box, geometry: ViewGeometry) -> Pixels:
    """The part of the image within the box. Raises ItemError for a box that is empty or outside the image."""
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        raise ItemError("EMPTY_BOX", f"box {box.x0}, {box.y0}, {box.x1}, {box.y1} is empty")
    x0, y0, x1, y1 = max(box.x0, 0), max(box.y0, 0), min(box.x1, image.width), min(box.y1, image.height)
    if x0 >= x1 or y0 >= y1:
        raise ItemError(
            "BOX_OUTSIDE_IMAGE",
            f"box {box.x0}, {box.y0}, {box.x1}, {box.y1} lies outside the image of {image.width} x {image.height}",
        )
    return crop_view(image.crop((x0, y0, x1, y1)), geometry)


def crop_view(crop: Image.Image, geometry: ViewGeometry) -> Pixels:
    """A crop: resized to a longer side of `geometry.side`, its aspect kept, or as MODEL has it."""
    if geometry.profile is Profile.MODEL:
        return _model_view(crop, geometry.model)
    return _resize(crop, geometry.local_size(crop.width, crop.height))


def _resize(image: Image.Image, size: tuple[int, int]) -> Pixels:
    # Pillow's bilinear widens its kernel when it shrinks, which is what others call antialiasing.
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _model_view(image: Image.Image, model: ModelPreprocessing) -> Pixels:
    """open_clip.transform.image_transform for inference, up to the conversion to a tensor."""
    kernel = Image.Resampling.BICUBIC if model.interpolation == "bicubic" else Image.Resampling.BILINEAR
    size = model.size
    if model.resize_mode == "squash":
        return np.asarray(image.resize((size, size), kernel))
    if model.resize_mode == "longest":
        ratio = max(image.width, image.height) / size
        resized = image.resize((max(1, round(image.width / ratio)), max(1, round(image.height / ratio))), kernel)
    else:
        image = _limit_aspect(image)
        shorter = min(image.width, image.height)
        # torchvision.transforms.Resize truncates the longer side.
        resized = image.resize((int(size * image.width / shorter), int(size * image.height / shorter)), kernel)
    return np.asarray(_center_crop_or_pad(resized, size, model.fill_color))


def _limit_aspect(image: Image.Image) -> Image.Image:
    """Cuts off what the centre crop would drop anyway, so that a strip of 1 x 60,000 pixels stays small."""
    shorter = min(image.width, image.height)
    width, height = min(image.width, _MAX_ASPECT * shorter), min(image.height, _MAX_ASPECT * shorter)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _center_crop_or_pad(image: Image.Image, size: int, fill: int) -> Image.Image:
    if image.width < size or image.height < size:
        padded = Image.new("RGB", (max(size, image.width), max(size, image.height)), (fill, fill, fill))
        padded.paste(image, ((padded.width - image.width) // 2, (padded.height - image.height) // 2))
        image = padded
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))
