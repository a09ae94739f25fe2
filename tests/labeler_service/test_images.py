"""Cropping and resizing: views that match their definition to the pixel."""

import numpy as np
import pytest
from PIL import Image

from labeler_service.decoding import DecodedImage, ImageError
from labeler_service.images import (
    Box,
    ModelPreprocessing,
    Profile,
    ViewGeometry,
    crop_view,
    global_view,
    local_view,
)

MODEL = ModelPreprocessing(size=48)


def geometry(profile: Profile = Profile.PAPER, side: int = 64, multiple: int = 1) -> ViewGeometry:
    return ViewGeometry(profile, side, multiple, minimum=32, model=MODEL)


def full(image: Image.Image) -> DecodedImage:
    """Decoded at its full size."""
    return DecodedImage(image, image.width, image.height)


def gradient(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8))


def test_global_view_is_squashed() -> None:
    image = gradient(90, 40)
    view = global_view(full(image), geometry())
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
    view = crop_view(full(gradient(*size)), geometry(multiple=multiple))
    assert view.shape == (expected[1], expected[0], 3)


def test_local_view_is_the_view_of_the_crop() -> None:
    """A resize that looks beyond the box would mix in its surroundings."""
    image = gradient(90, 70)
    expected = crop_view(full(image.crop((10, 20, 60, 50))), geometry())
    assert np.array_equal(local_view(full(image), Box(10, 20, 60, 50), geometry()), expected)


def test_box_over_the_edge_is_cut_off() -> None:
    image = full(gradient(90, 70))
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
    with pytest.raises(ImageError) as caught:
        local_view(full(gradient(90, 70)), box, geometry())
    assert caught.value.reason == reason


def test_boxes_of_a_reduced_image_are_in_original_pixels() -> None:
    """Boxes of a photograph of 50 megapixels would lie elsewhere, or outside of it."""
    image = gradient(90, 70)
    reduced = DecodedImage(image, 180, 140)
    assert np.array_equal(
        local_view(reduced, Box(20, 40, 120, 100), geometry()), local_view(full(image), Box(10, 20, 60, 50), geometry())
    )
    one_pixel = local_view(reduced, Box(179, 139, 180, 140), geometry())
    assert np.array_equal(one_pixel[0, 0], np.asarray(image)[69, 89])
    with pytest.raises(ImageError, match="outside the image of 180 x 140"):
        local_view(reduced, Box(180, 0, 190, 10), geometry())


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
    view = global_view(full(image), ViewGeometry(Profile.MODEL, 48, 1, 1, model))
    np.testing.assert_array_equal(view, expected)


def test_model_profile_survives_a_strip() -> None:
    """Resizing 1 x 60,000 pixels to a shorter side of 48 would need 138 megapixels for each such image."""
    assert crop_view(full(Image.new("RGB", (60_000, 1))), geometry(Profile.MODEL)).shape == (48, 48, 3)
