"""Settings of `ccd predict`; those that a run has too mean the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Format = Literal["parquet", "csv", "json"]


@dataclass(frozen=True, kw_only=True)
class PredictionConfig:
    """Nothing here changes a probability, but `precision`."""

    output: Path | None = None
    """Table with a row per image; predictions.parquet by default."""
    format: Format | None = None
    """Its format. None: by the suffix of the output, .parquet, .csv or .json."""
    threshold: str | None = None
    """Also name the classes of at least this probability: a number, or a JSON file {"class": number, ...}. None: no
    class is named. All probabilities are in the table in any case."""
    cam: Path | None = None
    """Folder for activation maps, of the classes over the threshold where one is given."""
    cam_format: Literal["npz", "png"] = "npz"
    """npz: one file an image, as the model gives them. png: a grey picture a class; without a threshold, of the most
    probable class alone."""
    batch_size: int = 64
    """Images at a time."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of autocast. The lower ones are faster on CUDA and less exact; float16 needs CUDA."""
    workers: int | None = None
    """Threads that load images. None: the number of cores, at most 8."""


PREDICTION_DEFAULTS = PredictionConfig()
