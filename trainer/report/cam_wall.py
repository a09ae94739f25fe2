"""Section 4: for every class, where the classifier looked, the crop it asked CLIP about, and what came of it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.map_samples import choose_samples
from trainer.report.pictures import Box, Picture, Pictures
from trainer.report.run_files import FloatArray, RunFiles

TITLE = "Where the classifier looks"

PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class WallItem:
    """One image for one class. box: x0, y0, x1, y1, half-open, in pixels of the upright original; None without a crop.
    Probabilities in [0, 1] of the class, None where they are not known: CLIP's raw ones of the whole image and of the
    crop, the label, the classifier's."""

    image_id: str
    overlay: Picture | None
    crop: Picture | None
    box: PixelBox | None
    clip: float | None
    clip_of_crop: float | None
    label: float | None
    classifier: float | None


@dataclass(frozen=True)
class ClassWall:
    class_index: int
    items: tuple[WallItem, ...]


@dataclass(frozen=True)
class Wall:
    """label_name: what the labels are. maps, crops: whether there are any."""

    classes: tuple[ClassWall, ...]
    label_name: str
    maps: bool
    crops: bool


def build(run: RunFiles, pictures: Pictures, per_class: int) -> Wall | None:
    """At most per_class images of each class."""
    if run.labels is None or per_class == 0:
        return None
    samples = run.map_samples
    if samples is None:
        images, classes = choose_samples(run.labels.rows, run.clip, run.clip_of_crops, run.views)
    else:
        images, classes = samples.image, samples.class_index
    walls = []
    for c in range(len(run.class_names)):
        places = np.flatnonzero(classes == c)[:per_class].tolist()
        maps = [None if samples is None else samples.maps[place] for place in places]
        items = (
            _item(run, pictures, int(images[place]), c, map_hw) for place, map_hw in zip(places, maps, strict=True)
        )
        walls.append(ClassWall(c, tuple(items)))
    return Wall(tuple(walls), run.labels.name, samples is not None, run.views is not None)


def _item(run: RunFiles, pictures: Pictures, image: int, c: int, map_hw: npt.NDArray[np.float16] | None) -> WallItem:
    row = run.images[image]
    path = row.file
    box, clip_of_crop = _view(run, image, c)
    share: Box | None = None
    if box is not None:
        share = (box[0] / row.width, box[1] / row.height, box[2] / row.width, box[3] / row.height)
    assert run.labels is not None
    return WallItem(
        row.image_id,
        pictures.overlay(path, share, map_hw),
        None if share is None else pictures.crop(path, share),
        box,
        _entry(run.clip, image, c),
        clip_of_crop,
        _entry(run.labels.rows, image, c),
        _entry(run.classifier, image, c),
    )


def _view(run: RunFiles, image: int, c: int) -> tuple[PixelBox | None, float | None]:
    """The crop that was made for the class, else the one where CLIP sees most of it; and CLIP's probability there."""
    if run.views is None:
        return None, None
    rows = np.flatnonzero(run.views.image == image)
    if not len(rows):
        return None, None
    probs = run.clip_of_views
    own = rows[run.views.class_index[rows] == c]
    if len(own):
        row = int(own[0])
    elif probs is not None and np.isfinite(probs[rows, c]).any():
        row = int(rows[np.nanargmax(probs[rows, c])])
    else:
        return None, None
    x0, y0, x1, y1 = run.views.boxes[row].tolist()
    return (x0, y0, x1, y1), _entry(probs, row, c)


def _entry(rows: FloatArray | None, row: int, column: int) -> float | None:
    return None if rows is None or not np.isfinite(rows[row, column]) else float(rows[row, column])
