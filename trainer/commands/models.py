"""`ccd evaluate`, `predict`, `export-onnx` and `publish`: what is done with a trained classifier."""

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


@app.command
def export_onnx(model: Path, *, fp16: bool = False, images: Path | None = None) -> int:
    """Write model.onnx into a run's model/: input `image`, outputs `probs` and `cam`, any batch size. About 10 s.

    Parameters
    ----------
    model
        A run's folder, or an exported model/.
    fp16
        Write model.fp16.onnx too: half the size, its probabilities within 0.02 of torch's.
    images
        Folder with images to compare ONNX Runtime and torch on; the run's own by default.
    """
    from rich.console import Console

    from trainer.onnx_export import export_onnx

    export_onnx(model, Console(), fp16=fp16, images=images)
    return 0


@app.command
def publish(model: Path, repository: str, *, private: bool = False) -> int:
    """Upload a run's model/ to the Hugging Face hub, where timm and transformers open it by name.

    Parameters
    ----------
    model
        A run's folder, or an exported model/.
    repository
        ORG/NAME; it is made where there is none. The token is the one of `hf auth login`, or HF_TOKEN.
    private
        A new repository is for its owners alone. By default it is as others of ORG are.
    """
    from trainer.hub import publish

    print(publish(model, repository, private=private))
    return 0
