"""Decoding: hostile and unusual files, EXIF, colour modes, and JPEGs that are decoded at a reduced size."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from labeler_service import decoding
from labeler_service.decoding import ImageError, ImageLimits, decode

LIMITS = ImageLimits(max_bytes=2**20, max_pixels=2**20, max_non_jpeg_pixels=2**19)


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8))


def png_header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


JPEG = encode(gradient(90, 70), "JPEG")

BAD_IMAGES = {
    "empty": (b"", "NOT_AN_IMAGE"),
    "text": (b"<html>not found</html>", "NOT_AN_IMAGE"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "NOT_AN_IMAGE"),
    "tiff, not on the list": (encode(gradient(20, 20), "TIFF"), "NOT_AN_IMAGE"),
    "eps, which would run Ghostscript": (encode(gradient(20, 20), "EPS"), "NOT_AN_IMAGE"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "IMAGE_TRUNCATED"),
    "half a png": (encode(Image.effect_noise((90, 70), 50))[:3000], "IMAGE_TRUNCATED"),
    "png bomb": (png_header_of(60_000, 60_000), "IMAGE_TOO_MANY_PIXELS"),
    "just over the pixels": (png_header_of(1025, 512), "IMAGE_TOO_MANY_PIXELS"),
    "too many bytes": (JPEG + bytes(2**20), "IMAGE_TOO_MANY_BYTES"),
    "corrupt header": (JPEG[:2] + bytes(500), "NOT_AN_IMAGE"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_image_is_an_error_of_that_image(name: str) -> None:
    content, reason = BAD_IMAGES[name]
    with pytest.raises(ImageError) as caught:
        decode(content, LIMITS)
    assert caught.value.reason == reason


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_random_damage_never_escapes_as_another_error() -> None:
    """Decoders raise SyntaxError, struct.error and more: one not caught would take the whole batch down."""
    rng = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        good = encode(gradient(40, 30), format)
        for _ in range(150):
            bad = bytearray(good)
            for position in rng.integers(0, len(bad), 8):
                bad[position] = rng.integers(0, 256)
            try:
                image = decode(bytes(bad), LIMITS)
            except ImageError:
                continue
            assert image.pixels.mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """Boxes would lie on other pixels than the caller means."""
    upright = gradient(40, 24)
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encode(stored, exif=exif), LIMITS)
    assert np.array_equal(decoded.pixels, upright)
    assert (decoded.width, decoded.height) == upright.size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_lose_the_image() -> None:
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff garbage"
    assert decode(encode(gradient(40, 24), "JPEG", exif=exif), LIMITS).pixels.size == (40, 24)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    """Pillow's own conversion makes everything above 255 white."""
    grey = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert np.asarray(decode(encode(grey), LIMITS).pixels)[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_white(mode: str) -> None:
    """Black otherwise, or whatever colour the encoder left under it."""
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image = clear.quantize() if mode == "P" else clear.convert(mode)
    assert np.asarray(decode(encode(image), LIMITS).pixels).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_colour_modes(mode: str) -> None:
    white = Image.new("RGB", (8, 8), "white").convert(mode)
    assert np.asarray(decode(encode(white, "JPEG" if mode == "CMYK" else "PNG"), LIMITS).pixels).min() >= 254


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(content, LIMITS).pixels)[0, 0].tolist() == [255, 0, 0]


def test_partly_transparent_pixels_are_blended_as_pillow_does() -> None:
    """Scores of graphics must not depend on the band of rows that a pixel lies in."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (600, 20, 4), dtype=np.uint8), "RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    assert np.array_equal(decode(encode(image), LIMITS).pixels, expected)


def test_jpegs_may_have_more_pixels() -> None:
    """They alone can be decoded at a reduced size."""
    image = gradient(1000, 700)
    assert decode(encode(image, "JPEG"), LIMITS).width == 1000
    with pytest.raises(ImageError, match="more than 524288 pixels, the limit for PNG"):
        decode(encode(image, "PNG"), LIMITS)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("memory", "size"), [(8, (800, 600)), (7, (400, 300)), (1, (200, 150)), (0.2, (100, 75))])
def test_large_jpeg_is_reduced_by_as_little_as_needed(
    monkeypatch: pytest.MonkeyPatch, orientation: int, memory: float, size: tuple[int, int]
) -> None:
    """Ordinary photographs must keep every pixel, and the largest must fit a worker. memory: bytes a pixel."""
    monkeypatch.setattr(decoding, "DECODED_JPEG_BYTES", int(800 * 600 * memory))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = gradient(800, 600)
    decoded = decode(encode(image, "JPEG", exif=exif, quality=95), LIMITS)
    if orientation == 6:
        image, size = image.transpose(Image.Transpose.ROTATE_270), size[::-1]
    assert decoded.pixels.size == size
    assert (decoded.width, decoded.height) == image.size
    difference = np.asarray(decoded.pixels, np.int16)[8:-8, 8:-8] - np.asarray(image.resize(size), np.int16)[8:-8, 8:-8]
    assert np.abs(difference[..., :2]).mean() < 3


def test_progressive_jpeg_over_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its coefficients are all kept while it is decoded, so that a reduced size does not help."""
    monkeypatch.setattr(decoding, "DECODED_JPEG_BYTES", 800 * 600 * 4)
    small = encode(gradient(800, 600), "JPEG", progressive=True, subsampling="4:2:0")
    assert decode(small, LIMITS).pixels.size == (400, 300)
    with pytest.raises(ImageError, match="800 x 600 pixels are too many for a progressive JPEG"):
        decode(encode(gradient(800, 600), "JPEG", progressive=True, subsampling="4:4:4"), LIMITS)


def test_pillows_own_limit_is_left_as_it_was() -> None:
    """It is one for the whole process: other users of Pillow would be refused their images."""
    before = Image.MAX_IMAGE_PIXELS
    decode(JPEG, LIMITS)
    with pytest.raises(ImageError):
        decode(b"", LIMITS)
    assert before == Image.MAX_IMAGE_PIXELS
