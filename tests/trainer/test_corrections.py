"""A person's word on its way from a file into the labels."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trainer.correction_files import read_corrections
from trainer.corrections import CORRECTIONS, Corrections, corrected
from trainer.label_table import LabelTable
from trainer.published_labels import LABELS
from trainer.review import CONFIG, QUEUE, TASKS, apply_corrections, write_queue

MakeRun = Callable[..., Path]
QUIET = Console(quiet=True)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
SAID = st.dictionaries(NAMES, st.dictionaries(NAMES, st.booleans(), min_size=1, max_size=3), max_size=4)


@given(SAID)
def test_corrections_survive_their_file(
    tmp_path_factory: pytest.TempPathFactory, said: dict[str, dict[str, bool]]
) -> None:
    """Would fail if a quote, a line break or what looks like a formula changed a name: a label would be lost."""
    path = tmp_path_factory.mktemp("corrections") / "corrections.csv"
    classes = sorted({name for names in said.values() for name in names})
    Corrections(said).write(path)
    assert Corrections.read(path, classes).by_image == said


@given(SAID, SAID)
def test_the_later_word_counts(first: dict[str, dict[str, bool]], second: dict[str, dict[str, bool]]) -> None:
    both = Corrections(first).followed_by(Corrections(second))
    for image, names in second.items():
        assert names.items() <= both.by_image[image].items()
    assert both.by_image.keys() == first.keys() | second.keys()
    assert Corrections(first).followed_by(Corrections(first)).digest == Corrections(first).digest


def test_a_word_is_laid_over_labels_and_gaps_stay_gaps() -> None:
    """A rejected image of which one class is known would put NaN into the loss."""
    nan = np.nan
    labels = np.array([[0.2, 0.9], [nan, nan], [nan, nan], [0.5, 0.5]], np.float32)
    said = np.array([[1, -1], [1, -1], [0, 1], [-1, -1]], np.int8)
    expected = np.array([[1, 0.9], [nan, nan], [0, 1], [0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(corrected(labels, said), expected)


# --- the queue as a spreadsheet --------------------------------------------------------------------------------------


def edit_queue(root: Path, edit: Callable[[int, dict[str, str]], None], delimiter: str = ",") -> Path:
    with (root / QUEUE).open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        edit(number, row)
    path = root / "edited.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_an_edited_queue_comes_back(make_labelled_run: MakeRun, delimiter: str) -> None:
    """Of a reviewed row everything counts, of another the changed cells alone; no hostile name gets lost."""
    root = make_labelled_run()
    write_queue(root, 200, QUIET)
    before = LabelTable.read(root / LABELS)

    def edit(number: int, row: dict[str, str]) -> None:
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values()), "a formula"
        if number % 2 == 0:
            row["reviewed"] = "1"
            row["label:cat"] = "0"
        elif number == 1:
            row["label:cat"] = str(1 - int(row["label:cat"]))

    corrections = read_corrections(edit_queue(root, edit, delimiter), before.class_names)
    assert corrections.by_image.keys() <= set(before.file_names)
    decided = [len(names) for names in corrections.by_image.values()]
    known = int(before.known.sum())
    assert sorted(decided) == [1] + [3] * ((known + 1) // 2)

    apply_corrections(root, root / "edited.csv", QUIET)
    after = LabelTable.read(root / LABELS)
    said = corrections.entries(after.file_names, after.class_names)
    np.testing.assert_array_equal(after.reviewed, said >= 0)
    np.testing.assert_array_equal(after.probs[said >= 0], said[said >= 0])
    np.testing.assert_array_equal(after.probs[said < 0], before.probs[said < 0])
    np.testing.assert_array_equal(np.load(root / "labels/final.npy"), before.probs)
    write_queue(root, 200, QUIET)
    with (root / QUEUE).open(newline="", encoding="utf-8-sig") as file:
        again = {row["file_name"] for row in csv.DictReader(file)}
    assert len(again) == known - len(decided), "reviewed images are not asked for again"


def test_an_untouched_queue_corrects_nothing(make_labelled_run: MakeRun) -> None:
    root = make_labelled_run()
    write_queue(root, 5, QUIET)
    with pytest.raises(ValueError, match="corrects nothing"):
        apply_corrections(root, root / QUEUE, QUIET)
    assert not (root / CORRECTIONS).exists()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda _, row: row.update({"label:cat": "maybe"}), "row 1: expected 1, 0 or nothing, got 'maybe'"),
        (lambda _, row: row.update({"file_name": "gone.jpg", "reviewed": "x"}), "'gone.jpg'"),
        (lambda _, row: row.update({"labels": "cat"}), "JSON list"),
    ],
)
def test_a_wrong_cell_is_named_and_nothing_is_stored(
    make_labelled_run: MakeRun, edit: Callable[[int, dict[str, str]], None], says: str
) -> None:
    root = make_labelled_run(["a.jpg", "b.jpg", "c.jpg"])
    write_queue(root, 5, QUIET)
    with pytest.raises(ValueError, match=says):
        apply_corrections(root, edit_queue(root, edit), QUIET)
    assert not (root / CORRECTIONS).exists()


def test_a_file_of_other_classes_or_no_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text("file_name,class_name,present\na.jpg,horse,1\n")
    with pytest.raises(ValueError, match="class 'horse'; the run's are cat, dog"):
        read_corrections(path, ("cat", "dog"))
    path.write_bytes("file_name,labels,reviewed\nk\xe4se.jpg,[],1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="CSV UTF-8"):
        read_corrections(path, ("cat", "dog"))
    with pytest.raises(ValueError, match="there is no file"):
        read_corrections(tmp_path / "gone.csv", ("cat", "dog"))


# --- Label Studio ----------------------------------------------------------------------------------------------------


def annotated(task: dict[str, Any], choices: list[str], **facts: Any) -> dict[str, Any]:
    """The task as Label Studio exports it; an annotation without a choice has no region."""
    region = {"from_name": "labels", "to_name": "image", "type": "choices", "value": {"choices": choices}}
    annotation = {"id": 1, "was_cancelled": False, "updated_at": "2026-01-01", "result": [region] if choices else []}
    return task | {"annotations": [*task.get("annotations", []), annotation | facts]}


def test_a_label_studio_export_comes_back(make_labelled_run: MakeRun) -> None:
    """Skipped tasks say nothing, of several annotations the newest counts, and what is not chosen is absent."""
    root = make_labelled_run()
    write_queue(root, 4, QUIET)
    tasks = json.loads((root / TASKS).read_text())
    classes = LabelTable.read(root / LABELS).class_names
    tasks[0] = annotated(annotated(tasks[0], ["cat"]), [classes[1]], id=2, updated_at="2026-01-02")
    tasks[1] = annotated(tasks[1], [])
    tasks[2] = annotated(tasks[2], ["cat"], was_cancelled=True)
    path = root / "export.json"
    path.write_text(json.dumps(tasks))
    corrections = read_corrections(path, classes)
    names = [task["data"]["file_name"] for task in tasks]
    assert corrections.by_image == {
        names[0]: {classes[0]: False, classes[1]: True, classes[2]: False},
        names[1]: dict.fromkeys(classes, False),
    }
    apply_corrections(root, path, QUIET)
    assert LabelTable.read(root / LABELS).reviewed.sum() == 6


def test_other_json_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    for text in ("{", "{}", '[{"image": "x", "labels": "cat"}]', '[{"data": {"file_name": "a.jpg"}}]'):
        path.write_text(text)
        with pytest.raises(ValueError, match="Label Studio export of the type JSON"):
            read_corrections(path, ("cat",))


def test_label_studio_s_own_validator_takes_the_queue(make_labelled_run: MakeRun) -> None:
    sdk = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    root = make_labelled_run()
    write_queue(root, 200, QUIET)
    interface = sdk.LabelInterface((root / CONFIG).read_text())
    for task in json.loads((root / TASKS).read_text()):
        assert interface.validate_prediction(task["predictions"][0], return_errors=True) == []


# --- thresholds from reviewed images ---------------------------------------------------------------------------------


def test_fifty_reviewed_images_offer_the_fourth_rule(make_labelled_run: MakeRun) -> None:
    """Would fail if the rule were calibrated on labels that already hold the answer, or on images that the classifier
    was trained to answer so."""
    root = make_labelled_run([f"{i:03d}.jpg" for i in range(80)], classes=("cat", "dog"))
    rng = np.random.default_rng(5)
    shape = (80, 2)
    np.save(root / "labels/classifier.npy", rng.uniform(0, 1, shape).astype(np.float32))
    labels = LabelTable.read(root / LABELS)
    machine, names = np.load(root / "labels/final.npy"), labels.file_names
    said = {names[i]: {"cat": bool(machine[i, 1] >= 0.7), "dog": bool(machine[i, 1] >= 0.7)} for i in range(1, 60)}
    Corrections(said).write(root / "mine.csv")
    apply_corrections(root, root / "mine.csv", QUIET)
    from trainer.run_thresholds import OFFERED, label_thresholds, offer_thresholds

    limits = label_thresholds(root, "reviewed")
    assert ((machine[1:60, 1] >= limits[1]) == (machine[1:60, 1] >= 0.7)).all()
    offered = json.loads((root / OFFERED).read_text())
    assert set(offered["rules"]) == {"fixed", "prior", "otsu", "reviewed"}
    scores = np.load(root / "labels/classifier.npy")
    for rule in offered["rules"].values():
        assert rule["images"] == (scores >= np.array(rule["thresholds"])).sum(axis=0).tolist()
    (root / CORRECTIONS).rename(root / "review/taken_in.csv")
    Corrections(said).write(root / CORRECTIONS)
    assert "reviewed" not in offer_thresholds(root)["rules"]
