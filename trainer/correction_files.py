"""Files that a person comes back with: an edited queue.csv, a Label Studio export, or a corrections.csv."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.corrections import COLUMNS, Corrections, truth_in
from trainer.spreadsheet import cell_path, read_rows

# Of review/queue.csv: `labels` tells what the cells of the classes were, a JSON list of the classes that had a 1.
QUEUE_COLUMNS = ("rank", "file_name", "path", "reason", "class_name", "score", "labels", "reviewed")
CLASS_PREFIX = "label:"  # so that no class is called as a column is, and no header is a formula


def read_corrections(path: Path, class_names: Sequence[str]) -> Corrections:
    """The corrections in any of the three. Raises ValueError, in one line, for a file that is none or has none."""
    if not path.is_file():
        raise ValueError(f"there is no file {path} with corrections")
    if path.suffix.lower() == ".json":
        corrections = _of_label_studio(path, class_names)
    elif set(COLUMNS) <= {name.strip() for name in _header(path)}:
        corrections = Corrections.read(path, class_names)
    else:
        corrections = _of_queue(path)
    corrections.check_classes(class_names, path)
    if not len(corrections):
        raise ValueError(
            f"{path} corrects nothing: put 1 into the column 'reviewed' of rows that are right as they stand, "
            "or submit tasks in Label Studio"
        )
    return corrections


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().replace('"', "").replace(";", ",").strip().split(",")


def _of_queue(path: Path) -> Corrections:
    """Of rows that are marked as reviewed every class with a 1 or a 0, of others the cells that were changed."""
    by_image: dict[str, dict[str, bool]] = {}
    for number, row in enumerate(read_rows(path, ("file_name", "labels", "reviewed")), start=1):
        before = _labels_before(path, number, row["labels"])
        reviewed = truth_in(path, number, row["reviewed"])
        cells = {name: cell for name, cell in row.items() if name.startswith(CLASS_PREFIX)}
        said = {name.removeprefix(CLASS_PREFIX): truth_in(path, number, cell) for name, cell in cells.items()}
        said = {name: word for name, word in said.items() if reviewed or word is not (name in before)}
        decided = {name: word for name, word in said.items() if word is not None}
        if decided:
            by_image[cell_path(row["file_name"])] = decided
    return Corrections(by_image)


def _labels_before(path: Path, number: int, cell: str) -> set[str]:
    try:
        names = json.loads(cell)
    except json.JSONDecodeError:
        names = None
    if not isinstance(names, list):
        raise ValueError(f"{path}, row {number}: expected a JSON list in the column 'labels', got '{cell}'")
    return {str(name) for name in names}


def _of_label_studio(path: Path, class_names: Sequence[str]) -> Corrections:
    """Of each task the newest annotation that was not skipped: its choices are present, all other classes absent."""
    by_image: dict[str, dict[str, bool]] = {}
    for task in _tasks(path):
        submitted = [item for item in task.get("annotations", ()) if not item.get("was_cancelled")]
        if submitted:
            newest = max(submitted, key=lambda item: (str(item.get("updated_at") or ""), item.get("id") or 0))
            chosen = _choices(newest)
            everything = dict.fromkeys(class_names, False) | dict.fromkeys(chosen, True)
            by_image[task["data"]["file_name"]] = everything
    return Corrections(by_image)


def _tasks(path: Path) -> list[dict[str, Any]]:
    expected = "a Label Studio export of the type JSON (not JSON-MIN), of tasks that `ccd review` or `ccd export` wrote"
    try:
        tasks = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); expected {expected}") from None
    whole = isinstance(tasks, list) and all(
        isinstance(task, dict) and isinstance(task.get("data"), dict) and isinstance(task["data"].get("file_name"), str)
        for task in tasks
    )
    if not whole or not any("annotations" in task for task in tasks):
        raise ValueError(f"{path} is not what was expected: {expected}")
    found: list[dict[str, Any]] = tasks
    return found


def _choices(annotation: dict[str, Any]) -> set[str]:
    ticked = [region["value"] for region in annotation.get("result", ()) if region.get("type") == "choices"]
    return {str(name) for value in ticked for name in value.get("choices", ())}
