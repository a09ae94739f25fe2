"""Reads what a run's folder holds so far, without taking its lock: the run may be going on.

Shapes: N training images that could be decoded, C classes, V views or validation images.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import yaml

from trainer.data.index import Index, IndexRow
from trainer.files import read_json
from trainer.map_samples import MapSamples
from trainer.view_table import Views

FloatArray = npt.NDArray[np.float32]
Made = TypeVar("Made")

# In the order in which a run goes through them; asking CLIP for whole images is a part of ccd's initial labels.
STAGES = (
    "clip_labels", "initial_labels", "warmup", "views", "label_update", "training", "evaluation", "classifier_outputs",
)  # fmt: skip
# From this label on a class counts as given, as in labels.parquet.
GIVEN = 0.5


class Labels(NamedTuple):
    """rows: (N, C) float32 in [0, 1], NaN where nothing is known. name: what they are, in words."""

    rows: FloatArray
    name: str


class Failure(NamedTuple):
    """An image that could not be used, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True, eq=False)
class RunFiles:
    """The folder of a run. What is not there yet is None or empty."""

    root: Path

    def __post_init__(self) -> None:
        if not (self.root / "config.resolved.yaml").is_file():
            raise ValueError(f"{self.root} holds no run: there is no config.resolved.yaml in it")

    # --- settings and facts --------------------------------------------------------------------------------------

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every setting, with `data` and `classes`."""
        settings: dict[str, Any] = yaml.safe_load((self.root / "config.resolved.yaml").read_text())
        return settings

    @cached_property
    def given(self) -> dict[str, Any]:
        """The settings that the user gave, with `data`."""
        path = self.root / "config.yaml"
        given: dict[str, Any] = yaml.safe_load(path.read_text()) if path.exists() else {}
        return given

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.settings["classes"])

    @cached_property
    def state(self) -> dict[str, Any]:
        """Facts by stage; a finished one has `seconds`."""
        return self._facts("state.json") or {}

    @property
    def seconds(self) -> dict[str, float]:
        """Of the finished stages, in their order."""
        stages = sorted(self.state, key=lambda stage: STAGES.index(stage) if stage in STAGES else len(STAGES))
        return {stage: self.state[stage]["seconds"] for stage in stages if "seconds" in self.state[stage]}

    @property
    def total_seconds(self) -> float:
        """Of all finished stages."""
        return sum(self.seconds.values())

    @cached_property
    def summary(self) -> dict[str, Any] | None:
        """None while the run has not ended."""
        return self._facts("summary.json")

    @cached_property
    def environment(self) -> dict[str, str]:
        return self._facts("environment.json") or {}

    @cached_property
    def bias(self) -> dict[str, Any] | None:
        """`bias` and `counts` by class, and what they were measured on."""
        return self._facts("labels/bias.json")

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        path = self.root / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    # --- images --------------------------------------------------------------------------------------------------

    @cached_property
    def index(self) -> tuple[IndexRow, ...]:
        """All training images; empty while they are being looked at."""
        path = self.root / "index.parquet"
        return Index.read(path, paths=True).rows if path.exists() else ()

    @cached_property
    def images(self) -> tuple[IndexRow, ...]:
        """The N that could be decoded: what the rows of all label files stand for."""
        return tuple(row for row in self.index if not row.reason)

    @cached_property
    def failures(self) -> list[Failure]:
        """Training and validation images that could not be used, the labeler's rejections among them."""
        path = self.root / "failed.csv"
        if not path.exists():
            rejected = self.state.get("initial_labels", {}).get("rejected", [])
            return [*(Failure(row.image_id, row.reason) for row in self.index if row.reason),
                    *(Failure(*item) for item in rejected)]  # fmt: skip
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return [Failure(row["image_id"], row["reason"]) for row in csv.DictReader(file)]

    # --- labels --------------------------------------------------------------------------------------------------

    @cached_property
    def clip(self) -> FloatArray | None:
        """(N, C) CLIP's raw probabilities of whole images, NaN where it has not answered."""
        return self._rows("initial_raw")

    @cached_property
    def initial(self) -> FloatArray | None:
        """(N, C) CLIP's labels of whole images, debiased where the run does that."""
        return self._rows("initial")

    @cached_property
    def clip_of_crops(self) -> FloatArray | None:
        """(N, C) CLIP's raw maximum over the image's crops, NaN for an image without a crop."""
        return self._rows("local")

    @cached_property
    def labels(self) -> Labels | None:
        """The best labels that are there: the updated ones, the initial ones, the classifier's opinion, CLIP's."""
        choice = (
            (self._rows("final"), "labels after the update"),
            (self.initial, "initial labels by CLIP"),
            (self.classifier, "predictions of the classifier"),
            (self.clip, "probabilities by CLIP"),
        )
        for rows, name in choice:
            if rows is not None:
                return Labels(rows, name)
        return None

    @cached_property
    def given_labels(self) -> npt.NDArray[np.bool_] | None:
        """(N, C) True where a label is given, of the images that have labels at all; None without labels."""
        if self.labels is None:
            return None
        known = np.isfinite(self.labels.rows).all(axis=1)
        return np.asarray(self.labels.rows[known] >= GIVEN)

    @cached_property
    def classifier(self) -> FloatArray | None:
        """(N, C) the classifier's probabilities of the training images."""
        return self._rows("classifier")

    @cached_property
    def embeddings(self) -> npt.NDArray[np.float16] | None:
        """(N, F) the classifier's mean features."""
        path = self.root / "labels" / "embeddings.npy"
        return np.load(path) if path.exists() else None

    @cached_property
    def views(self) -> Views | None:
        return self._made("labels/views.parquet", Views.read)

    @cached_property
    def clip_of_views(self) -> FloatArray | None:
        """(V, C) CLIP's raw probabilities of the crops."""
        path = self.root / "labels" / "views.npy"
        return np.load(path) if path.exists() else None

    @cached_property
    def map_samples(self) -> MapSamples | None:
        return self._made("labels/map_samples.npz", MapSamples.read)

    # --- evaluation ----------------------------------------------------------------------------------------------

    @cached_property
    def precisions(self) -> list[dict[str, str]]:
        """Lines of per_class.csv: class, average_precision in percent, positives."""
        path = self.root / "per_class.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @cached_property
    def evaluation(self) -> tuple[FloatArray, npt.NDArray[np.int8]] | None:
        """Logits (V, C) and targets (V, C) of the validation images; None where they have no targets."""
        path = self.root / "evaluation.npz"
        if not path.exists():
            return None
        with np.load(path) as file:
            return file["logits"], file["targets"]

    # --- reading -------------------------------------------------------------------------------------------------

    def _facts(self, name: str) -> dict[str, Any] | None:
        return self._made(name, read_json)

    def _made(self, name: str, read: Callable[[Path], Made]) -> Made | None:
        path = self.root / name
        return read(path) if path.exists() else None

    def _rows(self, name: str) -> FloatArray | None:
        """labels/NAME.npy. Raises ValueError where it has not one row per image and one column per class."""
        path = self.root / "labels" / f"{name}.npy"
        if not path.exists():
            return None
        rows: FloatArray = np.load(path)
        expected = (len(self.images), len(self.class_names))
        if rows.shape != expected:
            raise ValueError(f"{path} has {rows.shape} rows and columns, {expected} were expected: it is another run's")
        return rows
