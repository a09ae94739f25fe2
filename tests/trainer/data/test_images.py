"""Decoding: every kind of file becomes upright RGB or one clear reason."""

import io
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from trainer.data.images import MAX_SCANS, decode, inspect, sniff

ORIENTATION = 0x0112  # EXIF tag


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width: int = 40, height: int = 30) -> Image.Image:
    """A red left half and a blue right half."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 255
    return Image.fromarray(pixels)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


@pytest.mark.parametrize(
    ("kind", "modes"),
    [
        ("JPEG", ["L", "RGB", "CMYK", "YCbCr"]),
        ("PNG", ["1", "L", "LA", "P", "RGB", "RGBA"]),
        ("WEBP", ["RGB", "RGBA"]),
        ("GIF", ["1", "L", "P", "RGB", "RGBA"]),
        ("BMP", ["1", "L", "P", "RGB", "RGBA"]),
    ],
)
def test_every_mode_becomes_rgb(kind: str, modes: list[str]) -> None:
    for mode in modes:
        image = decode(encode(Image.new(mode, (9, 7)), kind))
        assert (image.mode, image.size) == ("RGB", (9, 7))


def test_exif_orientation_turns_the_picture() -> None:
    """Boxes are in upright pixels; a phone's photograph stored lying would be cropped at the wrong place."""
    image = decode(encode(picture(), "JPEG", exif=exif(6), quality=95))
    assert image.size == (30, 40)
    top, bottom = np.asarray(image)[5, 15], np.asarray(image)[35, 15]
    assert top[0] > 200 > 50 > top[2]
    assert bottom[2] > 200 > 50 > bottom[0]


def test_damaged_exif_is_not_the_pictures_fault() -> None:
    assert decode(encode(picture(), "JPEG", exif=b"Exif\0\0not a TIFF header")).size == (40, 30)


def test_16_bit_grey_is_scaled() -> None:
    """Pillow's own conversion clips: nearly all of a medical or depth image would be white."""
    grey = np.array([[0, 257 * 100, 65535]], np.uint16)
    assert np.asarray(decode(encode(Image.fromarray(grey))))[0, :, 0].tolist() == [0, 100, 255]


def test_transparent_parts_lie_on_white() -> None:
    """Under transparency lies black in most files, which would turn a logo into a dark square."""
    assert decode(encode(Image.new("RGBA", (4, 4), (9, 9, 9, 0)))).getpixel((0, 0)) == (255, 255, 255)
    palette = encode(Image.new("P", (4, 4)), transparency=0)
    assert decode(palette).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not an image"),
        (encode(picture(), "TIFF"), "not an image in one of the formats"),
        (encode(picture(), "JPEG")[:-300], "(?i)truncated"),
        (encode(picture(), "PNG")[:80], "(?i)truncated"),
        (encode(Image.new("1", (13_000, 13_000))), "over the limit of 100 megapixels"),  # Pillow only warns
        (encode(Image.new("1", (30_000, 13_000))), "over the limit of 100 megapixels"),  # Pillow raises
    ],
    ids=["empty", "text", "tiff", "cut-jpeg", "cut-png", "bomb", "greater-bomb"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unusable_file_has_a_reason_in_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        decode(data)
    assert "\n" not in str(error.value)


def test_flipped_bits_never_escape_as_another_error() -> None:
    """Decoders raise many types; one that slipped through would end a run of days at its first broken file."""
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        original = np.frombuffer(encode(picture(), kind), np.uint8)
        for _ in range(60):
            damaged = original.copy()
            damaged[rng.integers(0, len(damaged), 4)] = rng.integers(0, 256, 4)
            with suppress(ValueError):
                assert decode(damaged.tobytes()).mode == "RGB"


def test_shrunk_decoding_stays_large_enough() -> None:
    """A JPEG decoded at 1/8 of a size near the wanted one would blur every training image."""
    data = encode(picture(1600, 1200), "JPEG")
    assert decode(data, at_least=128).size == (400, 300)
    assert decode(data, at_least=448).size == (1600, 1200)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (333, 7), (100, 101)])
def test_the_size_is_that_of_the_pixels(size: tuple[int, int], orientation: int) -> None:
    """Would fail if boxes of images were cut in a frame of another size: it is told from an eighth of the JPEG."""
    data = encode(picture(*size), "JPEG", exif=exif(orientation))
    assert inspect(data) == decode(data).size
    data = encode(picture(*size), "PNG", exif=exif(orientation))
    assert inspect(data) == decode(data).size


def test_inspection_decodes_to_the_end() -> None:
    """Would fail if an image passed that training cannot read hours later."""
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        data = encode(Image.effect_noise((300, 200), 50), kind)
        assert inspect(data) == (300, 200)
        with pytest.raises(ValueError, match=r"\w"):
            inspect(data[: len(data) * 3 // 4])


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    """Would fail if a file of some megabytes held a processor for hours."""
    data = encode(picture(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert decode(data[:-2] + scan * 10 + data[-2:]).size == (40, 30)
    with pytest.raises(ValueError, match=f"more than {MAX_SCANS} scans"):
        decode(data[:-2] + scan * MAX_SCANS + data[-2:])


def test_first_bytes_tell_the_format() -> None:
    """Photographs with a wrong suffix are named, texts are not."""
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        assert sniff(encode(picture(), kind)[:16]) == kind
    for text in (b"", b"BM, said the text", b"RIFF....AVI ", b"<svg"):
        assert sniff(text) is None
