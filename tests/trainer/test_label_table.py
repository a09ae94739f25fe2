"""The table that people take away: the same after a write and a read, and readable without this project."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.label_table import LabelTable
from trainer.published_labels import LABELS, VIEWS


def table_of(file_names: list[str], class_names: tuple[str, ...], seed: int = 0) -> LabelTable:
    rng = np.random.default_rng(seed)
    probs = rng.uniform(0, 1, (len(file_names), len(class_names))).astype(np.float32)
    reviewed = rng.uniform(0, 1, probs.shape) < 0.2
    probs[reviewed] = probs[reviewed].round()
    if len(file_names) > 1:
        probs[-1], reviewed[-1] = np.nan, False
    sizes = rng.integers(1, 1000, (len(file_names), 2)).astype(np.int32)
    hashes = tuple(bytes([i % 256]) * 32 for i in range(len(file_names)))
    return LabelTable(class_names, tuple(file_names), sizes, probs, reviewed, hashes, "train", "clip", "ab" * 32, "1")


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=6, unique=True),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4, unique=True),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, file_names: list[str], class_names: list[str]
) -> None:
    """Would fail if any name, gap or a person's word were lost on the way."""
    table = table_of(file_names, tuple(class_names))
    path = tmp_path_factory.mktemp("table") / "labels.parquet"
    table.write(path)
    read = LabelTable.read(path)
    assert (read.file_names, read.class_names, read.hashes) == (table.file_names, table.class_names, table.hashes)
    np.testing.assert_array_equal(read.probs, table.probs)
    np.testing.assert_array_equal(read.reviewed, table.reviewed)
    np.testing.assert_array_equal(read.sizes, table.sizes)
    assert (read.split, read.clip, read.config_sha, read.version) == ("train", "clip", "ab" * 32, "1")


def test_columns_say_what_the_documentation_says(labelled_run: Path) -> None:
    """Other programs read the file by these names and types; a label that nobody gave must be null, not 0."""
    table = pq.read_table(labelled_run / LABELS)
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "file_name": "string", "width": "int32", "height": "int32", "probs": "fixed_size_list<element: float>[3]",
        "labels": "list<element: int16>", "label_names": "list<element: string>", "max_prob": "float",
        "entropy": "float", "uncertainty": "float", "reviewed": "list<element: int16>",
        "split": "dictionary<values=string, indices=int32, ordered=0>",
        "status": "dictionary<values=string, indices=int32, ordered=0>", "sha256": "fixed_size_binary[32]",
    }  # fmt: skip
    rows = table.to_pylist()
    assert [row["status"] for row in rows] == ["failed"] + ["ok"] * (len(rows) - 1)
    assert (rows[0]["probs"], rows[0]["labels"], rows[0]["entropy"]) == (None, None, None)
    assert (rows[1]["labels"], rows[1]["label_names"], rows[1]["max_prob"], rows[1]["uncertainty"]) == (
        [],
        [],
        0.25,
        0.5,
    )
    assert rows[1]["entropy"] == pytest.approx(0.8113, abs=1e-4)
    for row in rows[1:]:
        assert row["labels"] == [c for c, value in enumerate(row["probs"]) if value >= 0.5]
        assert (row["width"], row["height"], row["split"]) == (40, 30, "train")
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert json.loads(metadata["ccd.thresholds"]) == [0.5] * 3
    assert json.loads(metadata["ccd.clip"])["model"] == "tiny"
    assert {"ccd.classes", "ccd.config_sha", "ccd.version"} <= metadata.keys()


def test_views_get_their_number_and_their_probabilities_once(labelled_run: Path) -> None:
    """Would fail if publishing twice doubled a column, or a view stood beside another view's probabilities."""
    from trainer.published_labels import publish

    publish(labelled_run, split="train")
    table = pq.read_table(labelled_run / VIEWS)
    assert table.column_names == ["image", "file_name", "class", "class_name", "x0", "y0", "x1", "y1", "view", "probs"]
    np.testing.assert_array_equal(
        np.array(table["probs"].to_pylist(), "f4"), np.load(labelled_run / "labels/views.npy")
    )
    assert set(table["view"].to_pylist()) == {0}


def test_a_person_s_word_is_above_any_threshold() -> None:
    """A class that a person confirmed would fall out of an export with a high threshold."""
    table = table_of([f"{i}.jpg" for i in range(50)], ("cat", "dog"))
    for threshold in (0.0, 0.3, 1.0):
        given_NC = table.given(threshold)
        assert (given_NC[table.reviewed] == (table.probs[table.reviewed] == 1)).all()
        assert not given_NC[-1].any()
        others = ~table.reviewed[:-1]
        assert (given_NC[:-1][others] == (table.probs[:-1][others] >= threshold)).all()


def test_no_labels_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ccd label"):
        LabelTable.read(tmp_path / "labels.parquet")
