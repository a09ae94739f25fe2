"""Pixels to the classifier's input: squash, weak and strong view, normalisation. All randomness is the caller's.

Shapes: S image size in pixels; images are (S, S, 3) uint8 RGB until they are normalised.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from trainer.data.images import decode

Pixels = NDArray[np.uint8]

JITTER = 0.5  # brightness, contrast, saturation, hue alike: ColorJitter(.5, .5, .5, .5) in the released code

SIZE_STEP = 32  # sides of mixed sizes are multiples of what ResNets and most transformers divide an image by


def load_squashed(data: bytes, size: int) -> Pixels:
    """(S, S, 3) of an encoded image, stretched to a square whatever its shape, with antialiased bilinear sampling
    (the released code's Resize((S, S))). Raises ValueError for bytes that are no usable image."""
    return np.asarray(decode(data, at_least=size).resize((size, size), Image.Resampling.BILINEAR))


def resized(pixels: Pixels, size: int) -> Pixels:
    """(size, size, 3), with antialiased bilinear sampling; as it is where it has that size."""
    if len(pixels) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def weak_view(pixels: Pixels, rng: Generator) -> Pixels:
    """(S, S, 3), mirrored with probability one half."""
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def strong_view(pixels: Pixels, rng: Generator) -> Pixels:
    """(S, S, 3): a weak view of its own with its colours jittered (paper section 3.4, fig. 5)."""
    return jitter_colours(weak_view(pixels, rng), rng)


def jitter_colours(pixels: Pixels, rng: Generator) -> Pixels:
    """(S, S, 3) with brightness, contrast, saturation and hue changed, in random order.

    The first three are multiplied by a factor from [1 - JITTER, 1 + JITTER], hue is turned by a share of the colour
    circle from [-JITTER, JITTER]. On Pillow images because it is the faster of torchvision's two implementations:
    0.84 against 1.23 ms at 128 px on one core, most of it for the hue (measured, torchvision 0.29).
    """
    image = Image.fromarray(pixels)
    brightness, contrast, saturation = rng.uniform(1 - JITTER, 1 + JITTER, 3)
    hue = rng.uniform(-JITTER, JITTER)
    changes = (
        (functional.adjust_brightness, brightness),
        (functional.adjust_contrast, contrast),
        (functional.adjust_saturation, saturation),
        (functional.adjust_hue, hue),
    )
    for i in rng.permutation(len(changes)):
        change, amount = changes[i]
        image = change(image, amount)
    return np.asarray(image)


def normalise(images: Sequence[Pixels], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(B, 3, S, S) float32 in channels_last memory, (x / 255 - mean) / std of each channel."""
    batch_BSS3 = np.stack(images).astype(np.float32)
    batch_BSS3 -= np.multiply(mean, 255, dtype=np.float32)
    batch_BSS3 /= np.multiply(std, 255, dtype=np.float32)
    return torch.from_numpy(batch_BSS3).permute(0, 3, 1, 2)
