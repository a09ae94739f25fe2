"""Which images stand for a class where there is room for a few: those that are surest, that crops changed most, and
that are least sure. N images, C classes, K chosen pairs."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.files import write_atomically
from trainer.view_table import Views

FloatArray = npt.NDArray[np.float32]

# Of each class; the report's wall shows at most so many.
PER_CLASS = 6
# Over all classes: a vocabulary of thousands costs no more than one of two hundred.
MAX_SAMPLES = 1200


@dataclass(frozen=True)
class MapSamples:
    """Activation maps of K pairs of an image and a class. `image` (K,) int64 positions in the training set,
    `class_index` (K,) int16, `maps` (K, h, w) float16, before any sigmoid, over the whole squashed image."""

    image: npt.NDArray[np.int64]
    class_index: npt.NDArray[np.int16]
    maps: npt.NDArray[np.float16]

    def write(self, path: Path) -> None:
        content = io.BytesIO()
        np.savez_compressed(content, image=self.image, class_index=self.class_index, maps=self.maps)
        write_atomically(path, content.getvalue())

    @classmethod
    def read(cls, path: Path) -> "MapSamples":
        with np.load(path) as file:
            return cls(file["image"], file["class_index"], file["maps"])


def choose_samples(
    labels: FloatArray, initial: FloatArray | None, local: FloatArray | None, views: Views | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int16]]:
    """Images (K,) and their classes (K,), class by class, at most `PER_CLASS` of each and at least one.

    labels: (N, C) in [0, 1], NaN rows are passed over. initial, local: CLIP's raw probabilities of the whole image and
    the maximum over its crops, (N, C), where there are any. views: where there are any, an image with a crop for the
    class goes first.
    """
    per_class = max(1, min(PER_CLASS, MAX_SAMPLES // labels.shape[1]))
    gain = None if initial is None or local is None else local - initial
    images, classes = [], []
    for c in range(labels.shape[1]):
        with_view = None if views is None else views.image[views.class_index == c]
        chosen = _of_class(labels[:, c], None if gain is None else gain[:, c], with_view, per_class)
        images.append(chosen)
        classes.append(np.full(len(chosen), c))
    return np.concatenate(images).astype(np.int64), np.concatenate(classes).astype(np.int16)


def _of_class(
    labels_N: FloatArray, gain_N: FloatArray | None, with_view: npt.NDArray[np.int64] | None, count: int
) -> npt.NDArray[np.int64]:
    """Those with a crop for the class first, then the others."""
    known = np.flatnonzero(np.isfinite(labels_N))
    preferred = np.zeros(len(known), bool) if with_view is None else np.isin(known, with_view)
    groups = [_in_turn(group, labels_N, gain_N) for group in (known[preferred], known[~preferred])]
    return np.concatenate(groups)[:count]


def _in_turn(
    candidates: npt.NDArray[np.int64], labels_N: FloatArray, gain_N: FloatArray | None
) -> npt.NDArray[np.int64]:
    """Taken in turn from three rankings: the highest label, the largest gain by a crop, the label nearest to 1/2."""
    rankings = [-labels_N[candidates], np.abs(labels_N[candidates] - 0.5)]
    if gain_N is not None:
        rankings.insert(1, -np.nan_to_num(gain_N[candidates], nan=-1))  # no crop: as if it had lost all
    order = np.stack([candidates[np.argsort(ranking, kind="stable")] for ranking in rankings], axis=1).reshape(-1)
    _, first = np.unique(order, return_index=True)
    return order[np.sort(first)]
