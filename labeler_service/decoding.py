"""Encoded bytes to upright RGB images: the only file that opens what callers send.

Everything that arrives here is untrusted: only the formats below are opened, limits hold before anything is decoded,
and whatever goes wrong is an ImageError. It runs in the decode processes (decode_worker.py), which are to stay small,
so it imports neither gRPC nor torch.
"""

import io
from dataclasses import dataclass

import numpy as np
import PIL
from PIL import Image, WebPImagePlugin  # noqa: F401 - else Pillow imports all of its forty decoders to find it
from PIL.JpegImagePlugin import JpegImageFile

JPEG = ("JPEG",)
OTHER_FORMATS = ("PNG", "WEBP", "GIF", "BMP")
_JPEG_START = b"\xff\xd8"
# 13.0.0 closes two critical decoder holes (GHSA-5x8w-8jj5-q52h, GHSA-8g5g-8vmr-9782).
MIN_PILLOW = 13

# What a decoded JPEG may take: a larger one is decoded at 1/2, 1/4 or 1/8 of its sides. At 4 bytes a pixel, twice while
# it is turned upright, photographs of up to 30 megapixels keep every pixel, and one of 100 is halved. A whole view (at
# most 1024 pixels a side) of a halved photograph still has more pixels than it shows, as libjpeg averages 2 x 2 of the
# original: scores move as little as with any other way to shrink. Only what is smaller than two views becomes softer: a
# small box, or the short side of a panorama of more than 8 : 1. The reduction depends on the image alone, so that its
# scores do not depend on which views are asked for.
DECODED_JPEG_BYTES = 232 * 2**20
_BYTES_PER_PIXEL = 4  # of Pillow's RGB and CMYK
_REDUCTIONS = (1, 2, 4, 8)  # those that libjpeg does while it decodes

# Rows that transparency is removed from at once: whole images would take four times their memory.
_BAND_ROWS = 256

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
_SWAPS_SIDES = {_ORIENTATIONS[number] for number in (5, 6, 7, 8)}
# 65535 becomes 255: 65535 = 257 x 255.
_GREY_8_OF_16 = np.rint(np.arange(2**16) / 257).astype(np.uint8)
# Transparent pixels show this; graphics with transparency are drawn for light pages.
_BACKGROUND = (255, 255, 255, 255)


class ImageError(Exception):
    """An image or box cannot be used; the message is meant for the caller, `reason` is as in errors.LabelerError."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class ImageLimits:
    """Encoded bytes and pixels that an image may have.

    JPEGs are decoded at a reduced size where they are large; all other formats (`max_non_jpeg_pixels`) take up to 16
    bytes a pixel (WebP, measured) whatever the size of the view.
    """

    max_bytes: int
    max_pixels: int
    max_non_jpeg_pixels: int


@dataclass(frozen=True)
class DecodedImage:
    """An upright RGB image. `width` and `height` are those of the original, in whose pixels boxes are given; `pixels`
    has fewer where a large JPEG was decoded at a reduced size."""

    pixels: Image.Image
    width: int
    height: int


def check_pillow() -> None:
    """Raises ValueError when Pillow is too old to be given untrusted images."""
    if int(PIL.__version__.split(".")[0]) < MIN_PILLOW:
        raise ValueError(f"Pillow {PIL.__version__} has known holes in its decoders: install pillow>={MIN_PILLOW}")


def decode(content: bytes, limits: ImageLimits) -> DecodedImage:
    """The first frame as RGB, EXIF orientation applied, transparency over white. Raises ImageError."""
    if len(content) > limits.max_bytes:
        raise ImageError("IMAGE_TOO_MANY_BYTES", f"image has {len(content)} bytes, the limit is {limits.max_bytes}")
    is_jpeg = content.startswith(_JPEG_START)
    max_pixels = limits.max_pixels if is_jpeg else min(limits.max_pixels, limits.max_non_jpeg_pixels)
    # Pillow raises above twice this number, before it makes a decoder, and only warns above it.
    others, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, (max_pixels + 1) // 2
    try:
        return _decode(content, JPEG if is_jpeg else OTHER_FORMATS)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        formats = "JPEG" if is_jpeg else ", ".join(OTHER_FORMATS)
        message = f"image has more than {max_pixels} pixels, the limit for {formats}"
        raise ImageError("IMAGE_TOO_MANY_PIXELS", message) from None
    except PIL.UnidentifiedImageError:
        formats = ", ".join((*JPEG, *OTHER_FORMATS))
        raise ImageError("NOT_AN_IMAGE", f"not an image, or none of {formats}") from None
    except MemoryError:
        raise ImageError("IMAGE_TOO_LARGE", "image takes more memory to decode than is allowed") from None
    except Exception as error:  # Decoders raise OSError, ValueError, SyntaxError, struct.error and more.
        if "truncated" in str(error).lower():
            raise ImageError("IMAGE_TRUNCATED", "image is truncated") from error
        raise ImageError("IMAGE_CORRUPT", "image cannot be decoded") from error
    finally:
        Image.MAX_IMAGE_PIXELS = others


def _decode(content: bytes, formats: tuple[str, ...]) -> DecodedImage:
    rgb, transpose, (width, height) = _load(content, formats)
    if transpose is None:
        return DecodedImage(rgb, width, height)
    if transpose in _SWAPS_SIDES:
        width, height = height, width
    return DecodedImage(rgb.transpose(transpose), width, height)


def _load(content: bytes, formats: tuple[str, ...]) -> tuple[Image.Image, Image.Transpose | None, tuple[int, int]]:
    """RGB as stored, how to turn it upright, and the full size as stored."""
    with Image.open(io.BytesIO(content), formats=formats) as image:
        size = image.size
        if isinstance(image, JpegImageFile):
            reduction = _choose_reduction(image)
            image.draft(None, (max(1, size[0] // reduction), max(1, size[1] // reduction)))
        image.load()
        return _to_rgb(image), _read_orientation(image), size


def _choose_reduction(image: JpegImageFile) -> int:
    """By how much each side must be reduced for the image to fit DECODED_JPEG_BYTES."""
    num_pixels = image.width * image.height
    coefficients = 0
    if "progressive" in image.info:  # All of them are kept until the last scan, whatever the reduction.
        areas = [vertical * horizontal for _, vertical, horizontal, _ in image.layer]
        coefficients = 2 * num_pixels * sum(areas) // max(areas)
    for reduction in _REDUCTIONS:
        decoded = _BYTES_PER_PIXEL * num_pixels // reduction**2
        if max(coefficients + decoded, 2 * decoded) <= DECODED_JPEG_BYTES:
            return reduction
    size = f"{image.width} x {image.height}"
    raise ImageError("IMAGE_TOO_MANY_PIXELS", f"{size} pixels are too many for a progressive JPEG; save it as baseline")


def _read_orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _ORIENTATIONS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # A broken EXIF block says nothing about the pixels, which are good.
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; convert() would clip it to white.
        return Image.fromarray(_GREY_8_OF_16[np.asarray(image).clip(0, 65535)]).convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    result = Image.new("RGB", image.size)
    for top in range(0, image.height, _BAND_ROWS):
        band = image.crop((0, top, image.width, min(top + _BAND_ROWS, image.height))).convert("RGBA")
        result.paste(Image.alpha_composite(Image.new("RGBA", band.size, _BACKGROUND), band).convert("RGB"), (0, top))
    return result
