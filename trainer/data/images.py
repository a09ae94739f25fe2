"""Encoded bytes to upright RGB pixels: the trainer's only decoder. Accepts the labeler's formats, no more."""

import io
import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from trainer.data.plain_jpeg import is_flawless, plain_size

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# The labeler's list. Everything else that Pillow can open is rarer, and so less tested against hostile files.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})

# A 100 megapixel camera's photograph; decoded, it takes 300 MB. The labeler's own limit may be lower: it then refuses
# that image alone.
MAX_PIXELS = 100_000_000

# A file of this many bytes could not hold more than an image of MAX_PIXELS, 32 bits each and not compressed. What is
# longer is not read into memory.
MAX_BYTES = 4 * MAX_PIXELS + 2**20

# Progressive photographs have about ten scans. Each of some bytes passes over all pixels: thousands of them decode for
# hours. libjpeg-turbo's own fuzzers give up after as many (its fuzz/decompress.cc).
MAX_SCANS = 500
_START_OF_SCAN = b"\xff\xda"

# First bytes of images, those of FORMATS and those that are not read; where they stand and what they say. A BMP's "BM"
# begins many a text.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"), (0, b"\x89PNG\r\n\x1a\n", "PNG"), (0, b"GIF8", "GIF"), (8, b"WEBP", "WEBP"),
    (0, b"II*\0", "TIFF"), (0, b"MM\0*", "TIFF"), (4, b"ftypheic", "HEIC"), (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"), (4, b"ftypavif", "AVIF"), (0, b"8BPS", "Photoshop"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"), (4, b"jP  \r\n\x87\n", "JPEG 2000"),
)  # fmt: skip

# Tag and values of EXIF's orientation that exchange width and height, and where Pillow keeps what may say it.
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
_METADATA = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")

# Pillow warns of bombs from 89 megapixels on; MAX_PIXELS is checked before anything is decoded, and is an error.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _saying_why(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, whose every error is a ValueError that a person can read."""

    @wraps(function)
    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return function(*arguments, **named)
        except UnidentifiedImageError:
            raise ValueError(f"not an image in one of the formats {', '.join(FORMATS)}") from None
        except Image.DecompressionBombError:
            raise ValueError(f"image is over the limit of {MAX_PIXELS // 1_000_000} megapixels") from None
        except Exception as error:  # decoders of damaged files raise OSError, SyntaxError, struct.error, EOFError...
            raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error

    return call


@_saying_why
def decode(data: bytes, *, at_least: int | None = None) -> Image.Image:
    """The first frame as RGB, turned upright by its EXIF orientation; transparent parts lie on white.

    at_least: a side in pixels. Where the caller will shrink the image to a square of this side anyway, a JPEG may be
    decoded at 1/2, 1/4 or 1/8 of its size (not below twice this side): a 12 megapixel photograph becomes 128 px six
    times faster (measured, 25 against 161 ms).
    Raises ValueError with the reason for bytes that are not a whole image in one of FORMATS of at most MAX_PIXELS.
    """
    image = _open(data)
    if at_least is not None:
        image.draft(None, (2 * at_least, 2 * at_least))
    image.load()
    return _to_rgb(_upright(image))


@_saying_why
def inspect(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, upright, of bytes that `decode` takes: they are decoded to their end, a JPEG at an
    eighth of its size and without colour. Raises ValueError as `decode`."""
    plain = plain_size(data)
    if plain and not _is_over_limit(plain) and not _has_endless_scans(data) and is_flawless(data):
        return plain
    image = _open(data)
    width, height = image.size
    image.draft("L", (1, 1))
    image.load()
    if image.format != "JPEG":  # whose few modes are all known
        _to_rgb(image)
    return (height, width) if _is_turned(image) else (width, height)


def sniff(data: bytes) -> str | None:
    """The format of an image by its first 16 bytes, None for what is no image or a BMP."""
    return next((name for start, mark, name in _SIGNATURES if data.startswith(mark, start)), None)


def _open(data: bytes) -> Image.Image:
    """The image by its header, which says that it may be decoded."""
    if not data:
        raise ValueError("file is empty")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if _is_over_limit(image.size):
        raise Image.DecompressionBombError
    if image.format == "JPEG" and _has_endless_scans(data):
        raise ValueError(f"JPEG of more than {MAX_SCANS} scans")
    return image


def _is_over_limit(size: tuple[int, int]) -> bool:
    return size[0] * size[1] > MAX_PIXELS


def _has_endless_scans(jpeg: bytes) -> bool:
    return jpeg.count(_START_OF_SCAN) > MAX_SCANS


def _is_turned(image: Image.Image) -> bool:
    """Whether `_upright` exchanges width and height."""
    if image.info.keys().isdisjoint(_METADATA):
        return False
    try:
        turned = image.getexif().get(_ORIENTATION) in _TURNED
    except Exception:  # damaged: it stays as stored
        return False
    return turned and _upright(image) is not image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block does not make the picture unusable: it stays as stored
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: scaled to 8, where Pillow's own conversion clips to white
        return Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
