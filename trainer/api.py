"""The trainer from Python: `run` as `ccd run`, `load` for what it made. Heavy imports wait until they are called."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import RunConfig, default_output

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from trainer.engine import Machine
    from trainer.model import Classifier
    from trainer.trained_model import TrainedModel


@dataclass(frozen=True)
class Result:
    """A finished run. failed: (image id, reason) of each image that could not be used."""

    output: Path
    summary: dict[str, Any]
    failed: tuple[tuple[str, str], ...]

    @property
    def labels(self) -> "pa.Table":
        """labels/labels.parquet: one row per training image (export.py). Raises ValueError for a method without."""
        import pyarrow.parquet as pq

        path = self.output / "labels" / "labels.parquet"
        if not path.exists():
            raise ValueError(f"--method {self.summary['method']} makes no labels of its own")
        return pq.read_table(path)

    def load(self) -> "Model":
        """The classifier."""
        return load(self.output)


def run(
    data: str | Path,
    classes: Sequence[str] | str | None = None,
    output: str | Path | None = None,
    *,
    quiet: bool = False,
    **settings: Any,
) -> Result:
    """Labels the images, trains the classifier, evaluates it; goes on where the same call was interrupted.

    data, classes, output and settings: as for `ccd run`, a setting by its name with underscores. quiet: print nothing.
    Raises ValueError, clip_labeler.LabelerError for an unreachable labeler, TypeError for an unknown setting.
    """
    from rich.console import Console

    from trainer.pipeline import run_pipeline

    config = RunConfig(classes=_class_list(classes), **settings)
    folder = default_output(str(data)) if output is None else Path(output)
    outcome = run_pipeline(str(data), folder, config, Console(quiet=quiet))
    return Result(folder, outcome.summary, outcome.failed)


def _class_list(classes: Sequence[str] | str | None) -> str | None:
    if classes is None or isinstance(classes, str):
        return classes
    if odd := [name for name in classes if "," in name]:
        raise ValueError(f"class name {odd[0]!r} has a comma in it: give a file with one name per line")
    return ", ".join(classes)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Of N images: names of the C classes by column; probs (N, C) float32 in [0, 1], no threshold applied; cam
    (N, C, h, w) float32, activation maps over the whole image before any sigmoid."""

    names: tuple[str, ...]
    probs: "npt.NDArray[np.float32]"
    cam: "npt.NDArray[np.float32]"


class Model:
    """A trained classifier. `module` is the torch module, `names` its classes by column."""

    def __init__(self, trained: "TrainedModel", machine: "Machine") -> None:
        self._trained, self._machine = trained, machine
        self.names = trained.names

    @property
    def module(self) -> "Classifier":
        return self._trained.classifier

    def predict(self, images: Sequence[str | Path], *, batch_size: int = 64) -> Prediction:
        """Probabilities and activation maps of image files, all in memory: `ccd predict` is for many.

        Raises ValueError that names the first file that is no usable image.
        """
        import numpy as np

        from trainer.data.sample import Sample
        from trainer.predictor import Predictor, Rejected

        samples = [Sample(str(path), Path(path)) for path in images]
        if not samples:
            raise ValueError("there is no image to predict")
        failed: list[Rejected] = []
        predictor = Predictor(self._trained, self._machine, batch_size=batch_size, workers=1)
        parts = list(predictor.predict(samples, failed.append, lambda *_, **__: None))
        if failed:
            raise ValueError(f"{failed[0].image_id}: {failed[0].reason}")
        _, probs, cams = zip(*parts, strict=True)
        return Prediction(self.names, np.concatenate(probs), np.concatenate(cams))


def load(model: str | Path, *, device: str = "auto") -> Model:
    """Opens a run's folder, an exported model/, a checkpoint or an .onnx file.

    device: auto, cpu, cuda, cuda:1. Computes in float32. Raises ValueError for a path that holds no classifier.
    """
    import torch

    from trainer.engine import Machine
    from trainer.trained_model import open_model

    machine = replace(Machine.choose(RunConfig(device=device)), precision=torch.float32)
    return Model(open_model(Path(model), machine.device), machine)
