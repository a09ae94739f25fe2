"""An image that the trainer can read and the labeler cannot: every method that asks CLIP goes on without it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.presets import METHOD_PRESETS

ASK_CLIP = [name for name, preset in METHOD_PRESETS.items() if preset["labels"].startswith("clip")]
MAX_BYTES = 50_000


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven small pictures, and one of more bytes than the labeler takes."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(12):
        side = 256 if number == 4 else 64
        pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def strict_labeler(start_labeler: Callable, tiny_clip):
    return start_labeler(*tiny_clip.flags, "--max-image-bytes", str(MAX_BYTES))


@pytest.mark.parametrize(
    "method", [name if name in ("ccd", "cdul") else pytest.param(name, marks=pytest.mark.slow) for name in ASK_CLIP]
)
def test_a_method_goes_on_without_it(
    method: str,
    photos: Path,
    strict_labeler,
    run_here: Callable[..., tuple[int, str]],
    small_run: list[str],
    tmp_path: Path,
) -> None:
    """Would fail if its missing row ended the run, or put NaN into the weights."""
    places = ("--classes", "cat, dog, tree", "--labeler", strict_labeler.address, "--output", tmp_path / "run")
    code, text = run_here("run", photos, *places, *small_run, "--method", method)
    assert code == 5, text
    assert "04.png" in text
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["images"] == 11
    assert np.isfinite(np.load(tmp_path / "run" / "labels" / "classifier.npy")).all()
