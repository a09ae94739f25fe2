"""The classifier's input against torchvision, and what the random views may change."""

import io

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from trainer.data.transforms import jitter_colours, load_squashed, normalise, strong_view, weak_view


def picture(size: int = 32, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size)))


def test_squash_equals_torchvisions_antialiased_resize() -> None:
    """Without antialiasing, or with a crop, weights trained elsewhere would see other images."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))
    image.save(buffer, "PNG")
    expected = functional.resize(functional.pil_to_tensor(image), [24, 24], antialias=True)
    found = load_squashed(buffer.getvalue(), 24)
    np.testing.assert_allclose(found.transpose(2, 0, 1).astype(int), expected.numpy().astype(int), atol=1)


def test_normalise_equals_torchvision() -> None:
    images = [picture(seed=0), picture(seed=1)]
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    unit = functional.to_dtype(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.float32, scale=True)
    found = normalise(images, mean, std)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, functional.normalize(unit, mean, std), atol=1e-5, rtol=1e-5)


def test_weak_view_mirrors_about_half_of_the_images() -> None:
    """P(fewer than 400 or more than 600 of 1000) is below 1e-9."""
    pixels = picture()
    views = [weak_view(pixels, np.random.default_rng(seed)) for seed in range(1000)]
    mirrored = [np.array_equal(view, pixels[:, ::-1]) for view in views]
    assert all(flip or np.array_equal(view, pixels) for flip, view in zip(mirrored, views, strict=True))
    assert 400 < sum(mirrored) < 600


def test_strong_view_is_mirrored_independently_of_the_weak_one() -> None:
    """All four combinations occur; the released code draws the two flips apart."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 200  # a grey step keeps its direction whatever the colours do
    seen = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        weak, strong = weak_view(pixels, rng), strong_view(pixels, rng)
        seen.add((bool(weak[0, 0, 0] > weak[0, 7, 0]), bool(strong[0, 0].sum() > strong[0, 7].sum())))
    assert len(seen) == 4


def test_jitter_changes_colours_not_places() -> None:
    """A uniform image stays uniform, however strong the jitter."""
    pixels = np.full((6, 6, 3), (180, 60, 20), np.uint8)
    results = np.stack([jitter_colours(pixels, np.random.default_rng(seed)) for seed in range(50)])
    assert (results == results[:, :1, :1]).all()
    assert len(np.unique(results[:, 0, 0], axis=0)) > 40


def test_jitter_reaches_every_hue() -> None:
    """Hue is the strongest part of the paper's strong view: red must become green and blue at times."""
    pixels = np.full((2, 2, 3), (220, 40, 40), np.uint8)
    dominant = {int(jitter_colours(pixels, np.random.default_rng(seed))[0, 0].argmax()) for seed in range(60)}
    assert dominant == {0, 1, 2}


def test_jitter_keeps_brightness_within_its_range() -> None:
    """Grey has no saturation and no hue, and its contrast is nothing: what is left is the brightness factor."""
    pixels = np.full((2, 2, 3), 100, np.uint8)
    values = [int(jitter_colours(pixels, np.random.default_rng(seed))[0, 0, 0]) for seed in range(200)]
    assert 50 <= min(values) < 60
    assert 140 < max(values) <= 150
