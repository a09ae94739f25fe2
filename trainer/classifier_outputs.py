"""What the trained classifier says of the images that it learned from, kept for the report, the review and thresholds.

Shapes: N training images, F features, C classes, K kept activation maps of h x w cells.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from trainer.engine import predict
from trainer.files import write_atomically
from trainer.map_samples import MapSamples, choose_samples
from trainer.model import CamClassifier
from trainer.progress import track
from trainer.pseudo_labels import load_rows, save_rows
from trainer.run_predictions import Selection
from trainer.session import Run
from trainer.training import Training
from trainer.view_table import Views

FloatArray = npt.NDArray[np.float32]


def write_classifier_outputs(run: Run, training: Training) -> None:
    """One pass over the training images by the kept weights, and one over a few images of each class.

    Writes labels/classifier.npy, (N, C) float32 probabilities; labels/embeddings.npy, (N, F) float16, the mean over
    places of the backbone's last feature map; labels/map_samples.npz, see `MapSamples`. The last two need a classifier
    that has activation maps.
    """
    if run.folder.done("classifier_outputs"):
        return
    training.load_kept_weights()
    with run.folder.stage("classifier_outputs"):
        with _pooled_features(training.model) as pooled:
            probs = _probabilities(run, training)
        save_rows(run.folder.path("labels/classifier.npy"), probs)
        if isinstance(training.model, CamClassifier):
            embeddings = np.concatenate([part.half().cpu().numpy() for part in pooled])
            _save(run.folder.path("labels/embeddings.npy"), embeddings)
            _map_samples(run, training, probs).write(run.folder.path("labels/map_samples.npz"))


def write_evaluation(run: Run, logits: FloatArray) -> None:
    """evaluation.npz: logits (V, C) float32 of the validation images and their targets (V, C) int8."""
    assert run.validation is not None
    assert run.validation.targets is not None
    content = io.BytesIO()
    np.savez_compressed(content, logits=logits, targets=run.validation.targets)
    write_atomically(run.folder.path("evaluation.npz"), content.getvalue())


@contextmanager
def _pooled_features(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the mean feature (B, F) of every batch that passes the head while the block runs."""
    pooled: list[Tensor] = []
    if not isinstance(model, CamClassifier):
        yield pooled
        return
    hook = model.head.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0].float().mean(dim=(2, 3))))
    try:
        yield pooled
    finally:
        hook.remove()


def _probabilities(run: Run, training: Training) -> FloatArray:
    batches = Selection("train", run.config.image_size).batches(run, training.model)
    logits = []
    with track(run.console, "final predictions", len(run.train)) as advance:
        for _, logits_BC, _ in predict(training.model, batches, run.machine):
            logits.append(logits_BC)
            advance(len(logits_BC))
    return np.asarray(np.exp(-np.logaddexp(0, -np.concatenate(logits))), np.float32)


def _map_samples(run: Run, training: Training, probs: FloatArray) -> MapSamples:
    """At the size at which the boxes were found, so that the maps can be compared with them."""
    images, classes = _chosen(run, probs)
    maps = []
    batches = Selection("train", run.config.view_size, images).batches(run, training.model)
    with track(run.console, "kept activation maps", len(images)) as advance:
        for positions, _, maps_BChw in predict(training.model, batches, run.machine):
            advance(len(positions))
            maps.append(maps_BChw[np.arange(len(positions)), classes[positions]].astype(np.float16))
    return MapSamples(images, classes, np.concatenate(maps))


def _chosen(run: Run, probs: FloatArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int16]]:
    def rows(name: str) -> FloatArray | None:
        path = run.folder.path(f"labels/{name}.npy")
        return load_rows(path) if path.exists() else None

    labels = rows("final" if run.config.update else "initial")
    views_path = run.folder.path("labels/views.parquet")
    views = Views.read(views_path) if views_path.exists() else None
    if labels is None:
        labels = probs
    labels = np.where(np.isfinite(labels), labels, probs)  # CLIP may have rejected images, even all
    return choose_samples(labels, rows("initial_raw"), rows("local"), views)


def _save(path: Path, array: npt.NDArray[np.float16]) -> None:
    content = io.BytesIO()
    np.save(content, array)
    write_atomically(path, content.getvalue())
