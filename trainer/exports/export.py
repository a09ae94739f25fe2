"""`ccd export RUN`: writes a run's labels in other programs' formats into labels/exports/NAME/."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from trainer.exports import EXPORTS
from trainer.exports.source import ExportSource, open_source
from trainer.files import whole_folder, write_json
from trainer.label_table import LabelTable
from trainer.published_labels import LABELS
from trainer.run_thresholds import label_thresholds
from trainer.thresholds import Rule

FOLDER = "labels/exports"


def export_run(root: Path, formats: str, rule: Rule, console: Console) -> None:
    """Writes each format (names with commas between, or `all`) anew, and what it was made of into its export.json.

    rule: how the labels that count as given are found; "fixed" is 1/2. Raises ValueError, in one line, for a run
    without labels, an unknown format, or labels that a format cannot hold; the formats before it are then written.
    """
    names = choose_formats(formats)
    source = run_source(root, rule)
    for name in names:
        target = root / FOLDER / name
        with whole_folder(target) as draft:
            facts = EXPORTS[name](source, draft)
            write_json(draft / "export.json", {**_facts(source), **facts})
            shutil.rmtree(target, ignore_errors=True)  # only now: an export that fails leaves the one before it
        console.print(f"{name}: {target.absolute()}", markup=False, highlight=False, soft_wrap=True)


def run_source(root: Path, rule: Rule = "fixed") -> ExportSource:
    """A run's labels with its thresholds by this rule."""
    labels = LabelTable.read(root / LABELS)
    limits = label_thresholds(root, rule)
    return open_source(root, labels, given=labels.given(limits), rule=rule, thresholds=limits)


def choose_formats(formats: str) -> Sequence[str]:
    names = list(EXPORTS) if formats == "all" else [name.strip() for name in formats.split(",")]
    for name in names:
        if name not in EXPORTS:
            raise ValueError(f"--format {name}: there is none of that name; known: {', '.join(EXPORTS)}, all")
    return names


def _facts(source: ExportSource) -> dict[str, object]:
    labels = source.labels
    pairs = zip(labels.class_names, source.thresholds, strict=True)
    return {
        "images": len(source.rows),
        "images_without_labels": len(labels) - len(source.rows),
        "reviewed_images": int(labels.reviewed.any(axis=1).sum()),
        "rule": source.rule,
        "thresholds": {name: float(value) for name, value in pairs},
        "clip": labels.clip,
        "config_sha": labels.config_sha,
        "version": labels.version,
    }
