"""Runs the rows of a study over several seeds, beside each other where there is room, with one labeler for all."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from trainer.config import RunConfig, resolve
from trainer.labeler_process import LabelerProcess
from trainer.labeling import own_labeler_flags
from trainer.pipeline import run_pipeline
from trainer.session import data_format
from trainer.studies import STUDIES, Row, Study
from trainer.study_report import Results, print_table, write_report


def run_study(
    data: str, name: str, seeds: int, output: Path, config: RunConfig, console: Console, *, jobs: int = 1
) -> None:
    """Runs what is missing with `jobs` processes, prints the table, writes table.md, table.csv and the figures into
    `output`. Runs share a labeler, whose cache answers the second time what several of them ask for."""
    study = STUDIES[name]
    with SharedLabeler(data, config) as address:
        wanted = list(_wanted(data, study, seeds, output, replace(config, labeler=address)))
        missing = [run for run in wanted if not (run.folder / "summary.json").exists()]
        if jobs == 1:
            for run in missing:
                console.rule(f"{run.row.name}, seed {run.config.seed}")
                run_pipeline(run.data, run.folder, run.config, console)
        else:
            _run_beside_each_other(missing, jobs, console)
    results: Results = {row.name: [run.folder for run in wanted if run.row is row] for row in study.rows}
    write_report(study, results, output, data_format(data))
    print_table(study, results, data_format(data), console, title=f"{study.title}: {data}, {seeds} seeds")


@dataclass(frozen=True)
class _Run:
    row: Row
    data: str
    folder: Path
    config: RunConfig


def _wanted(data: str, study: Study, seeds: int, output: Path, common: RunConfig) -> Iterator[_Run]:
    """Seed by seed, so that an interrupted study has whole tables."""
    for seed in range(seeds):
        for row in study.rows:
            folder = output / f"{row.slug}-seed{seed}"
            yield _Run(row, data, folder, replace(common, seed=seed, **row.settings))


def _run_beside_each_other(runs: list[_Run], jobs: int, console: Console) -> None:
    """Raises the first error after the others have ended; what is finished stays."""
    context = multiprocessing.get_context("spawn")  # CUDA and gRPC survive no fork
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        devices = torch.cuda.device_count()
        futures = {}
        for number, run in enumerate(runs):
            device = f"cuda:{number % devices}" if run.config.device == "auto" and devices else run.config.device
            moved = replace(run, config=replace(run.config, device=device))
            futures[pool.submit(_run_quietly, moved, max(1, (os.cpu_count() or 1) // jobs))] = run
        for future, run in futures.items():
            mean = future.result()["map"].get("validation")
            console.print(f"{run.row.name}, seed {run.config.seed}: {'-' if mean is None else f'{mean:.1f}'}")


def _run_quietly(run: _Run, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    return run_pipeline(run.data, run.folder, run.config, Console(quiet=True)).summary


class SharedLabeler:
    """One labeler for several runs: the given one, or one that lives as long as the block."""

    def __init__(self, data: str, config: RunConfig) -> None:
        self._given = config.labeler
        # what the labeler does not need to know to start is filled with anything valid
        self._config = resolve(config, data_format=data_format(data), num_classes=1, prompt="{}")
        self._process: LabelerProcess | None = None

    def __enter__(self) -> str:
        if self._given is not None:
            return self._given
        self._process = LabelerProcess(own_labeler_flags(self._config))
        return self._process.address

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.close()
