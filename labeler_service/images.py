"""Views of images, uint8 (H, W, 3): cropping and resizing. Normalisation is left to the device.

Runs in the decode processes (decode_worker.py), which are to stay small, so it imports neither gRPC nor torch.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labeler_service.decoding import DecodedImage, ImageError

Pixels = NDArray[np.uint8]

_MAX_ASPECT = 16


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


def global_view(image: DecodedImage, geometry: ViewGeometry) -> Pixels:
    """The whole image: squashed to a square (PAPER, BUCKETED), or as the model's own preprocessing has it."""
    if geometry.profile is Profile.MODEL:
        return _model_view(image.pixels, geometry.model)
    return _resize(image.pixels, geometry.global_size())


def local_view(image: DecodedImage, box: Box, geometry: ViewGeometry) -> Pixels:
    """The part of the image within the box. Raises ImageError for a box that is empty or outside the image."""
    if box.x0 >= box.x1 or box.y0 >= box.y1:
        raise ImageError("EMPTY_BOX", f"box {box.x0}, {box.y0}, {box.x1}, {box.y1} is empty")
    x0, y0, x1, y1 = max(box.x0, 0), max(box.y0, 0), min(box.x1, image.width), min(box.y1, image.height)
    if x0 >= x1 or y0 >= y1:
        raise ImageError(
            "BOX_OUTSIDE_IMAGE",
            f"box {box.x0}, {box.y0}, {box.x1}, {box.y1} lies outside the image of {image.width} x {image.height}",
        )
    return crop_view(_crop(image, x0, y0, x1, y1), geometry)


def _crop(image: DecodedImage, x0: int, y0: int, x1: int, y1: int) -> DecodedImage:
    """Of a reduced image every pixel that the box touches."""
    pixels, width, height = image.pixels, image.width, image.height
    left, top = x0 * pixels.width // width, y0 * pixels.height // height
    right, bottom = -(-x1 * pixels.width // width), -(-y1 * pixels.height // height)
    return DecodedImage(pixels.crop((left, top, right, bottom)), x1 - x0, y1 - y0)


def crop_view(crop: DecodedImage, geometry: ViewGeometry) -> Pixels:
    """A crop: resized to a longer side of `geometry.side`, its aspect kept, or as MODEL has it."""
    if geometry.profile is Profile.MODEL:
        return _model_view(crop.pixels, geometry.model)
    return _resize(crop.pixels, geometry.local_size(crop.width, crop.height))


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
