"""The four threshold rules on a run: for its labels where an export asks for one, for its classifier as an offer.

N images, C classes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.checksums import write_checksums
from trainer.corrections import TAKEN_IN, Corrections
from trainer.data.index import Index
from trainer.files import read_json, write_json
from trainer.pseudo_labels import load_rows
from trainer.published_labels import machine_labels, read_settings
from trainer.thresholds import FEWEST_REVIEWED, RULES, Evidence, Rule, expected_counts, thresholds

CLASSIFIER = "labels/classifier.npy"
OFFERED = "labels/thresholds.json"


def label_thresholds(root: Path, rule: Rule) -> npt.NDArray[np.float64]:
    """(C,) for the run's final labels as they were before any correction. Raises ValueError as `thresholds` does."""
    class_names, file_names = _names(root)
    said = Corrections.of_run(root, class_names).entries(file_names, class_names)
    return thresholds(rule, Evidence(machine_labels(root), _expected(root), said))


def offer_thresholds(root: Path) -> dict[str, Any]:
    """Thresholds for the trained classifier by every rule, and how many training images are over each; writes
    labels/thresholds.json, and puts them into model/config.json. The classifier itself keeps 1/2.

    The rule on reviewed images is among them where enough images were reviewed after the classifier was trained:
    those that it learned from would flatter it.
    """
    class_names, file_names = _names(root)
    scores = load_rows(root / CLASSIFIER)
    said = _unseen_corrections(root, class_names).entries(file_names, class_names)
    evidence = Evidence(scores, _expected(root), said)
    enough = (said >= 0).any(axis=1).sum() >= FEWEST_REVIEWED
    found = {rule: thresholds(rule, evidence) for rule in RULES if rule != "reviewed" or enough}
    offered = {
        "classes": list(class_names),
        "rules": {
            rule: {
                "thresholds": [float(value) for value in values],
                "images": [int(count) for count in (scores >= values).sum(axis=0)],
            }
            for rule, values in found.items()
        },
    }
    write_json(root / OFFERED, offered)
    model = root / "model/config.json"
    if model.is_file():
        config = read_json(model)
        write_json(model, config | {"ccd": config.get("ccd", {}) | {"offered_thresholds": offered["rules"]}})
        write_checksums(model.parent)
    return offered


def _unseen_corrections(root: Path, class_names: tuple[str, ...]) -> Corrections:
    """Of images that the classifier was not told anything about by a person."""
    everything = Corrections.of_run(root, class_names)
    seen = Corrections.of_run(root, class_names, TAKEN_IN)
    return Corrections({i: said for i, said in everything.by_image.items() if i not in seen.by_image})


def _names(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Classes, and the ids of the training images that could be decoded."""
    rows = Index.read(root / "index.parquet").rows
    return tuple(read_settings(root)["classes"]), tuple(row.image_id for row in rows if not row.reason)


def _expected(root: Path) -> npt.NDArray[np.float64]:
    raw = load_rows(root / "labels/initial_raw.npy")
    bias = read_json(root / "labels/bias.json")["bias"] if read_settings(root)["debias"] else 1.0
    return expected_counts(raw, np.asarray(bias, np.float64))
