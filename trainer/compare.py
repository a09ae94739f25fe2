"""Runs the rows of a study over several seeds with one labeler, and makes a table of mean and deviation."""

import csv
import io
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from trainer.config import RunConfig, resolve
from trainer.files import write_atomically
from trainer.labeler_process import LabelerProcess
from trainer.labeling import own_labeler_flags
from trainer.pipeline import read_summary, run_pipeline
from trainer.session import data_format


@dataclass(frozen=True)
class Row:
    """One row of a study: a name, settings over the common ones, and the paper's figure on VOC12 (mAP in %)."""

    name: str
    settings: dict[str, Any]
    paper: float | None


NO_MODULE = Row("no module", {"update": False, "debias": False, "consistency": False}, 86.4)
FULL_SUPERVISION = Row("full supervision", {"method": "bce"}, 90.1)

# Paper Table 2, and full supervision (Table 1) as the upper bound.
TABLE2 = (
    NO_MODULE,
    Row("update", {"debias": False, "consistency": False}, 88.7),
    Row("update + debias", {"consistency": False}, 89.4),
    Row("update + consistency", {"debias": False}, 88.8),
    Row("update + debias + consistency", {}, 90.1),
    FULL_SUPERVISION,
)

STUDIES: dict[str, tuple[Row, ...]] = {"table2": TABLE2}


def run_study(data: str, study: str, seeds: int, output: Path, config: RunConfig, console: Console) -> None:
    """Runs what is missing, prints the table, writes table.md and table.csv into `output`."""
    rows = STUDIES[study]
    with SharedLabeler(data, config) as address:
        common = replace(config, labeler=address)
        results: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
        for seed in range(seeds):  # seed by seed, so that an interrupted study has whole tables
            for row in rows:
                results[row.name].append(_one(data, row, seed, output, common, console))
    _write(rows, results, output)
    console.print(_table(rows, results, f"{study} on {data}, {seeds} seeds"))


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


def _one(data: str, row: Row, seed: int, output: Path, common: RunConfig, console: Console) -> dict[str, Any]:
    folder = output / f"{row.name.replace(' + ', '-').replace(' ', '-')}-seed{seed}"
    if (folder / "summary.json").exists():
        return read_summary(folder)
    console.rule(f"{row.name}, seed {seed}")
    return run_pipeline(data, folder, replace(common, seed=seed, **row.settings), console).summary


def _mean_sd(results: list[dict[str, Any]], key: str) -> str:
    values = [result["map"][key] for result in results if key in result["map"]]
    if not values:
        return "-"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


HEADER = ("method", "validation mAP", "best epoch (oracle)", "label mAP", "paper, VOC12")


def _cells(row: Row, results: list[dict[str, Any]]) -> tuple[str, ...]:
    columns = ("validation", "validation_best_epoch", "final_labels")
    return (row.name, *(_mean_sd(results, key) for key in columns), "-" if row.paper is None else f"{row.paper:.1f}")


def _table(rows: tuple[Row, ...], results: dict[str, list[dict[str, Any]]], title: str) -> Table:
    table = Table(*HEADER, title=title)
    for row in rows:
        table.add_row(*_cells(row, results[row.name]))
    return table


def _write(rows: tuple[Row, ...], results: dict[str, list[dict[str, Any]]], output: Path) -> None:
    cells = [HEADER, *(_cells(row, results[row.name]) for row in rows)]
    lines = ["| " + " | ".join(line) + " |" for line in cells]
    lines.insert(1, "|" + " --- |" * len(HEADER))
    write_atomically(output / "table.md", ("\n".join(lines) + "\n").encode())
    text = io.StringIO()
    csv.writer(text).writerows(cells)
    write_atomically(output / "table.csv", text.getvalue().encode())
