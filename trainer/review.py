"""`ccd review RUN`: a queue of the labels that most need a person's eye, and their corrections back into the run."""

import csv
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from trainer.corrected_labels import read_checked
from trainer.correction_files import CLASS_PREFIX, QUEUE_COLUMNS
from trainer.corrections import CORRECTIONS, Corrections
from trainer.exports.export import run_source
from trainer.exports.label_studio import label_config, label_task, serving
from trainer.exports.source import ExportSource, as_text
from trainer.files import write_atomically
from trainer.label_table import LabelTable
from trainer.pseudo_labels import load_rows
from trainer.published_labels import LABELS, publish, read_settings
from trainer.review_queue import ReviewRow, review_order
from trainer.run_folder import RunFolder
from trainer.run_thresholds import CLASSIFIER, OFFERED, offer_thresholds
from trainer.spreadsheet import path_cell

QUEUE = "review/queue.csv"
TASKS, CONFIG = "review/label-studio.json", "review/label-studio.xml"


def write_queue(root: Path, top: int, console: Console) -> None:
    """Writes the `top` images of `review_order` that nobody has reviewed yet as review/queue.csv, for a spreadsheet,
    and review/label-studio.json with its interface review/label-studio.xml.

    Raises ValueError for a run without labels, or when every image has been reviewed.
    """
    if top < 1:
        raise ValueError(f"--top {top} must be at least 1")
    source = run_source(root)
    rows = queue_of(root, source.labels)[:top]
    if not rows:
        raise ValueError(f"every image of {root} has been reviewed")
    _write_csv(root / QUEUE, source, rows)
    tasks = [label_task(source, row.image, boxes=False) for row in rows]
    for task, row in zip(tasks, rows, strict=True):
        name = source.labels.class_names[row.class_index]
        task["data"] |= {"reason": row.reason, "because_of": name, "doubt": round(row.score, 4)}
    write_atomically(root / TASKS, json.dumps(tasks).encode())
    write_atomically(root / CONFIG, label_config(source.labels.class_names, boxes=False).encode())
    folder, (switch, document_root) = shlex.quote(str(root)), list(serving(source).items())[:2]
    for line in (
        f"{len(rows)} images to look at, in two forms:",
        f"  a spreadsheet: {root / QUEUE}: correct the 1s and 0s, and put 1 into 'reviewed' where a row is right",
        f"  Label Studio: {root / TASKS} with the interface {root / CONFIG}; start it with",
        f"    {'='.join(switch)} {document_root[0]}={shlex.quote(document_root[1])}",
        f"next: ccd review {folder} --apply FILE",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def queue_of(root: Path, labels: LabelTable) -> list[ReviewRow]:
    """Every labelled image that nobody has reviewed, by `review_order`; disputes only where a classifier is trained."""
    clip_NC = load_rows(root / "labels/initial.npy")
    classifier = root / CLASSIFIER
    classifier_NC = load_rows(classifier) if classifier.is_file() else None
    return review_order(clip_NC, classifier_NC, labels.probs, skip=np.asarray(labels.reviewed.any(axis=1)))


def _write_csv(path: Path, source: ExportSource, rows: Sequence[ReviewRow]) -> None:
    """With a byte order mark, without which Excel takes UTF-8 for something else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = (*QUEUE_COLUMNS, *(CLASS_PREFIX + name for name in source.labels.class_names))
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(_cells(source, rows))


def _cells(source: ExportSource, rows: Sequence[ReviewRow]) -> Iterator[Sequence[object]]:
    names = source.labels.class_names
    for rank, row in enumerate(rows, start=1):
        given = [names[c] for c in source.classes_of(row.image)]
        yield (
            rank, path_cell(source.labels.file_names[row.image]), as_text(source.paths[row.image]), row.reason,
            path_cell(names[row.class_index]), f"{row.score:.4f}", json.dumps(given, ensure_ascii=False), "",
            *source.given[row.image].astype(int),
        )  # fmt: skip


def apply_corrections(root: Path, file: Path, console: Console) -> None:
    """Adds a file's corrections to the run's, writes labels.parquet anew and, of a trained run, the thresholds.

    Raises ValueError, in one line, for a file without corrections, or with such of other classes or images.
    """
    class_names = tuple(read_settings(root)["classes"])
    before = LabelTable.read(root / LABELS)
    folder = RunFolder(root)
    try:
        added = read_checked(file, class_names, before.file_names)
        everything = Corrections.of_run(root, class_names).followed_by(added)
        everything.write(root / CORRECTIONS)
        after = publish(root, split=before.split)
        trained = (root / CLASSIFIER).is_file()
        if trained:
            offer_thresholds(root)
    finally:
        folder.close()
    changed = int((before.given() != after.given()).sum())
    where = f"; thresholds in {root / OFFERED}" if trained else ""
    console.print(
        f"{len(added)} labels of {len(added.by_image)} images by a person, {changed} of them changed; now "
        f"{len(everything.by_image)} images are reviewed{where}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    command = f"ccd train {shlex.quote(str(root))}" + (" --output NEW" if trained else "")
    console.print(f"next: {command}", markup=False, highlight=False, soft_wrap=True)
