"""Classifier-guided CLIP Distillation: debiased CLIP labels, then labels improved by crops that the classifier chose.

Every array that is written can be recomputed from the one before it; each is written once. Shapes: N images, V views,
C classes.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clip_labeler import EntropyGate
from trainer import distributed, labeling
from trainer.clip_labels import global_probabilities
from trainer.corrections import Corrections
from trainer.files import read_json, write_json
from trainer.labeling import Labeler
from trainer.losses import bce, consistency, entropy_weights
from trainer.methods.method import Method
from trainer.model import CamClassifier, Classifier
from trainer.objective import Objective, Step
from trainer.progress import track
from trainer.pseudo_labels import RowStore, load_rows, max_over_views, save_rows, update_labels
from trainer.session import Run
from trainer.view_selection import select_views
from trainer.view_table import Views

FloatArray = npt.NDArray[np.float32]


class CcdObjective(Objective):
    """BCE to the labels, and after warm-up the consistency of both views too (paper eq. 8)."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        config = run.config
        self._run = run
        self._beta = config.consistency_weight if config.consistency else 0.0
        self._weights_N: Tensor | None = None

    def begin_epoch(self, epoch: int, num_epochs: int) -> None:
        config = self._run.config
        if epoch >= config.warmup_epochs and config.uncertain_weight != 1:
            self._weights_N = self._run.machine.put(_image_weights(self._run))

    def wants_strong_view(self, epoch: int) -> bool:
        return self._beta > 0 and epoch >= self._run.config.warmup_epochs

    def forward(self, step: Step) -> dict[str, Tensor]:
        weights_B = None if self._weights_N is None else self._weights_N[step.indices]
        agreement = step.logits.new_zeros(())
        if step.strong_logits is not None:
            agreement = self._beta * consistency(step.strong_logits, step.logits)
        return {"label_loss": bce(step.logits, step.labels, weights_B), "consistency_loss": agreement}


def _image_weights(run: Run) -> Tensor:
    """(N,) weights of the label loss by the entropy of CLIP's global prediction; 1 where a person corrected labels."""
    config = run.config
    rows = distributed.from_main(lambda: load_rows(run.folder.path("labels/initial_raw.npy")))
    probs_NC = torch.from_numpy(rows)
    entropies = torch.special.entr(probs_NC).sum(dim=1)
    if config.entropy_unit == "normalized":
        entropies /= np.log(run.num_classes)
    weights_N = entropy_weights(entropies, gate=config.max_entropy, coefficient=config.uncertain_weight)
    reviewed = Corrections.of_run(run.folder.root, run.class_names).by_image
    weights_N[[sample.image_id in reviewed for sample in run.train.samples]] = 1
    return weights_N


def initial_labels(run: Run, labeler: Labeler) -> FloatArray:
    """CLIP's labels of whole images (eq. 1-3), debiased (section 3.3): (N, C) in [0, 1].

    Writes labels/initial_raw.npy, bias.json, initial.npy.
    """
    if run.folder.done("initial_labels"):
        return load_rows(run.folder.path("labels/initial.npy"))
    raw = global_probabilities(run, labeler)
    with run.folder.stage("initial_labels"):
        _write_bias(run, labeler, raw)
        labels = calibrated(run, labeler, raw)
        save_rows(run.folder.path("labels/initial.npy"), labels)
    return labels


def updated_labels(run: Run, labeler: Labeler, model: Classifier) -> FloatArray:
    """Blend of the initial labels and those of crops around the warmed-up classifier's activations (eq. 4-7).

    Writes labels/views.parquet, views.npy, local.npy, final.npy. Without the update: the initial labels.
    """
    initial = initial_labels(run, labeler)
    if not run.config.update:
        return initial
    if run.folder.done("label_update"):
        return load_rows(run.folder.path("labels/final.npy"))
    if not run.folder.done("views"):
        assert isinstance(model, CamClassifier)
        with run.folder.stage("views"):
            select_views(run, model, usable=np.asarray(np.isfinite(initial).all(axis=1)))
    views = Views.read(run.folder.path("labels/views.parquet"))
    with run.folder.stage("label_update"):
        run.folder.note("labeler", **labeler.check(run.folder.state.get("labeler")))
        local_raw = max_over_views(_score_views(run, labeler, views), views.image, num_images=len(run.train))
        save_rows(run.folder.path("labels/local.npy"), local_raw)
        final = _blend(run, labeler, initial, local_raw)
        save_rows(run.folder.path("labels/final.npy"), final)
    return final


def quality_scores(run: Run) -> tuple[FloatArray, FloatArray]:
    """Scores (N, C) of the initial and the final labels before floor and clamp, whose ties would hide their ranking.

    The final ones equal the initial ones for images without a view and for runs without the update.
    """
    raw = load_rows(run.folder.path("labels/initial_raw.npy"))
    local_path = run.folder.path("labels/local.npy")
    if not local_path.exists():
        return raw, raw
    local = load_rows(local_path)
    bias = bias_of(run) if run.config.debias else np.float32(1)
    blend = (run.config.alpha * raw + (1 - run.config.alpha) * local) / bias
    return raw, np.where(np.isfinite(local), blend, raw / bias)


def bias_of(run: Run) -> FloatArray:
    """(C,) float32 in (0, 1]: the class bias that this run measured."""
    return np.array(read_json(run.folder.path("labels/bias.json"))["bias"], np.float32)


def calibrated(run: Run, labeler: Labeler, probs: FloatArray, *, clamp: bool = True) -> FloatArray:
    """Labels of raw probabilities: debiased, or as they are without debiasing. Rows of NaN stay NaN."""
    labels = probs.copy()
    known = np.isfinite(probs).all(axis=1)
    if run.config.debias and known.any():
        labels[known] = labeling.debias(labeler, probs[known], bias_of(run), floor=run.config.floor, clamp=clamp)
    return labels


def _write_bias(run: Run, labeler: Labeler, raw: FloatArray) -> None:
    gate = EntropyGate(run.config.max_entropy, run.config.entropy_unit)
    estimate = labeling.estimate_bias(labeler, raw[np.isfinite(raw).all(axis=1)], gate)
    facts = {
        "classes": list(run.class_names),
        "bias": [float(value) for value in estimate.bias],
        "counts": [int(value) for value in estimate.counts],
        "images": int(estimate.num_rows),
        "max_entropy": run.config.max_entropy,
        "entropy_unit": run.config.entropy_unit,
    }
    write_json(run.folder.path("labels/bias.json"), facts)


def _score_views(run: Run, labeler: Labeler, views: Views) -> FloatArray:
    if not len(views):  # no class was over the threshold in any image; an empty file cannot be mapped
        return np.empty((0, run.num_classes), np.float32)
    path = run.folder.path("labels/views.npy")
    store = RowStore(path, rows=len(views), columns=run.num_classes)
    rows_of_image = views.rows_of_image()
    boxes_of_image = {image: views.boxes[rows] for image, rows in rows_of_image.items()}
    with track(run.console, "labelling crops", len(rows_of_image)) as advance:
        labeling.score_views(
            labeler, run.train.samples, run.hashes, boxes_of_image, rows_of_image, store, advance=advance
        )
    return store.rows()


def _blend(run: Run, labeler: Labeler, initial: FloatArray, local_raw: FloatArray) -> FloatArray:
    """Eq. 7. Debiasing rises with p, so debiasing the maximum over views equals the maximum of debiased views."""
    floor = run.config.floor / bias_of(run) if run.config.debias else np.zeros(run.num_classes, np.float32)
    return update_labels(
        initial,
        calibrated(run, labeler, local_raw, clamp=False),
        alpha=run.config.alpha,
        empty=floor if run.config.empty_views == "floor" else None,
    )


METHOD = Method(CcdObjective, initial_labels, updated_labels, guided=True)
