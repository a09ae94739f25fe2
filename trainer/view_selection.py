"""Which crops CLIP should look at: classes over the threshold, their CAMs, boxes around them (paper section 3.2).

Shapes: N images, V views, C classes, k views of one image, h w cells of a CAM.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.cam import boxes_from_cams
from trainer.data.loader import EvaluationBatches
from trainer.data.names import path_of
from trainer.data.seeds import RunStream
from trainer.data.voc import read_boxes
from trainer.engine import predict, predict_logits
from trainer.model import CamClassifier, normalization
from trainer.progress import track
from trainer.session import Run
from trainer.view_policies import VIEWS, boxes_around, grid_boxes, random_boxes
from trainer.views import search_threshold, select_classes, threshold_for_mean_views

FloatArray = npt.NDArray[np.float32]

NO_CLASS = -1  # of views that no classifier chose


# Of one image: its place, the classes (k,) and the boxes (k, 4).
_ViewsOfImage = tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int32]]


@dataclass(frozen=True)
class Views:
    """V views in the order of their images. `image` (V,) int64 positions in the training set; `class_index` (V,)
    int16 the class that asked for the view, -1 for none; `boxes` (V, 4) int32 x0 y0 x1 y1, half-open, in pixels of the
    original image."""

    image: npt.NDArray[np.int64]
    class_index: npt.NDArray[np.int16]
    boxes: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.image)

    def rows_of_image(self) -> dict[int, npt.NDArray[np.int64]]:
        """Rows of each image that has views."""
        images, starts = np.unique(self.image, return_index=True)
        return dict(zip(images.tolist(), np.split(np.arange(len(self)), starts[1:]), strict=True)) if len(self) else {}

    def write(self, path: Path, image_ids: list[str], class_names: tuple[str, ...]) -> None:
        """Parquet, one row a view, with names beside positions so that other programs can read it alone."""
        x0, y0, x1, y1 = self.boxes.T
        columns = {
            "image": self.image,
            "file_name": [image_ids[i] for i in self.image],
            "class": self.class_index,
            "class_name": ["" if c == NO_CLASS else class_names[c] for c in self.class_index],
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
        }
        unfinished = path.with_name(path.name + ".part")
        pq.write_table(pa.table(columns), unfinished, compression="zstd")
        unfinished.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Views":
        table = pq.read_table(path)
        boxes = np.stack([table[side].to_numpy() for side in ("x0", "y0", "x1", "y1")], axis=1).astype(np.int32)
        return cls(table["image"].to_numpy(), table["class"].to_numpy(), boxes)


def select_views(run: Run, model: CamClassifier, *, usable: npt.NDArray[np.bool_]) -> None:
    """Finds the views of the training images whose labels are `usable` (N,), writes labels/views.parquet.

    The threshold is chosen on images at the classifier's own size, CAMs are made at the view size, as the released
    code does. With --export-cams each image's CAMs go to cams/<image id>.npz. Other policies ask no classifier.
    """
    images = np.flatnonzero(usable)
    threshold = None
    if run.config.view_policy == "cam":
        threshold = choose_threshold(run, _probabilities(run, model, images))
        views = _views_over(run, model, images, threshold)
    else:
        views = _join([(image, np.full(len(boxes), NO_CLASS), boxes) for image, boxes in _other_boxes(run, images)])
    image_ids = [sample.image_id for sample in run.train.samples]
    views.write(run.folder.path("labels/views.parquet"), image_ids, run.class_names)
    run.folder.note("views", threshold=threshold, count=len(views), images=len(images))


def choose_threshold(run: Run, probs: FloatArray) -> float:
    """Probability over which a class gets a view, by the configured rule, from probabilities (N, C)."""
    config = run.config
    if config.views == "fixed":
        return config.view_threshold
    if config.views == "mean":
        return threshold_for_mean_views(probs, config.mean_views)
    band = (config.mean_views, config.mean_views + 2)
    shuffled = np.random.default_rng([config.seed, RunStream.THRESHOLD]).permutation(len(probs))
    return search_threshold(probs[shuffled], band=band, start=config.view_threshold)


def _batches(run: Run, model: CamClassifier, images: npt.NDArray[np.int64], size: int) -> EvaluationBatches:
    mean, std = normalization(model.backbone)
    reused = size == run.config.image_size  # pixels of another size are needed this once: not worth the memory
    return EvaluationBatches(
        run.train.subset(images), image_size=size, mean=mean, std=std,
        batch_size=2 * run.config.batch_size, workers=run.config.workers, cache=run.cache if reused else None,
    )  # fmt: skip


def _probabilities(run: Run, model: CamClassifier, images: npt.NDArray[np.int64]) -> FloatArray:
    batches = _batches(run, model, images, run.config.image_size)
    with track(run.console, "choosing the threshold", len(images)) as advance:
        logits = predict_logits(model, batches, run.machine, num_images=len(images), advance=advance)
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _views_over(run: Run, model: CamClassifier, images: npt.NDArray[np.int64], threshold: float) -> Views:
    """One pass that keeps a batch of CAMs at a time."""
    batches = _batches(run, model, images, run.config.view_size)
    found: list[_ViewsOfImage] = []
    with track(run.console, "activation maps", len(images)) as advance:
        for positions, logits_BC, cams_BChw in predict(model, batches, run.machine, advance=advance):
            for image, logits_C, cams_Chw in zip(images[positions], logits_BC, cams_BChw, strict=True):
                classes_k = select_classes(1 / (1 + np.exp(-logits_C)), threshold)
                if run.config.export_cams:
                    _export(run, int(image), classes_k, cams_Chw)
                if len(classes_k):
                    found.append((int(image), classes_k, _boxes(run, int(image), cams_Chw[classes_k])))
    return _join(found)


def _join(found: list[_ViewsOfImage]) -> Views:
    found = [(image, classes, boxes) for image, classes, boxes in found if len(boxes)]
    if not found:
        return Views(np.empty(0, np.int64), np.empty(0, np.int16), np.empty((0, 4), np.int32))
    return Views(
        np.repeat([image for image, _, _ in found], [len(classes) for _, classes, _ in found]),
        np.concatenate([classes for _, classes, _ in found]).astype(np.int16),
        np.concatenate([boxes for _, _, boxes in found]),
    )


def _other_boxes(run: Run, images: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int32]]]:
    """Boxes of each image by the policies that ask no classifier. Raises ValueError where objects are not known."""
    for image in images.tolist():
        width, height = run.sizes[image].tolist()
        rng = np.random.default_rng([run.config.seed, RunStream.VIEWS, image])
        match run.config.view_policy:
            case "grid":
                yield image, grid_boxes(width, height)
            case "random":
                yield image, random_boxes(width, height, rng)
            case "gt":
                yield image, read_boxes(run.train.samples[image].path)[:VIEWS]
            case "around_gt":
                yield image, boxes_around(read_boxes(run.train.samples[image].path), width, height, rng)


def _boxes(run: Run, image: int, cams_khw: FloatArray) -> npt.NDArray[np.int32]:
    config = run.config
    width, height = run.sizes[image].tolist()
    return boxes_from_cams(
        cams_khw, frame=config.view_size, threshold=config.cam_threshold, shape=config.box,
        offset=config.box_offset, image_size=(width, height),
    )  # fmt: skip


def _export(run: Run, image: int, classes_k: npt.NDArray[np.int64], cams_Chw: FloatArray) -> None:
    """CAMs (k, h, w) float32 before normalisation, of the classes that got a view, over the whole image."""
    path = run.folder.path(f"cams/{path_of(run.train.samples[image].image_id, '.npz')}")
    np.savez_compressed(path, classes=classes_k.astype(np.int16), cams=cams_Chw[classes_k])
