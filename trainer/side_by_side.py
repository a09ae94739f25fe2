"""`ccd compare RUN RUN ...`: finished runs beside each other, what they were told and what came of it."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainer.files import write_atomically
from trainer.report.run_files import RunFiles

# Classes shown, those that differ most between the runs; of fewer, all.
MAX_CLASSES = 20

Row = tuple[str, ...]


def compare_runs(folders: Sequence[Path], output: Path | None, console: Console) -> None:
    """Prints a table with one column a run; with `output`, writes it there as table.md and table.csv too.

    Raises ValueError for fewer than two runs, and for a folder that holds no finished one.
    """
    if len(folders) < 2:
        raise ValueError(f"{folders[0]} is one run; give two or more, or DATA for a study")
    runs = [RunFiles(folder) for folder in folders]
    for run in runs:
        if run.summary is None:
            raise ValueError(f"the run in {run.root} has not ended; `ccd report {run.root}` shows what there is")
    rows = table(runs)
    shown = Table(title="Runs side by side", title_justify="left")
    for name in rows[0]:
        shown.add_column(Text(name))  # as text: names are no markup
    for row in rows[1:]:
        shown.add_row(*map(Text, row))
    console.print(shown)
    if output is not None:
        _write(rows, output)


def table(runs: Sequence[RunFiles]) -> list[Row]:
    """A header with the runs' folders, then what they came to, the settings that differ and the AP of classes."""
    return [("", *_names(runs)), *_outcomes(runs), *_differing_settings(runs), *_precisions(runs)]


def _names(runs: Sequence[RunFiles]) -> Row:
    """The folders' names; their paths where names are equal."""
    names = [run.root.resolve().name for run in runs]
    return tuple(names if len(set(names)) == len(names) else [str(run.root) for run in runs])


_FIGURES: tuple[tuple[str, Callable[[RunFiles], str]], ...] = (
    ("data", lambda run: str(run.settings["data"])),
    ("method", lambda run: str(run.settings["method"])),
    ("images", lambda run: f"{_summary(run, 'images'):,}"),
    ("images left out", lambda run: f"{_summary(run, 'images_failed'):,}"),
    ("mAP of CLIP's labels", lambda run: _map(run, "initial_labels")),
    ("mAP of the updated labels", lambda run: _map(run, "final_labels")),
    ("mAP of the classifier", lambda run: _map(run, "validation")),
    ("best epoch (looks at targets)", lambda run: _map(run, "validation_best_epoch")),
    ("weights of epoch", lambda run: f"{_summary(run, 'stop_epoch') + 1} of {_summary(run, 'epochs_trained')}"),
    ("CLIP forward passes", lambda run: f"{_summary(run, 'clip_forward_passes'):,}"),
    ("time", lambda run: str(timedelta(seconds=round(run.total_seconds)))),
)


def _summary(run: RunFiles, name: str) -> int:
    assert run.summary is not None
    return int(run.summary[name])


def _map(run: RunFiles, name: str) -> str:
    assert run.summary is not None
    value = run.summary["map"].get(name)
    return "-" if value is None else f"{value:.1f} %"


def _outcomes(runs: Sequence[RunFiles]) -> list[Row]:
    return [(name, *map(figure, runs)) for name, figure in _FIGURES]


def _differing_settings(runs: Sequence[RunFiles]) -> list[Row]:
    """Beside data, method and the list of classes, of which the number is told."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in ("data", "method", "classes"))
    rows = [(f"--{name.replace('_', '-')}", *(str(run.settings.get(name, "-")) for run in runs)) for name in names]
    rows.append(("classes", *(str(len(run.class_names)) for run in runs)))
    return [row for row in rows if len(set(row[1:])) > 1]


def _precisions(runs: Sequence[RunFiles]) -> list[Row]:
    """AP of the classes that all measured runs have, where at least two were measured."""
    measured = [{line["class"]: float(line["average_precision"]) for line in run.precisions} for run in runs]
    common = set.intersection(*(set(one) for one in measured if one)) if any(measured) else set()
    if sum(map(bool, measured)) < 2:
        return []

    def spread(name: str) -> float:
        values = [one[name] for one in measured if one]
        return max(values) - min(values)

    chosen = sorted(sorted(common), key=spread, reverse=True)[:MAX_CLASSES]
    return [(f"AP of {name}", *(f"{one[name]:.1f} %" if one else "-" for one in measured)) for name in chosen]


def _write(rows: Sequence[Row], output: Path) -> None:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    write_atomically(output / "table.md", ("\n".join(lines) + "\n").encode())
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_atomically(output / "table.csv", text.getvalue().encode())
