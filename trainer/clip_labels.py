"""CLIP's raw probabilities of whole images, asked for once in a run and kept on disk."""

import numpy as np
import numpy.typing as npt

from trainer import labeling
from trainer.labeling import Labeler
from trainer.progress import track
from trainer.pseudo_labels import RowStore
from trainer.session import DataError, Run

FloatArray = npt.NDArray[np.float32]


def global_probabilities(run: Run, labeler: Labeler) -> FloatArray:
    """(N, C) in [0, 1] (eq. 1-2), NaN for images that the labeler rejected. Writes labels/initial_raw.npy."""
    path = run.folder.path("labels/initial_raw.npy")
    store = RowStore(path, rows=len(run.train), columns=run.num_classes)
    if run.folder.done("clip_labels"):
        return store.rows()
    with run.folder.stage("clip_labels"):
        run.folder.note("labeler", **labeler.check(run.folder.state.get("labeler")))
        with track(run.console, "labelling images", len(run.train)) as advance:
            rejected = labeling.score_images(labeler, run.train.samples, run.hashes, store, advance=advance)
        if len(rejected) == len(run.train):
            first = rejected[0]
            raise DataError(f"the labeler could score no image, {first.image_id} for instance: {first.reason}")
        run.folder.note("initial_labels", rejected=[[item.image_id, item.reason] for item in rejected])
    return store.rows()
