"""Each format as its own tool or documentation reads it, with names that break careless writers."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from trainer.data.formats import open_data
from trainer.exports import EXPORTS
from trainer.exports.csv_files import choose_delimiter
from trainer.exports.export import FOLDER, export_run, run_source
from trainer.exports.source import as_text

MakeRun = Callable[..., Path]
NO_UTF8 = "caf\\xe9.jpg"


@pytest.fixture(scope="module")
def exported(labelled_run: Path) -> Callable[[str], Path]:
    """exported(name): the folder of that format, of the labelled run."""

    def folder(name: str) -> Path:
        target = labelled_run / FOLDER / name
        if not target.exists():
            export_run(labelled_run, name, "fixed", Console(quiet=True))
        return target

    return folder


def expected_names(root: Path) -> list[tuple[str, list[str]]]:
    """(absolute path as text, names of the given classes) of every image with labels."""
    source = run_source(root)
    return [
        (as_text(source.paths[row]), [source.labels.class_names[c] for c in source.classes_of(row)])
        for row in source.rows
    ]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_lightly_train_s_csv(exported: Callable[[str], Path], labelled_run: Path) -> None:
    """Would fail if an image without labels vanished, or a comma within a class name made two classes of it."""
    folder = exported("csv")
    delimiter = json.loads((folder / "export.json").read_text())["label_delimiter"]
    assert delimiter == ";", "a class name holds a comma"
    rows = read_csv(folder / "lightly_train.csv")
    assert [(row["image_path"], row["label"].split(delimiter) if row["label"] else []) for row in rows] == (
        expected_names(labelled_run)
    )
    assert any(not row["label"] for row in rows)


def test_long_csv_has_a_row_for_each_label(exported: Callable[[str], Path], labelled_run: Path) -> None:
    """LightlyStudio's columns."""
    rows = read_csv(exported("csv") / "long.csv")
    assert list(rows[0]) == ["file_path_abs", "class_name", "confidence", "annotation_source"]
    pairs = [(row["file_path_abs"], row["class_name"]) for row in rows]
    assert pairs == [(path, name) for path, names in expected_names(labelled_run) for name in names]
    assert all(0.5 <= float(row["confidence"]) <= 1 and row["annotation_source"] == "ccd" for row in rows)


def test_wide_csv_is_a_data_set(exported: Callable[[str], Path], labelled_run: Path, tmp_path: Path) -> None:
    """What `ccd run csv:FILE` reads must be what was exported; only bytes that are no UTF-8 cannot stand in a CSV."""
    lines = read_csv(exported("csv") / "wide.csv")
    table = tmp_path / "wide.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0].keys(), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(row for row in lines if not row["file_name"].endswith(NO_UTF8))
    splits = open_data(f"csv:{table}", classes=None, cache=tmp_path)
    targets = {
        str(sample.path): row.tolist() for sample, row in zip(splits.train.samples, splits.train.targets, strict=True)
    }
    expected = {
        path: [int(name in names) for name in splits.class_names]
        for path, names in expected_names(labelled_run)
        if not path.endswith(NO_UTF8)
    }
    assert targets == expected


def test_no_cell_of_a_path_is_a_formula(exported: Callable[[str], Path]) -> None:
    for name, column in (("lightly_train", "image_path"), ("long", "file_path_abs"), ("wide", "file_name")):
        assert all(os.path.isabs(row[column]) for row in read_csv(exported("csv") / f"{name}.csv"))


def test_delimiters_run_out() -> None:
    assert choose_delimiter(["cat", "a;b"]) == ","
    assert choose_delimiter(["a,b", "c;d"]) == "|"
    with pytest.raises(ValueError, match="rename"):
        choose_delimiter(["a,b;c|d\te"])


# --- COCO ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["pycocotools.coco", "faster_coco_eval"])
def test_coco_opens_in_its_tools(exported: Callable[[str], Path], labelled_run: Path, tool: str) -> None:
    """Would fail if ids, boxes or predictions were not as both libraries take them."""
    coco_class = pytest.importorskip(tool, reason=f"{tool} is not installed").COCO
    folder = exported("coco")
    coco = coco_class(str(folder / "instances.json"))
    predictions = coco.loadRes(str(folder / "results.json"))
    source = run_source(labelled_run)
    assert sorted(coco.getImgIds()) == [row + 1 for row in source.rows]
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(source.labels.class_names)
    for row in source.rows:
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[row + 1]))
        assert sorted(item["category_id"] - 1 for item in annotations) == source.classes_of(row)
        assert len(predictions.getAnnIds(imgIds=[row + 1])) == len(annotations)
        (image,) = coco.loadImgs([row + 1])
        if not image["file_name"].endswith(NO_UTF8):
            assert os.path.samefile(os.path.join(source.image_root, image["file_name"]), source.paths[row])
        for item in annotations:
            x, y, width, height = item["bbox"]
            x0, y0, x1, y1 = source.boxes.get((row, item["category_id"] - 1), (0, 0, 40, 30))
            assert (x, y, x + width, y + height, item["area"]) == (x0, y0, x1, y1, (x1 - x0) * (y1 - y0))


# --- FiftyOne --------------------------------------------------------------------------------------------------------


def keys_that_fiftyone_finds(data_path: str) -> dict[str, str]:
    """Its importer's map: every file below the folder by its relative path without the extension."""
    files = (os.path.join(folder, name) for folder, _, names in os.walk(data_path) for name in names)
    return {os.path.splitext(os.path.relpath(file, data_path))[0]: file for file in files}


@pytest.mark.parametrize("name", ["labels.json", "detections.json"])
def test_fiftyone_s_documented_schema(exported: Callable[[str], Path], labelled_run: Path, name: str) -> None:
    """fiftyone itself cannot be imported without starting a MongoDB: its documentation is what is checked."""
    folder = exported("fiftyone")
    facts = json.loads((folder / "export.json").read_text())
    assert facts["left_out"] == [NO_UTF8]
    found, source = keys_that_fiftyone_finds(facts["data_path"]), run_source(labelled_run)
    content = json.loads((folder / name).read_text())
    assert content.keys() == {"classes", "labels"}
    assert content["classes"] == list(source.labels.class_names)
    assert len(content["labels"]) == len(source.rows) - 1
    for key, labels in content["labels"].items():
        row = source.paths.index(found[key])
        shown = [c for c in source.classes_of(row) if name == "labels.json" or (row, c) in source.boxes]
        assert [item["label"] for item in labels] == shown
        for item in labels:
            assert 0 <= item["confidence"] <= 1
            assert item["attributes"]["source"] == "ccd"
            x, y, width, height = item.get("bounding_box", (0, 0, 1, 1))
            assert min(x, y) >= 0 < min(width, height)
            assert max(x + width, y + height) <= 1


def test_fiftyone_refuses_names_that_it_cannot_tell_apart(make_labelled_run: MakeRun) -> None:
    """a.jpg would silently get the labels of a.png."""
    root = make_labelled_run(["a.jpg", "a.png", "b.jpg", "c.jpg"])
    export_run(root, "fiftyone", "fixed", Console(quiet=True))  # a.jpg was rejected: there is nothing to confuse
    root = make_labelled_run(["0.jpg", "a.jpg", "a.png"])
    with pytest.raises(ValueError, match=r"'a\.jpg'.*'a\.png'.*leave fiftyone out"):
        export_run(root, "fiftyone", "fixed", Console(quiet=True))


# --- Label Studio ----------------------------------------------------------------------------------------------------


def tasks_of(folder: Path) -> list[dict[str, Any]]:
    return [task for file in sorted(folder.glob("tasks-*.json")) for task in json.loads(file.read_text())]


def test_label_studio_serves_the_right_files(exported: Callable[[str], Path], labelled_run: Path) -> None:
    """A percent sign or a hash in a name would cut the address; the document root must be above the images' folder."""
    folder = exported("label-studio")
    facts = json.loads((folder / "export.json").read_text())
    root = facts["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"]
    assert facts["local_storage_path"].startswith(root + os.sep)
    source = run_source(labelled_run)
    tasks = tasks_of(folder)
    assert [task["data"]["file_name"] for task in tasks] == [source.labels.file_names[row] for row in source.rows]
    for task, row in zip(tasks, source.rows, strict=True):
        address = urlsplit(task["data"]["image"])
        (path,) = parse_qs(address.query, errors="surrogateescape")["d"]
        assert (address.path, address.fragment) == ("/data/local-files/", "")
        assert os.path.join(root, path) == source.paths[row]


def test_label_studio_s_files_stay_small(labelled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if a large data set became one file that Label Studio refuses, or a task were lost at an edge."""
    from trainer.exports import label_studio

    source = run_source(labelled_run)
    monkeypatch.setattr(label_studio, "FILE_BYTES", 2500)
    facts = EXPORTS["label-studio"](source, tmp_path)
    files = sorted(tmp_path.glob("tasks-*.json"))
    assert len(files) == facts["files"] > 1
    assert all(file.stat().st_size <= 2500 for file in files)
    assert len(tasks_of(tmp_path)) == len(source.rows)


def test_label_studio_s_interface_is_xml_of_every_class(exported: Callable[[str], Path], labelled_run: Path) -> None:
    view = ElementTree.parse(exported("label-studio") / "config.xml").getroot()
    names = list(run_source(labelled_run).labels.class_names)
    assert [choice.get("value") for choice in view.iter("Choice")] == names
    assert [label.get("value") for label in view.iter("Label")] == names


def test_label_studio_s_own_validator_takes_every_prediction(exported: Callable[[str], Path]) -> None:
    """Predictions that looked fine were refused by a later version (Label Studio's PR 8062)."""
    sdk = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    folder = exported("label-studio")
    interface = sdk.LabelInterface((folder / "config.xml").read_text())
    predictions = [prediction for task in tasks_of(folder) for prediction in task["predictions"]]
    assert any(region["type"] == "rectanglelabels" for item in predictions for region in item["result"])
    for prediction in predictions:
        assert interface.validate_prediction(prediction, return_errors=True) == []
    broken = json.loads(json.dumps(predictions[-1]))
    broken["result"][0]["value"]["choices"] = ["no such class"]
    assert interface.validate_prediction(broken, return_errors=True), "the validator looks at nothing"


# --- Hugging Face ----------------------------------------------------------------------------------------------------


def test_hugging_face_s_datasets_loads_the_folder(
    exported: Callable[[str], Path], labelled_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would fail if labels came back as text, or an image beside another image's labels."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(exported("hf")), split="train", cache_dir=str(tmp_path))
    source = run_source(labelled_run)
    names = list(source.labels.class_names)
    assert loaded.features["labels"] == datasets.List(datasets.ClassLabel(names=names))
    assert loaded.features["probs"] == datasets.List(datasets.Value("float32"), length=len(names))
    rows = {row["image_id"]: row for row in loaded}
    assert rows.keys() == {source.labels.file_names[row] for row in source.rows}
    for row in source.rows:
        found = rows[source.labels.file_names[row]]
        assert found["labels"] == source.classes_of(row)
        np.testing.assert_array_equal(np.array(found["probs"], "f4"), source.labels.probs[row])
        assert found["image"].size == (40, 30)


def test_hugging_face_s_links_lead_to_the_images(exported: Callable[[str], Path], labelled_run: Path) -> None:
    """Names are numbered: what `datasets` takes for a pattern, or bytes that are no text, would not be found."""
    import pyarrow.parquet as pq

    folder = exported("hf") / "train"
    table = pq.read_table(folder / "metadata.parquet")
    source = run_source(labelled_run)
    links = [os.readlink(folder / name) for name in table["file_name"].to_pylist()]
    assert links == [source.paths[row] for row in source.rows]


# --- arrays of the single-positive literature ------------------------------------------------------------------------


def test_single_positive_arrays_go_out_and_in(
    exported: Callable[[str], Path], labelled_run: Path, tmp_path: Path
) -> None:
    """Would fail if a label or a name changed on the way, or another positive were told than was written."""
    folder = exported("npy")
    splits = open_data(f"npy:{folder}", classes=None, cache=tmp_path)
    source = run_source(labelled_run)
    assert splits.class_names == source.labels.class_names
    assert [str(sample.path) for sample in splits.train.samples] == [source.paths[row] for row in source.rows]
    assert [sample.image_id for sample in splits.train.samples] == [
        source.labels.file_names[row] for row in source.rows
    ]
    np.testing.assert_array_equal(splits.train.targets, source.given[source.rows])
    observed = splits.train.observed
    assert observed is not None
    assert (observed.sum(axis=1) == source.given[source.rows].any(axis=1)).all()
    assert (splits.train.targets[observed == 1] == 1).all()
    assert splits.validation is None
    arrays = [np.load(folder / f"formatted_train_{content}.npy") for content in ("images", "labels", "labels_obs")]
    assert [array.dtype.kind for array in arrays] == ["U", "f", "f"]


# --- all of them -----------------------------------------------------------------------------------------------------


def test_an_export_says_which_thresholds_made_it(make_labelled_run: MakeRun) -> None:
    """Would fail if a rule were applied silently, or an earlier export stayed beside the new one."""
    root = make_labelled_run([f"{i:02d}.jpg" for i in range(40)])
    quiet = Console(quiet=True)
    export_run(root, "csv", "fixed", quiet)
    before = read_csv(root / FOLDER / "csv/wide.csv")
    export_run(root, "csv, coco", "prior", quiet)
    facts = json.loads((root / FOLDER / "csv/export.json").read_text())
    assert facts["rule"] == "prior"
    after = read_csv(root / FOLDER / "csv/wide.csv")
    assert after != before
    labels = run_source(root).labels
    for c, name in enumerate(labels.class_names):
        expected = (labels.probs[:, c] >= facts["thresholds"][name]).sum()
        assert sum(int(row[name]) for row in after) == expected
    assert {row["annotation_source"] for row in read_csv(root / FOLDER / "csv/long.csv")} == {"ccd-prior"}
    coco = json.loads((root / FOLDER / "coco/instances.json").read_text())
    assert coco["info"]["thresholds"] == "prior"
    with pytest.raises(ValueError, match="50 reviewed images, and there are 0"):
        export_run(root, "csv", "reviewed", quiet)
    with pytest.raises(ValueError, match=r"--format yolo: .* known: csv, coco"):
        export_run(root, "yolo", "fixed", quiet)


def test_images_that_moved_are_named(make_labelled_run: MakeRun) -> None:
    root = make_labelled_run(["a.jpg", "b.jpg", "c.jpg"])
    (root.parent / "photos").rename(root.parent / "moved")
    with pytest.raises(ValueError, match="not where they were"):
        run_source(root)
