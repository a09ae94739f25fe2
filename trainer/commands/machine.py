"""`ccd doctor`: whether a run would work here."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trainer.commands.application import app


@app.command
def doctor(
    *,
    labeler: str | None = None,
    labeler_ca: Path | None = None,
    labeler_cert: Path | None = None,
    labeler_key: Path | None = None,
    labeler_token_file: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Look at versions, processors, graphics cards, folders and the labeler, and say what to do. Exit code 1 where a
    run would end, 4 where the labeler alone is why.

    Parameters
    ----------
    labeler
        HOST:PORT of a running labeler, to look at it too.
    labeler_ca, labeler_cert, labeler_key, labeler_token_file
        As for `run`.
    json
        A list of findings for programs.
    """
    from rich.console import Console

    from clip_labeler import Credentials
    from trainer.doctor import examination

    credentials = Credentials(labeler_ca, labeler_cert, labeler_key, token_file=labeler_token_file)
    findings = list(examination.show(examination.examine(labeler, credentials), Console(quiet=json)))
    if json:
        print(examination.as_json(findings))
    return examination.exit_code(findings)
