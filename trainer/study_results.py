"""What the finished runs of a study say, as numbers: read from their folders, in percent where they are precisions."""

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.files import read_json
from trainer.pipeline import read_summary
from trainer.studies import Row, Study

Results = dict[str, list[Path]]
"""Folders of finished runs by the name of their row, in the order of their seeds."""


def paper_dataset(dataset: str) -> str:
    """Of other data sets than the paper's, its first one is shown."""
    return dataset if dataset in ("voc12", "voc07", "coco14", "nuswide") else "voc12"


def paper_map(row: Row, dataset: str) -> float | None:
    return row.paper.get(paper_dataset(dataset))


def validation_maps(folders: Sequence[Path]) -> list[float]:
    """Of each run that had targets to compare with."""
    maps = [read_summary(folder)["map"] for folder in folders]
    return [one["validation"] for one in maps if "validation" in one]


def class_precisions(folder: Path) -> dict[str, float]:
    with (folder / "per_class.csv").open(newline="") as file:
        return {line["class"]: float(line["average_precision"]) for line in csv.DictReader(file)}


@dataclass(frozen=True, order=True)
class ClassBias:
    """bias: CLIP's mean top-1 probability over the `images` whose first class this is; in [0, 1]."""

    bias: float
    name: str
    images: int


def class_biases(folder: Path) -> list[ClassBias]:
    """From the lowest."""
    found = read_json(folder / "labels" / "bias.json")
    return sorted(map(ClassBias, found["bias"], found["classes"], found["counts"]))


def biased_classes(study: Study, results: Results) -> list[str]:
    """The classes that the study is about: those with the lowest bias in the first run of its last row."""
    return [one.name for one in class_biases(results[study.rows[-1].name][0])[: study.classes]]


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The deviation is the sample's; None of a single run."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
