"""The examples of docs/extending.md are parts that work."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from labeler_service.config import ServerConfig
from trainer.config import RunConfig, resolve
from trainer.data import formats
from trainer.objective import Step
from trainer.presets import METHOD_PRESETS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "extending.md").read_text("utf-8")
NAN = float("nan")

Example = Callable[[str], dict[str, Any]]


@pytest.fixture
def example(tmp_path: Path) -> Example:
    """example(section): the names that the section's code defines, as a module would have them."""

    def execute(section: str) -> dict[str, Any]:
        [code] = re.findall(r"^```python\n(.*?)^```$", PAGE.split(f"## {section}\n")[1].split("\n## ")[0], re.M | re.S)
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(code, f"docs/extending.md: {section}", "exec"), names)
        return names

    return execute


def test_a_method(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if Method, its objective or the presets were not what the page says."""
    names = example("A method")
    objective = names["METHOD"].objective(None)
    logits = torch.tensor([[3.0, -3.0], [-3.0, 3.0]], requires_grad=True)
    labels = torch.tensor([[1.0, NAN], [1.0, NAN]])  # the first image is right, the second wrong twice
    [loss] = objective(Step(logits, None, logits, labels, torch.arange(2))).values()
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[1].abs() > 100 * logits.grad[0].abs()).all()
    monkeypatch.setitem(METHOD_PRESETS, "an_focal", {"labels": "clip_top1"})
    assert '"an_focal": {"labels": "clip_top1"}' in PAGE
    settings = resolve(RunConfig(method="an_focal"), data_format="folder", num_classes=2, prompt="a {}")
    assert settings.labels == "clip_top1"


def test_a_data_set(example: Example, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Would fail if a reader's interface, or what it can build on, were not what the page says."""
    for name, classes in {"a": "cat\n", "deep/b": "dog\ncat\n", "c": "\n"}.items():
        file = tmp_path / "images" / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(file)
        file.with_suffix(".txt").write_text(classes)
    assert '`"sidecars": _plain(read_sidecars)`' in PAGE
    monkeypatch.setitem(formats.FORMATS, "sidecars", formats._plain(example("A data set")["read_sidecars"]))
    data = formats.open_data(f"sidecars:{tmp_path / 'images'}", classes=None, cache=tmp_path)
    assert data.class_names == ("cat", "dog")
    assert data.train.targets is not None
    targets = dict(zip((sample.image_id for sample in data.train.samples), data.train.targets.tolist(), strict=True))
    assert targets == {"a.jpg": [1, 0], "deep/b.jpg": [1, 1], "c.jpg": [0, 0]}
    (tmp_path / "images/a.txt").unlink()
    with pytest.raises(ValueError, match=r"a\.jpg has no a\.txt beside it"):
        formats.open_data(f"sidecars:{tmp_path / 'images'}", classes=None, cache=tmp_path)


def test_a_backend(example: Example) -> None:
    """Would fail if a backend's verbs, or the description that cache keys are made of, were not what the page says."""
    backend = example("A backend")["MirrorBackend"](ServerConfig(device="cpu"))
    size = backend.info.native_resolution
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    rows = backend.encode_images(pixels, backend.info.normalization)
    assert rows.shape == (2, backend.info.embedding_size)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    mirrored = backend.encode_images(np.ascontiguousarray(pixels[:, :, ::-1]), backend.info.normalization)
    np.testing.assert_allclose(rows, mirrored, atol=1e-5)
    assert backend.info.backend == "torch-mirror"
    assert backend.encode_texts(["a photo of the cat"]).shape == (1, backend.info.embedding_size)
