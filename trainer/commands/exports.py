"""`ccd export`: a run's labels to other programs, its model to ONNX Runtime and to the hub."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from trainer.commands.application import app


@app.command
def export(
    run: Path,
    *,
    formats: Annotated[str | None, Parameter(name="--format")] = None,
    thresholds: Literal["fixed", "prior", "otsu", "reviewed"] = "fixed",
    onnx: bool = False,
    fp16: bool = False,
    images: Path | None = None,
    hub: str | None = None,
    private: bool = False,
) -> int:
    """Write a run's labels in the formats of other programs, or its model for ONNX Runtime, or upload the model.

    Parameters
    ----------
    run
        Folder of a run that has labels; for --onnx and --hub of one that has a model/, or that model/ itself.
    formats
        What is written into labels/exports/NAME/; names with commas between: csv, coco, fiftyone, label-studio, hf
        (Hugging Face), npy (single-positive arrays), or all, the default where neither --onnx nor --hub is given.
    thresholds
        From which label on a class counts as present. fixed: 1/2. prior: as many images as CLIP expects. otsu: where
        the class's labels fall into two groups. reviewed: best F1 on at least 50 reviewed images.
    onnx
        Write model.onnx into model/: input `image`, outputs `probs` and `cam`, any batch size. About 10 s.
    fp16
        With --onnx: model.fp16.onnx too, half the size, its probabilities within 0.02 of torch's.
    images
        With --onnx: folder with images to compare ONNX Runtime and torch on; the run's own by default.
    hub
        Upload model/ to the Hugging Face hub as ORG/NAME, where timm and transformers open it; it is made where there
        is none. The token is the one of `hf auth login`, or HF_TOKEN.
    private
        With --hub: a new repository is for its owners alone. By default it is as others of ORG are.
    """
    labels = formats is not None or not (onnx or hub)
    _refuse_lone(labels, "--format", {"--thresholds": thresholds != "fixed"})
    _refuse_lone(onnx, "--onnx", {"--fp16": fp16, "--images": images})
    _refuse_lone(hub, "--hub", {"--private": private})
    from rich.console import Console

    console = Console()
    if labels:
        from trainer.exports.export import export_run

        export_run(run, formats or "all", thresholds, console)
    if onnx:
        from trainer.onnx_export import export_onnx

        export_onnx(run, console, fp16=fp16, images=images)
    if hub is not None:  # last, so that the files above go along
        from trainer.hub import upload

        print(upload(run, hub, private=private))
    return 0


def _refuse_lone(chosen: object, name: str, others: dict[str, object]) -> None:
    for other, value in others.items():
        if value and not chosen:
            raise ValueError(f"{other} belongs to {name}, which is not given")
