"""Section 5: losses and mAP epoch by epoch, with the epoch whose weights were kept."""

from dataclasses import dataclass
from typing import Any

from trainer.report.charts import Chart, curves
from trainer.report.run_files import RunFiles

TITLE = "Training"

# Columns of metrics.jsonl that are no loss.
_OTHERS = ("epoch", "map_against_labels", "validation_map")
_MAPS = {"map_against_labels": "against the labels it learns from", "validation_map": "against targets of other images"}


@dataclass(frozen=True)
class TrainingCurves:
    """rows: of metrics.jsonl. names: its columns beside the epoch. stop_epoch: from 1; None while the run goes on."""

    losses: Chart
    maps: Chart
    rows: tuple[dict[str, Any], ...]
    names: tuple[str, ...]
    stop_epoch: int | None
    fired: bool
    warmup_epochs: int


def build(run: RunFiles) -> TrainingCurves | None:
    if not run.epochs:
        return None
    names = tuple(dict.fromkeys(name for row in run.epochs for name in row if name != "epoch"))
    losses = [name for name in names if name not in _OTHERS]
    stop = None if run.summary is None else run.summary["stop_epoch"] + 1
    highest = max(row.get(name, 0.0) for row in run.epochs for name in losses)
    return TrainingCurves(
        _chart(run, {name: name.replace("_", " ") for name in losses}, "Loss by epoch", "loss", highest, stop),
        _chart(run, _MAPS, "mAP by epoch", "mAP in %", 100, stop),
        tuple({"epoch": row["epoch"]} | {name: row.get(name) for name in names} for row in run.epochs),
        names,
        stop,
        run.summary is not None and run.summary["stop_rule_fired"],
        run.settings["warmup_epochs"],
    )


def _chart(run: RunFiles, names: dict[str, str], title: str, y_label: str, highest: float, stop: int | None) -> Chart:
    series = []
    for key, name in names.items():
        known = [(row["epoch"] + 1, row[key]) for row in run.epochs if row.get(key) is not None]
        if known:
            series.append((name, [epoch for epoch, _ in known], [value for _, value in known]))
    return curves(
        series, title=title, x_label="epoch", y_label=y_label, x_range=(1, max(len(run.epochs), 2)),
        y_range=(0, max(highest, 1e-6)), mark=stop, mark_text="kept",
    )  # fmt: skip
