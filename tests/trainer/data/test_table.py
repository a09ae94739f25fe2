"""Tables of images: CSV and Parquet say the same, and an odd cell is named by row and column."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from trainer.data.table import read_csv, read_parquet

CSV = "file_name,cat,split,Hot dog\na.jpg,1,train,-1\nsub/b.jpg,0,val,1\nc.jpg,0,train,0\n"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a.jpg", "sub/b.jpg", "c.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    file = folder / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_csv(images) -> None:
    splits = read_csv(write(images, CSV), class_names=None)
    assert splits.class_names == ("cat", "Hot dog")
    assert [sample.image_id for sample in splits.train.samples] == ["a.jpg", "c.jpg"]
    assert splits.train.targets.tolist() == [[1, -1], [0, 0]]
    assert splits.validation is not None
    assert (splits.train.name, splits.validation.name) == ("train", "val")
    assert splits.validation.samples[0].path == images / "sub/b.jpg"
    assert splits.validation.targets.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("cat", "kind"),
    [
        ([1, 0, 0], pa.int8()),
        ([1.0, 0.0, 0.0], pa.float32()),
        ([True, False, False], pa.bool_()),
        (["1", "0", " 0"], None),
    ],
)
def test_parquet_of_any_type_equals_csv(images, cat, kind) -> None:
    """pandas writes floats where a column once had gaps; they are no other labels."""
    names = pa.array(["a.jpg", "sub/b.jpg", "c.jpg"]).dictionary_encode()
    table = pa.table({"file_name": names, "cat": pa.array(cat, kind), "Hot dog": [-1, 1, 0]})
    pq.write_table(table.append_column("split", [["train", "val", "train"]]), images / "labels.parquet")
    parquet = read_parquet(images / "labels.parquet", class_names=None)
    csv = read_csv(write(images, CSV), class_names=None)
    assert parquet.train.samples == csv.train.samples
    assert parquet.train.targets.tolist() == csv.train.targets.tolist()
    assert parquet.validation.targets.tolist() == csv.validation.targets.tolist()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(*[st.sampled_from((-1, 0, 1))] * 2), min_size=3, max_size=3))
def test_targets_are_the_cells(images, rows) -> None:
    names = ("a.jpg", "sub/b.jpg", "c.jpg")
    lines = [f"{cat},{name},{dog}" for name, (cat, dog) in zip(names, rows, strict=True)]
    splits = read_csv(write(images, "\n".join(["cat,file_name,dog", *lines])), class_names=None)
    assert splits.train.targets.tolist() == [list(row) for row in rows]
    assert splits.validation is None


def test_some_of_the_classes(images) -> None:
    file = write(images, CSV)
    assert read_csv(file, class_names=("hot_dog",)).train.targets.tolist() == [[-1], [0]]
    with pytest.raises(ValueError, match=r"labels\.csv has no class 'dog'; it has 2: cat, Hot dog"):
        read_csv(file, class_names=("dog",))


def test_paths_alone_need_classes_and_have_no_targets(images) -> None:
    file = write(images, "file_name\na.jpg\nc.jpg\n")
    splits = read_csv(file, class_names=("cat", "dog"))
    assert len(splits.train) == 2
    assert splits.train.targets is None
    with pytest.raises(ValueError, match="no column of a class: give --classes"):
        read_csv(file, class_names=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CSV.replace("c.jpg,0", "c.jpg,yes"), r"row 3 \(c\.jpg\), column 'cat': expected 1, 0 or -1, got 'yes'"),
        (CSV.replace("c.jpg,0", "c.jpg,"), r"row 3 \(c\.jpg\), column 'cat': expected 1, 0 or -1, got ''"),
        (CSV.replace("c.jpg,0", "c.jpg,2"), "column 'cat': expected 1, 0 or -1, got '2'"),
        (CSV.replace("c.jpg,0", "c.jpg,0.5"), "column 'cat': expected 1, 0 or -1, got '0.5'"),
        (CSV.replace("val", "test"), r"row 2 \(sub/b\.jpg\), column 'split': expected train or val, got 'test'"),
        (CSV.replace("val", "train"), "no row of column 'split' says val"),
        (CSV.replace("sub/b.jpg", "b.jpg"), r"expected image .*/b\.jpg, which .* names; 1 of its 3 images"),
        (CSV.replace("sub/b.jpg", "a.jpg"), r"row 2 names a\.jpg, as row 1 does"),
        (CSV.replace("sub/b.jpg", ""), "row 2, column 'file_name': expected an image's path, got ''"),
        (CSV.replace("file_name", "image"), "has no column 'file_name' with the images' paths; it has image, cat"),
        (CSV.replace("Hot dog", "cat"), "columns with different names, got 'file_name', 'cat', 'split', 'cat'"),
        (CSV.replace("Hot dog", ""), "columns with different names"),
        (CSV.replace("a.jpg,1", "a.jpg"), r"labels\.csv cannot be read: .*Expected 4 columns, got 3"),
        (CSV.splitlines()[0] + "\n", "lists no image"),
        ("", "cannot be read: Empty CSV file"),
    ],
)
def test_what_is_odd_is_named(images, text, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_csv(write(images, text), class_names=None)
    assert "\n" not in str(error.value)


def test_odd_cells_of_parquet_are_named(images) -> None:
    for value, shown in ((None, "None"), ([1, 0], r"\[1, 0\]")):
        pq.write_table(pa.table({"file_name": ["a.jpg"], "cat": [value]}), images / "labels.parquet")
        with pytest.raises(ValueError, match=rf"row 1 \(a\.jpg\), column 'cat': expected 1, 0 or -1, got {shown}"):
            read_parquet(images / "labels.parquet", class_names=None)


def test_what_is_no_table_is_named(images) -> None:
    with pytest.raises(ValueError, match="there is no table"):
        read_csv(images / "none.csv", class_names=None)
    with pytest.raises(ValueError, match=r"a\.jpg cannot be read: .*Parquet"):
        read_parquet(images / "a.jpg", class_names=None)
