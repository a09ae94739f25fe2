"""What a study found: a table beside the published figures as Markdown and CSV, and its figure."""

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from trainer.files import write_atomically
from trainer.pipeline import read_summary
from trainer.studies import STUDIES, Row, Study
from trainer.study_plots import plot
from trainer.study_results import (
    Results,
    biased_classes,
    class_biases,
    class_precisions,
    mean_and_deviation,
    paper_dataset,
    paper_map,
    validation_maps,
)

Cells = tuple[str, ...]


def write_report(name: str, results: Results, output: Path, dataset: str) -> None:
    """Writes NAME.md and NAME.csv, and NAME.svg where there is something to draw."""
    study = STUDIES[name]
    cells = _cells(study, results, dataset)
    lines = ["| " + " | ".join(line) + " |" for line in cells]
    lines.insert(1, "|" + " --- |" * len(cells[0]))
    write_atomically(output / f"{name}.md", ("\n".join(lines) + "\n").encode())
    text = io.StringIO()
    csv.writer(text).writerows(cells)
    write_atomically(output / f"{name}.csv", text.getvalue().encode())
    if (figure := plot(study, results, dataset)) is not None:
        write_atomically(output / f"{name}.svg", figure)


def print_table(study: Study, results: Results, dataset: str, console: Console, *, title: str) -> None:
    header, *rows = _cells(study, results, dataset)
    table = Table(*header, title=title)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _cells(study: Study, results: Results, dataset: str) -> list[Cells]:
    if study.bias:
        return _bias_cells(results[study.rows[0].name][0])
    if study.classes:
        return _class_cells(study, results)
    header = (
        "method",
        "validation mAP",
        "best epoch (oracle)",
        "label mAP",
        f"paper, {paper_dataset(dataset)}",
        "CLIP passes per image",
        "seconds",
    )
    return [header, *(_map_cells(row, results[row.name], dataset) for row in study.rows)]


def _map_cells(row: Row, folders: Sequence[Path], dataset: str) -> Cells:
    summaries = [read_summary(folder) for folder in folders]
    paper = paper_map(row, dataset)
    return (
        row.name,
        _mean_sd(validation_maps(folders)),
        *(
            _mean_sd(s["map"][key] for s in summaries if key in s["map"])
            for key in ("validation_best_epoch", "final_labels")
        ),
        "-" if paper is None else f"{paper:.1f}",
        f"{statistics.mean(s['clip_forward_passes'] / s['images'] for s in summaries):.1f}",
        f"{statistics.mean(sum(s['seconds'].values()) for s in summaries):.0f}",
    )


def _class_cells(study: Study, results: Results) -> list[Cells]:
    names = biased_classes(study, results)
    rows: list[Cells] = [("method", *names, "others")]
    for row in study.rows:
        precisions = [class_precisions(folder) for folder in results[row.name]]
        others = [[value for name, value in one.items() if name not in names] for one in precisions]
        rows.append(
            (
                row.name,
                *(_mean_sd(one[name] for one in precisions) for name in names),
                _mean_sd(statistics.mean(values) for values in others if values),
            )
        )
    return rows


def _bias_cells(folder: Path) -> list[Cells]:
    return [
        ("class", "bias", "images"),
        *((one.name, f"{one.bias:.3f}", str(one.images)) for one in class_biases(folder)),
    ]


def _mean_sd(found: Iterable[float]) -> str:
    values = list(found)
    if not values:
        return "-"
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"
