"""Decoding and resizing: hostile and unusual files, and views that match their definition to the pixel."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from labeler_service.errors import ItemError
from labeler_service.images import (
    Box,
    ImageLimits,
    ModelPreprocessing,
    Profile,
    ViewGeometry,
    crop_view,
    decode,
    global_view,
    local_view,
)

LIMITS = ImageLimits(max_bytes=2**20, max_pixels=2**20)
MODEL = ModelPreprocessing(size=48)


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def geometry(profile: Profile = Profile.PAPER, side: int = 64, multiple: int = 1) -> ViewGeometry:
    return ViewGeometry(profile, side, multiple, minimum=32, model=MODEL)


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
    "just over the pixels": (png_header_of(1025, 1024), "IMAGE_TOO_MANY_PIXELS"),
    "too many bytes": (JPEG + bytes(2**20), "IMAGE_TOO_MANY_BYTES"),
    "corrupt header": (JPEG[:2] + bytes(500), "NOT_AN_IMAGE"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_image_is_an_error_of_that_image(name: str) -> None:
    content, reason = BAD_IMAGES[name]
    with pytest.raises(ItemError) as caught:
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
            except ItemError:
                continue
            assert image.mode == "RGB"


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
    assert np.array_equal(decode(encode(stored, exif=exif), LIMITS), upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_lose_the_image() -> None:
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff garbage"
    assert decode(encode(gradient(40, 24), "JPEG", exif=exif), LIMITS).size == (40, 24)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    """Pillow's own conversion makes everything above 255 white."""
    grey = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert np.asarray(decode(encode(grey), LIMITS))[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_white(mode: str) -> None:
    """Black otherwise, or whatever colour the encoder left under it."""
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image = clear.quantize() if mode == "P" else clear.convert(mode)
    assert np.asarray(decode(encode(image), LIMITS)).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_colour_modes(mode: str) -> None:
    white = Image.new("RGB", (8, 8), "white").convert(mode)
    assert np.asarray(decode(encode(white, "JPEG" if mode == "CMYK" else "PNG"), LIMITS)).min() >= 254


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(content, LIMITS))[0, 0].tolist() == [255, 0, 0]


def test_global_view_is_squashed() -> None:
    image = gradient(90, 40)
    view = global_view(image, geometry())
    assert view.shape == (64, 64, 3)
    assert np.array_equal(view, image.resize((64, 64), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    ("multiple", "size", "expected"),
    [
        (1, (90, 70), (64, 50)),
        (1, (70, 90), (50, 64)),
        (1, (90, 2), (64, 32)),
        (32, (90, 70), (64, 64)),
        (32, (90, 20), (64, 32)),
    ],
)
def test_local_view_keeps_the_aspect(multiple: int, size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Longer side 64, sides rounded to the multiple, never under the stride of 32."""
    view = crop_view(gradient(*size), geometry(multiple=multiple))
    assert view.shape == (expected[1], expected[0], 3)


def test_local_view_is_the_view_of_the_crop() -> None:
    """A resize that looks beyond the box would mix in its surroundings."""
    image = gradient(90, 70)
    expected = crop_view(image.crop((10, 20, 60, 50)), geometry())
    assert np.array_equal(local_view(image, Box(10, 20, 60, 50), geometry()), expected)


def test_box_over_the_edge_is_cut_off() -> None:
    image = gradient(90, 70)
    expected = local_view(image, Box(60, 40, 90, 70), geometry())
    assert np.array_equal(local_view(image, Box(60, 40, 500, 2**31 - 1), geometry()), expected)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (Box(10, 10, 10, 20), "EMPTY_BOX"),
        (Box(20, 10, 10, 20), "EMPTY_BOX"),
        (Box(90, 0, 99, 10), "BOX_OUTSIDE_IMAGE"),
        (Box(-9, 0, 0, 10), "BOX_OUTSIDE_IMAGE"),
    ],
)
def test_bad_box(box: Box, reason: str) -> None:
    with pytest.raises(ItemError) as caught:
        local_view(gradient(90, 70), box, geometry())
    assert caught.value.reason == reason


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(90, 70), (70, 91), (300, 48), (20, 33)])
def test_model_profile_equals_open_clip(resize_mode: str, interpolation: str, size: tuple[int, int]) -> None:
    """Another kernel or rounding shifts every score (clip-as-service #904: cosine 0.94 to the reference)."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(size=48, mean=(0, 0, 0), std=(1, 1, 1), interpolation=interpolation, resize_mode=resize_mode)
    image = gradient(*size)
    expected = (image_transform_v2(config, is_train=False)(image) * 255).round().byte().permute(1, 2, 0).numpy()
    model = ModelPreprocessing(48, interpolation, resize_mode)
    view = global_view(image, ViewGeometry(Profile.MODEL, 48, 1, 1, model))
    np.testing.assert_array_equal(view, expected)


def test_model_profile_survives_a_strip() -> None:
    """Resizing 1 x 60,000 pixels to a shorter side of 48 would need 138 megapixels for each such image."""
    assert crop_view(Image.new("RGB", (60_000, 1)), geometry(Profile.MODEL)).shape == (48, 48, 3)
