"""What a study found: a table beside the published figures as Markdown and CSV, and a plot of each figure."""

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from trainer.files import read_json, write_atomically
from trainer.pipeline import read_summary
from trainer.studies import Row, Study

Results = dict[str, list[Path]]
"""Folders of finished runs by the name of their row, in the order of their seeds."""

Cells = tuple[str, ...]


def write_report(study: Study, results: Results, output: Path, dataset: str) -> None:
    """Writes table.md and table.csv, and figure.svg for a study that is a figure."""
    cells = _cells(study, results, dataset)
    lines = ["| " + " | ".join(line) + " |" for line in cells]
    lines.insert(1, "|" + " --- |" * len(cells[0]))
    write_atomically(output / "table.md", ("\n".join(lines) + "\n").encode())
    text = io.StringIO()
    csv.writer(text).writerows(cells)
    write_atomically(output / "table.csv", text.getvalue().encode())
    if study.x or study.bias:
        write_atomically(output / "figure.svg", _plot(study, results))


def print_table(study: Study, results: Results, dataset: str, console: Console, *, title: str) -> None:
    header, *rows = _cells(study, results, dataset)
    table = Table(*header, title=title)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _cells(study: Study, results: Results, dataset: str) -> list[Cells]:
    if study.bias:
        return _bias_cells(results[study.rows[0].name])
    if study.classes:
        return _class_cells(study, results)
    header = (
        "method",
        "validation mAP",
        "best epoch (oracle)",
        "label mAP",
        f"paper, {_paper_dataset(dataset)}",
        "CLIP passes per image",
        "seconds",
    )
    return [header, *(_map_cells(row, results[row.name], dataset) for row in study.rows)]


def _paper_dataset(dataset: str) -> str:
    """Of other data sets than the paper's, its first one is shown."""
    return dataset if dataset in ("voc12", "voc07", "coco14", "nuswide") else "voc12"


def _map_cells(row: Row, folders: Sequence[Path], dataset: str) -> Cells:
    summaries = [read_summary(folder) for folder in folders]
    paper = row.paper.get(_paper_dataset(dataset))
    return (
        row.name,
        *(_mean_sd(s["map"][key] for s in summaries if key in s["map"])
          for key in ("validation", "validation_best_epoch", "final_labels")),
        "-" if paper is None else f"{paper:.1f}",
        f"{statistics.mean(s['clip_forward_passes'] / s['images'] for s in summaries):.1f}",
        f"{statistics.mean(sum(s['seconds'].values()) for s in summaries):.0f}",
    )  # fmt: skip


def _class_cells(study: Study, results: Results) -> list[Cells]:
    """Per-class AP; the classes are those that the first run measured the lowest bias of."""
    bias = read_json(results[study.rows[-1].name][0] / "labels" / "bias.json")
    order = np.argsort(bias["bias"])[: study.classes]
    names = [bias["classes"][c] for c in order]
    rows: list[Cells] = [("method", *names, "others")]
    for row in study.rows:
        precisions = [_per_class(folder) for folder in results[row.name]]
        others = [[value for name, value in one.items() if name not in names] for one in precisions]
        rows.append(
            (
                row.name,
                *(_mean_sd(one[name] for one in precisions) for name in names),
                _mean_sd(statistics.mean(values) for values in others if values),
            )
        )
    return rows


def _per_class(folder: Path) -> dict[str, float]:
    with (folder / "per_class.csv").open(newline="") as file:
        return {line["class"]: float(line["average_precision"]) for line in csv.DictReader(file)}


def _bias_cells(folders: Sequence[Path]) -> list[Cells]:
    bias = read_json(folders[0] / "labels" / "bias.json")
    rows = sorted(zip(bias["bias"], bias["classes"], bias["counts"], strict=True))
    return [("class", "bias", "images"), *((name, f"{value:.3f}", str(count)) for value, name, count in rows)]


def _mean_sd(found: Iterable[float]) -> str:
    values = list(found)
    if not values:
        return "-"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def _plot(study: Study, results: Results) -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(title=study.title)
    if study.bias:
        _, *rows = _bias_cells(results[study.rows[0].name])
        axes.bar([name for name, *_ in rows], [float(value) for _, value, _ in rows])
        axes.tick_params(axis="x", rotation=90)
        axes.set_ylabel("mean top-1 probability")
    else:
        _plot_curve(axes, study, results)
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "ccd"}):  # and no date: the same bytes for the same runs
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _plot_curve(axes: Any, study: Study, results: Results) -> None:
    assert study.x is not None
    xs = [row.settings[study.x] for row in study.rows]
    runs = [[read_summary(folder)["map"]["validation"] for folder in results[row.name]] for row in study.rows]
    deviations = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in runs]
    axes.errorbar(xs, [statistics.mean(values) for values in runs], yerr=deviations, marker="o", capsize=3)
    axes.set_xlabel(study.x.replace("_", " "))
    axes.set_ylabel("validation mAP in %")
