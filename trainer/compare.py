"""Runs the rows of a study over several seeds, beside each other where there is room, with one labeler for all."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

from trainer.config import RunConfig, Settings
from trainer.labeler_process import LabelerProcess
from trainer.labeling import own_labeler_flags
from trainer.pipeline import run_pipeline
from trainer.session import PLACES, DataError, complete, data_format, given, open_splits
from trainer.studies import STUDIES, Row, Study
from trainer.study_report import print_table, write_report
from trainer.study_results import Results

MAX_JOBS = 8
"""Runs at a time that are begun unasked: each holds 1 to 2 GB."""


def run_study(
    data: str, name: str, seeds: int, output: Path, config: RunConfig, console: Console, *, jobs: int | None = None
) -> None:
    """Runs what is missing with `jobs` processes (None: one for each GPU, or each processor), prints the table, and
    writes NAME.md, NAME.csv and NAME.svg into `output`. Runs share a labeler, whose cache answers the second time what
    several of them ask for; studies with the same `output` share the runs themselves."""
    study = STUDIES[name]
    splits = open_splits(data, config)  # data that are drawn, or wrong, are so once
    if not study.bias and (splits.validation is None or splits.validation.targets is None):
        raise DataError(
            f"study {name} compares by mAP, and {data} has no validation images with targets; without any there are "
            "--study fig2, which shows CLIP's bias, and `ccd compare RUN RUN`"
        )
    settings = complete(config, data, splits)
    wanted = list(_wanted(data, study, seeds, output, config, settings))
    missing = [run for run in wanted if not _finished(run)]
    jobs = jobs or min(torch.cuda.device_count() or os.cpu_count() or 1, MAX_JOBS)
    if missing:
        with SharedLabeler(settings) as address:
            missing = [replace(run, config=replace(run.config, labeler=address)) for run in missing]
            if jobs == 1:
                _run_one_by_one(missing, console)
            else:
                _run_beside_each_other(missing, jobs, console)
    results: Results = {row.name: [run.folder for run in wanted if run.row is row] for row in study.rows}
    write_report(name, results, output, data_format(data))
    print_table(study, results, data_format(data), console, title=f"{study.title}: {data}, {seeds} seeds")


@dataclass(frozen=True)
class _Run:
    row: Row
    data: str
    folder: Path
    config: RunConfig


def _wanted(data: str, study: Study, seeds: int, output: Path, common: RunConfig, settings: Settings) -> Iterator[_Run]:
    """Seed by seed, so that an interrupted study has whole tables. A folder is named after what its run changes, so
    that equal rows of several studies are one run."""
    for seed in range(seeds):
        for row in study.rows:
            changed = (item for item in row.settings.items() if getattr(settings, item[0]) != item[1])
            changes: dict[str, Any] = {**dict(changed), "seed": seed}
            folder = output / ",".join(f"{name}={value}" for name, value in changes.items())
            yield _Run(row, data, folder, replace(common, **changes))


def _finished(run: _Run) -> bool:
    """Whether its folder holds this very run, finished. One with other settings is left to `run_pipeline`'s refusal."""
    if not (run.folder / "summary.json").exists():
        return False
    before = yaml.safe_load((run.folder / "config.yaml").read_text())
    now = {"data": run.data, **given(run.config)}
    return all(before.get(name) == now.get(name) for name in (before.keys() | now.keys()) - {*PLACES})


def _run_one_by_one(runs: list[_Run], console: Console) -> None:
    for run in runs:
        console.rule(f"{run.row.name}, seed {run.config.seed}")
        run_pipeline(run.data, run.folder, run.config, console)


def _run_beside_each_other(runs: list[_Run], jobs: int, console: Console) -> None:
    """Raises the first error after the others have ended; what is finished stays."""
    context = multiprocessing.get_context("spawn")  # CUDA and gRPC survive no fork
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        devices = torch.cuda.device_count()
        futures = {}
        for number, run in enumerate(runs):
            device = f"cuda:{number % devices}" if run.config.device == "auto" and devices else run.config.device
            config = replace(run.config, device=device)
            futures[pool.submit(_run_quietly, run.data, run.folder, config, threads)] = run
        for future in as_completed(futures):
            run, mean = futures[future], future.result()["map"].get("validation")
            console.print(f"{run.row.name}, seed {run.config.seed}: {'-' if mean is None else f'{mean:.1f}'}")


def _run_quietly(data: str, folder: Path, config: RunConfig, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    return run_pipeline(data, folder, config, Console(quiet=True)).summary


class SharedLabeler:
    """One labeler for several runs: the given one, or one that lives as long as the block."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: LabelerProcess | None = None

    def __enter__(self) -> str:
        if self._settings.labeler is not None:
            return self._settings.labeler
        self._process = LabelerProcess(own_labeler_flags(self._settings))
        return self._process.address

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.close()
