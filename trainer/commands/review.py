"""`ccd review`: a run's labels, to a person and back."""

from pathlib import Path

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
