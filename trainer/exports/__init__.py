"""A run's labels in the formats of other programs, one file each. A new format is one function and one line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer.exports.coco import write_coco
from trainer.exports.csv_files import write_csv
from trainer.exports.fiftyone import write_fiftyone
from trainer.exports.hugging_face import write_hugging_face
from trainer.exports.label_studio import write_label_studio
from trainer.exports.single_positive import write_single_positive
from trainer.exports.source import ExportSource

Export = Callable[[ExportSource, Path], Mapping[str, Any]]
"""Writes a format's files into an empty folder; returns what its user must know, for export.json. Raises ValueError,
in one line, for labels that the format cannot hold."""

EXPORTS: dict[str, Export] = {
    "csv": write_csv,
    "coco": write_coco,
    "fiftyone": write_fiftyone,
    "label-studio": write_label_studio,
    "hf": write_hugging_face,
    "npy": write_single_positive,
}
