"""Tables and figures of a study, from the files that its runs leave."""

import csv
import json
from pathlib import Path

import pytest

from trainer.methods import METHODS
from trainer.presets import METHOD_PRESETS
from trainer.studies import STUDIES, TABLE1, TABLE2
from trainer.study_report import write_report
from trainer.study_results import Results

CLASSES = ("cat", "dog", "tree")


def make_run(folder: Path, validation: float, precisions: tuple[float, ...] = (90.0, 80.0, 70.0)) -> Path:
    (folder / "labels").mkdir(parents=True)
    summary = {
        "map": {"validation": validation, "validation_best_epoch": validation + 1, "final_labels": 75.0},
        "images": 10,
        "clip_forward_passes": 60,
        "seconds": {"warmup": 10.0, "training": 20.0},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    bias = {"classes": CLASSES, "bias": [0.9, 0.5, 0.7], "counts": [3, 4, 2]}
    (folder / "labels" / "bias.json").write_text(json.dumps(bias))
    lines = [f"{name},{value},5" for name, value in zip(CLASSES, precisions, strict=True)]
    (folder / "per_class.csv").write_text("\n".join(["class,average_precision,positives", *lines]))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Two seeds of each row of every study."""
    rows = {row.name: row for study in STUDIES.values() for row in study.rows}
    return {
        name: [make_run(tmp_path / row.name / str(seed), 60 + 2 * seed) for seed in range(2)]
        for name, row in rows.items()
    }


def read(output: Path, study: str) -> list[list[str]]:
    with (output / f"{study}.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_rows_stand_beside_the_published_figures(results: Results, tmp_path: Path) -> None:
    write_report("table2", results, tmp_path, "voc12")
    header, first, *_ = read(tmp_path, "table2")
    assert dict(zip(header, first, strict=True)) == {
        "method": "no module",
        "validation mAP": "61.0 ± 1.4",
        "best epoch (oracle)": "62.0 ± 1.4",
        "label mAP": "75.0 ± 0.0",
        "paper, voc12": "86.4",
        "CLIP passes per image": "6.0",
        "seconds": "30",
    }
    assert (tmp_path / "table2.md").read_text().count("\n") == 2 + len(TABLE2.rows)


def test_each_data_set_has_its_own_published_column(results: Results, tmp_path: Path) -> None:
    write_report("table1", results, tmp_path, "coco14")
    rows = {row[0]: row for row in read(tmp_path, "table1")}
    assert rows["CCD, CLIP"][4] == "70.3"
    assert rows["SARB, 10 % of the entries"][4] == "72.5"


def test_the_classes_of_table_3_are_those_with_the_lowest_bias(results: Results, tmp_path: Path) -> None:
    write_report("table3", results, tmp_path, "demo")
    header, first, _ = read(tmp_path, "table3")
    assert header[:3] == ["method", "dog", "tree"]
    assert first[1:3] == ["80.0 ± 0.0", "70.0 ± 0.0"]


def test_the_bias_is_listed_from_the_lowest(results: Results, tmp_path: Path) -> None:
    write_report("fig2", results, tmp_path, "demo")
    assert [row[0] for row in read(tmp_path, "fig2")] == ["class", "dog", "tree", "cat"]


@pytest.mark.parametrize(
    ("study", "texts"),
    [
        ("table1", ["CCD, CLIP", "Naive AN, CLIP", "paper, voc12"]),
        ("table2", ["no module", "validation mAP in %", "paper, voc12"]),
        ("table3", ["dog", "tree", "update + consistency", "AP in %"]),
        ("fig2", ["cat", "mean top-1 probability"]),
        ("fig3", ["around boxes", "grid"]),
        ("fig6a", ["mean views", "14"]),
        ("fig6b", ["alpha", "0.8"]),
    ],
)
def test_each_study_is_drawn_the_same_each_time(results: Results, tmp_path: Path, study: str, texts: list[str]) -> None:
    """A figure in a repository would change with every run."""
    write_report(study, results, tmp_path, "demo")
    first = (tmp_path / f"{study}.svg").read_text()
    assert all(text in first for text in texts)
    write_report(study, results, tmp_path, "demo")
    assert (tmp_path / f"{study}.svg").read_text() == first


def test_without_targets_there_is_a_table_and_nothing_to_draw(tmp_path: Path) -> None:
    results: Results = {}
    for row in TABLE2.rows:
        results[row.name] = [make_run(tmp_path / row.name, 60)]
        summary = json.loads((tmp_path / row.name / "summary.json").read_text())
        (tmp_path / row.name / "summary.json").write_text(json.dumps(summary | {"map": {}}))
    write_report("table2", results, tmp_path, "folder")
    assert {line[1] for line in read(tmp_path, "table2")[1:]} == {"-"}
    assert not (tmp_path / "table2.svg").exists()


def test_every_method_has_its_preset_and_its_row() -> None:
    """One that is forgotten somewhere could not be run, or would be missing from the table."""
    assert METHODS.keys() == METHOD_PRESETS.keys()
    assert {row.settings["method"] for row in TABLE1.rows} == METHODS.keys()
