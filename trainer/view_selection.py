"""Which crops CLIP should look at: classes over the threshold, their CAMs, boxes around them (paper section 3.2).

Shapes: N images, V views, C classes, k views of one image, h w cells of a CAM.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from trainer import team
from trainer.cam import boxes_from_cams
from trainer.data.names import path_of
from trainer.data.seeds import RunStream
from trainer.data.voc import read_boxes
from trainer.engine import predict
from trainer.model import CamClassifier
from trainer.progress import track
from trainer.run_predictions import Selection, predict_logits
from trainer.session import Run
from trainer.view_policies import VIEWS, boxes_around, grid_boxes, random_boxes
from trainer.view_table import NO_CLASS, Views
from trainer.views import search_threshold, select_classes, threshold_for_mean_views

FloatArray = npt.NDArray[np.float32]

# Of one image: its place, the classes (k,) and the boxes (k, 4).
_ViewsOfImage = tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int32]]


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


def _probabilities(run: Run, model: CamClassifier, images: npt.NDArray[np.int64]) -> FloatArray:
    selection = Selection("train", run.config.image_size, images)
    logits = predict_logits(run, model, selection, title="choosing the threshold")
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _views_over(run: Run, model: CamClassifier, images: npt.NDArray[np.int64], threshold: float) -> Views:
    """One pass over the images by all processes, each of which keeps a batch of CAMs at a time."""
    selection = Selection("train", run.config.view_size, images)
    results = team.shared(
        "views", range(len(selection.batches(run, model))), partial(views_of_batches, run, model, selection, threshold),
        selection, threshold, per_round=selection.batches_per_round(run),
    )  # fmt: skip
    found: list[_ViewsOfImage] = []
    with track(run.console, "activation maps", len(images)) as advance:
        for image, classes_k, boxes_k4, cams_khw in results:
            if cams_khw is not None:
                _export(run, image, classes_k, cams_khw)
            if len(classes_k):
                found.append((image, classes_k, boxes_k4))
            advance(1)
    return _join(sorted(found, key=lambda views: views[0]))


def views_of_batches(
    run: Run, model: CamClassifier, selection: Selection, threshold: float, numbers: Sequence[int]
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int32], FloatArray | None]]:
    """Of each image of the batches of these numbers: its place among the training images, the classes over the
    threshold (k,), their boxes (k, 4), and where CAMs are exported these classes' (k, h, w)."""
    assert selection.rows is not None
    batches = selection.batches(run, model).only(numbers)
    for positions, logits_BC, cams_BChw in predict(model, batches, run.machine):
        for image, logits_C, cams_Chw in zip(selection.rows[positions].tolist(), logits_BC, cams_BChw, strict=True):
            classes_k = select_classes(1 / (1 + np.exp(-logits_C)), threshold)
            cams_khw = cams_Chw[classes_k]
            yield image, classes_k, _boxes(run, image, cams_khw), cams_khw if run.config.export_cams else None


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


def _export(run: Run, image: int, classes_k: npt.NDArray[np.int64], cams_khw: FloatArray) -> None:
    """CAMs (k, h, w) float32 before normalisation, of the classes that got a view, over the whole image."""
    path = run.folder.path(f"cams/{path_of(run.train.samples[image].image_id, '.npz')}")
    np.savez_compressed(path, classes=classes_k.astype(np.int16), cams=cams_khw)
