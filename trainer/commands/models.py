"""`ccd evaluate` and `ccd predict`: what is done with a trained classifier."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trainer.commands.application import PARTIAL, app, refuse_torchrun
from trainer.config import EVALUATION_DEFAULTS, EvaluationConfig
from trainer.prediction_config import PREDICTION_DEFAULTS, PredictionConfig


@app.command
def evaluate(
    model: Path, data: str, *, config: Annotated[EvaluationConfig, Parameter(name="*")] = EVALUATION_DEFAULTS
) -> int:
    """Measure a trained classifier on images with targets: mAP, CF1, OF1, calibration error and the AP of each class.

    Parameters
    ----------
    model
        A run's folder, an exported model/, a checkpoint (RUN/checkpoints/epoch-NNN.safetensors) or an .onnx file.
    data
        As for `run`.
    """
    refuse_torchrun("evaluate")
    from rich.console import Console

    from trainer.evaluation import evaluate_model

    report = evaluate_model(model, data, config, Console())
    return PARTIAL if report["images_failed"] else 0


@app.command
def predict(
    model: Path, *images: Path, config: Annotated[PredictionConfig, Parameter(name="*")] = PREDICTION_DEFAULTS
) -> int:
    """Write the probability of each class for any images, and where in them it was seen.

    Parameters
    ----------
    model
        As for `evaluate`.
    images
        Folders and files.
    """
    from rich.console import Console

    from trainer.predictor import predict_files

    return PARTIAL if predict_files(model, images, config, Console()) else 0
