"""The arrays of the single-positive literature, which its repositories read and `ccd run npy:DIR` too.

https://github.com/elijahcole/single-positive-multi-label: formatted_train_images.npy, formatted_train_labels.npy and
formatted_train_labels_obs.npy.
"""

from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.npy_folder import CLASSES_FILE, arrays_of
from trainer.exports.source import ExportSource
from trainer.label_regimes import single_positive

SEED = 0  # which positive is told must be the same in every export of the same labels


def write_single_positive(source: ExportSource, folder: Path) -> dict[str, Any]:
    """Writes the images' absolute paths (N,) text, all labels (N, C) and one positive of each image (N, C), both
    float64 of 0 and 1, and classes.txt, for the arrays hold no names.

    An image without a label has nothing to observe.
    """
    given_NC = source.given[source.rows]
    positive_NC = np.nan_to_num(single_positive(given_NC.astype(np.int8), np.random.default_rng(SEED)))
    images_file, labels_file, observed_file = (folder / name for name in arrays_of("train"))
    np.save(images_file, np.array([source.paths[row] for row in source.rows], np.str_))
    np.save(labels_file, given_NC.astype(np.float64))
    np.save(observed_file, positive_NC.astype(np.float64))
    (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in source.labels.class_names), encoding="utf-8")
    return {"observed": int(positive_NC.sum())}
