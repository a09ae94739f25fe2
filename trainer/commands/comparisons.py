"""`ccd compare` and `ccd report`: what runs came to."""

from pathlib import Path
from typing import Literal

from trainer.commands.application import Flags, app, refuse_torchrun
from trainer.config import DEFAULTS, default_output


@app.command
def compare(
    *data: str,
    study: Literal["table1", "table2", "table3", "fig2", "fig3", "fig6a", "fig6b"] | None = None,
    seeds: int = 3,
    jobs: int | None = None,
    output: Path | None = None,
    config: Flags = DEFAULTS,
) -> int:
    """Put finished runs side by side, or run every row of a study of the paper over several seeds; print a table.

    Parameters
    ----------
    data
        Two or more folders of runs; or one DATA, as for `run`, for a study.
    study
        table1: all methods. table2, the default: the method's modules, and full supervision. table3: AP of the classes
        with the lowest bias. fig2: class bias. fig3: where local views are. fig6a: how many. fig6b: the initial
        label's weight. Finished runs are not run again, neither those of other studies in the same folder.
    seeds
        Of a study: runs per row, with seeds 0, 1, ...
    jobs
        Of a study: runs at a time, each in a process of its own; on several GPUs they take turns. One for each GPU, or
        else for each processor, by default.
    output
        Folder of studies, runs/NAME-studies by default; of a comparison, where table.md and table.csv are wanted.
    """
    refuse_torchrun("compare")
    from rich.console import Console

    if study is None and (len(data) > 1 or any((Path(name) / "config.resolved.yaml").is_file() for name in data)):
        from trainer.side_by_side import compare_runs

        compare_runs([Path(name) for name in data], output, Console())
        return 0
    if len(data) != 1:
        raise ValueError(f"a study takes one DATA, not {len(data)}; runs are compared without --study")

    from trainer.compare import run_study

    study = study or "table2"
    folder = output or default_output(data[0]).with_name(f"{default_output(data[0]).name}-studies")
    run_study(data[0], study, seeds, folder, config, Console(), jobs=jobs)
    return 0


@app.command
def report(run: Path, *, output: Path | None = None, images: bool = True) -> int:
    """Write the report of a run as one HTML file that needs no network. It may be asked for while the run goes on.

    Parameters
    ----------
    run
        The run's folder.
    output
        The file; report.html in the run's folder by default.
    images
        --no-images leaves all pictures out, so that the file can be given away.
    """
    from trainer.report.page import write_report

    print(f"report: {write_report(run, output, images=images).absolute()}")
    return 0
