"""Views: which images and classes get one, and where it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from trainer.config import RunConfig
from trainer.model import CamClassifier
from trainer.session import Run, open_run
from trainer.view_selection import Views, select_views


class Colours(nn.Module):
    """A backbone whose three features are the image's colours on an 8 x 8 grid."""

    num_features = 3

    def forward_features(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images, 8)


def colour_classifier() -> CamClassifier:
    """Class i is there where colour i is: its logit is positive when a twentieth of the image has it."""
    model = CamClassifier(Colours(), num_classes=3)
    with torch.no_grad():
        model.head.weight.copy_(20 * torch.eye(3)[:, :, None, None])
        model.head.bias.fill_(-1.0)
    return model


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Black images of 200 x 100 pixels with one or two coloured rectangles."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, patches in {
        "a": [(0, (20, 10, 60, 40))],
        "b": [],
        "c": [(2, (150, 60, 190, 90)), (1, (10, 60, 50, 95))],
    }.items():
        pixels = np.zeros((100, 200, 3), np.uint8)
        for channel, (x0, y0, x1, y1) in patches:
            pixels[y0:y1, x0:x1, channel] = 255
        Image.fromarray(pixels).save(photos / f"{name}.png")
    config = RunConfig(
        classes="red, green, blue", image_size=64, view_size=64, views="fixed", view_threshold=0.5,
        box_offset=0.0, cam_threshold=0.5, batch_size=1, export_cams=True,
    )  # fmt: skip
    monkeypatch.setattr("trainer.run_predictions.normalization", lambda _: ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    return open_run(str(photos), tmp_path / "run", config, Console(quiet=True))


def test_views_lie_on_what_the_class_is_seen_in(run: Run) -> None:
    """Would fail if boxes went to another image, another class, or kept the squashed square's coordinates."""
    select_views(run, colour_classifier(), usable=np.array([True, True, True]))
    views = Views.read(run.folder.path("labels/views.parquet"))
    assert views.image.tolist() == [0, 2, 2]
    assert views.class_index.tolist() == [0, 1, 2]
    for box, (x0, y0, x1, y1) in zip(
        views.boxes, [(20, 10, 60, 40), (10, 60, 50, 95), (150, 60, 190, 90)], strict=True
    ):
        assert np.abs(box - (x0, y0, x1, y1)).max() <= 25, box  # one cell of the 8 x 8 grid is 25 x 12.5 pixels
    assert {image: rows.tolist() for image, rows in views.rows_of_image().items()} == {0: [0], 2: [1, 2]}
    cams = np.load(run.folder.path("cams/c.png.npz"))
    assert cams["classes"].tolist() == [1, 2]
    assert cams["cams"].shape == (2, 8, 8)


def test_images_without_labels_get_no_view(run: Run) -> None:
    """Would fail if positions shifted when the labeler had rejected an image."""
    select_views(run, colour_classifier(), usable=np.array([False, True, True]))
    assert Views.read(run.folder.path("labels/views.parquet")).image.tolist() == [2, 2]


def test_no_view_at_all_is_a_valid_outcome(run: Run) -> None:
    """Would fail if a set in which nothing is over the threshold ended in an error."""
    model = colour_classifier()
    with torch.no_grad():
        model.head.bias.fill_(-50.0)
    select_views(run, model, usable=np.array([True, True, True]))
    views = Views.read(run.folder.path("labels/views.parquet"))
    assert len(views) == 0
    assert views.rows_of_image() == {}
