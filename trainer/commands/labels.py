"""`ccd review` and `ccd export`: a run's labels, to people and other programs and back."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from trainer.commands.application import app


@app.command
def review(run: Path, *, top: int = 200, apply: Path | None = None) -> int:
    """Write the images whose labels most need a person's eye, or take in that person's corrections.

    Parameters
    ----------
    run
        Folder of a run that has labels.
    top
        How many images.
    apply
        The edited review/queue.csv, or a Label Studio export (JSON), whose corrections the next training uses.
    """
    from rich.console import Console

    from trainer.review import apply_corrections, write_queue

    if apply is None:
        write_queue(run, top, Console())
    else:
        apply_corrections(run, apply, Console())
    return 0


@app.command
def export(
    run: Path,
    *,
    formats: Annotated[str, Parameter(name="--format")] = "all",
    thresholds: Literal["fixed", "prior", "otsu", "reviewed"] = "fixed",
) -> int:
    """Write a run's labels in the formats of other programs, into labels/exports/NAME/.

    Parameters
    ----------
    run
        Folder of a run that has labels.
    formats
        Names with commas between: csv, coco, fiftyone, label-studio, hf (Hugging Face), npy (single-positive arrays).
    thresholds
        From which label on a class counts as present. fixed: 1/2. prior: as many images as CLIP expects. otsu: where
        the class's labels fall into two groups. reviewed: best F1 on at least 50 reviewed images.
    """
    from rich.console import Console

    from trainer.exports.export import export_run

    export_run(run, formats, thresholds, Console())
    return 0
