"""Random damage to good files of all formats and kinds: 2,000 mutants at every run, 100,000 in the slow tests.

A mutant is known by its number: the same number always makes the same bytes.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

SEED = 20261124
INTERESTING_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)

logger = logging.getLogger(__name__)
Rng = np.random.Generator


def flip_bytes(data: bytearray, rng: Rng) -> None:
    for position in rng.integers(0, len(data), rng.integers(1, 9)):
        data[position] = rng.integers(0, 256)


def flip_a_bit(data: bytearray, rng: Rng) -> None:
    data[rng.integers(0, len(data))] ^= 1 << int(rng.integers(0, 8))


def set_a_length(data: bytearray, rng: Rng) -> None:
    """Sizes and lengths, which decoders trust, are two or four bytes near the start."""
    start = int(rng.integers(0, min(len(data), 64)))
    for position in range(start, min(start + int(rng.choice([1, 2, 4])), len(data))):
        data[position] = int(rng.choice(INTERESTING_BYTES))


def cut_off(data: bytearray, rng: Rng) -> None:
    del data[int(rng.integers(0, len(data))) :]


def cut_out(data: bytearray, rng: Rng) -> None:
    start = int(rng.integers(0, len(data)))
    del data[start : start + int(rng.integers(1, 40))]


def repeat(data: bytearray, rng: Rng) -> None:
    start = int(rng.integers(0, len(data)))
    data[start:start] = data[start : start + int(rng.integers(1, 200))] * int(rng.integers(1, 5))


def insert_noise(data: bytearray, rng: Rng) -> None:
    start = int(rng.integers(0, len(data)))
    data[start:start] = rng.bytes(int(rng.integers(1, 40)))


MUTATIONS = (flip_bytes, flip_a_bit, set_a_length, cut_off, cut_out, repeat, insert_noise)


def mutant(number: int, originals: list[bytes]) -> bytes:
    rng = np.random.default_rng((SEED, number))
    data = bytearray(originals[number % len(originals)])
    for _ in range(rng.integers(1, 4)):
        if data:
            MUTATIONS[rng.integers(0, len(MUTATIONS))](data, rng)
    return bytes(data)


@pytest.fixture(scope="module")
def originals(encode: Callable[..., bytes], image_bytes: Callable[..., bytes]) -> list[bytes]:
    """One small file of each kind that decoders have code of their own for."""
    noise = np.random.default_rng(SEED).integers(0, 256, (24, 30, 4), dtype=np.uint8)
    rgba, rgb = Image.fromarray(noise), Image.fromarray(noise[..., :3])
    grey16 = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [rgb.transpose(Image.Transpose.ROTATE_180)]}
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encode(rgb, "JPEG", exif=exif),
        encode(rgb, "JPEG", progressive=True, subsampling="4:4:4"),
        encode(rgb.convert("CMYK"), "JPEG"),
        encode(rgb.convert("L"), "JPEG", restart_marker_blocks=2),
        encode(rgb, "PNG", exif=exif),
        encode(rgba, "PNG"),
        encode(grey16, "PNG"),
        encode(rgb.quantize(16), "PNG", transparency=3),
        encode(rgb, "PNG", **frames),
        encode(rgb, "WEBP"),
        encode(rgba, "WEBP", lossless=True, exif=exif),
        encode(rgba, "WEBP", **frames),
        encode(rgb, "GIF"),
        encode(rgb.quantize(16), "GIF", **frames),
        encode(rgb, "BMP"),
        encode(rgb.quantize(16), "BMP"),
        encode(rgb.convert("1"), "BMP"),
    ]


def check(count: int, scorer: Any, originals: list[bytes]) -> None:
    verdicts = Counter(scorer.verdicts(mutant(number, originals) for number in range(count)))
    logger.warning("%d mutants: %s", count, dict(verdicts.most_common()))
    assert verdicts.total() == count
    assert verdicts["decoded"] > count / 10, "hardly any was decoded: then only the first lines of decoders were tested"
    assert verdicts["IMAGE_CORRUPT"] > count / 50


def test_a_mutant_costs_only_itself(scorer: Any, originals: list[bytes]) -> None:
    """One broken image failed its whole batch, or ended the service, in most servers of this kind."""
    check(2_000, scorer, originals)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_100_000_mutants(scorer: Any, originals: list[bytes]) -> None:
    check(100_000, scorer, originals)
