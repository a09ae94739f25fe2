"""Lays a run's corrections over the labels that it trains on, and ties the run to them.

A run takes in what review/corrections.csv holds when its last training stage begins, and is refused to go on with
anything else: `ccd train RUN --output NEW` trains again. N images, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.correction_files import read_corrections
from trainer.corrections import CORRECTIONS, TAKEN_IN, Corrections, corrected
from trainer.files import read_json
from trainer.session import Run

FloatArray = npt.NDArray[np.float32]


def read_checked(file: Path, class_names: Sequence[str], file_names: Sequence[str]) -> Corrections:
    """A file's corrections. Raises ValueError, in one line, where it has none, or speaks of other classes or images."""
    corrections = read_corrections(file, class_names)
    corrections.check_images(file_names, file)
    return corrections


def begin_with(run: Run, file: Path) -> None:
    """`--corrections FILE` of a run: keeps them in its folder. The same file again changes nothing.

    Raises ValueError for other corrections than the run has, or where it was trained without these.
    """
    root, class_names = run.folder.root, run.class_names
    given, before = read_checked(file, class_names, image_ids(run)), Corrections.of_run(root, class_names)
    if len(before) and before.followed_by(given).digest != before.digest:
        raise ValueError(
            f"{root} has other corrections than {file}: add them with `ccd review {root} --apply {file}`, or choose "
            "another --output"
        )
    if not len(before):
        check_taken_in(root, given)
        given.write(root / CORRECTIONS)


def check_taken_in(root: Path, corrections: Corrections) -> None:
    """Raises ValueError where the run has begun its last training stage with other corrections."""
    path = root / "state.json"
    state = read_json(path) if path.is_file() else {}
    taken = state.get("corrections")
    if taken is None and "seconds" in state.get("training", {}):
        taken = {"sha256": None, "entries": 0}
    if taken is not None and taken["sha256"] != corrections.digest:
        raise ValueError(
            f"{root} was trained on {taken['entries']} corrected entries, and now there are {len(corrections)} or "
            f"others: `ccd train {root} --output NEW` trains again on its labels and these; {root} stays as it is"
        )


def warmup_labels(run: Run, labels: FloatArray) -> FloatArray:
    """Labels (N, C) under what a person said so far."""
    return _corrected(run, labels, Corrections.of_run(run.folder.root, run.class_names))


def training_labels(run: Run, labels: FloatArray) -> FloatArray:
    """The same, and the run is tied to these corrections. Raises ValueError where it was tied to others."""
    corrections = Corrections.of_run(run.folder.root, run.class_names)
    check_taken_in(run.folder.root, corrections)
    if len(corrections):
        corrections.write(run.folder.path(TAKEN_IN))
    run.folder.note("corrections", sha256=corrections.digest, entries=len(corrections))
    return _corrected(run, labels, corrections)


def _corrected(run: Run, labels: FloatArray, corrections: Corrections) -> FloatArray:
    if not len(corrections):
        return labels
    return corrected(labels, corrections.entries(image_ids(run), run.class_names))


def image_ids(run: Run) -> tuple[str, ...]:
    return tuple(sample.image_id for sample in run.train.samples)
