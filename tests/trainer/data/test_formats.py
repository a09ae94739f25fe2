"""DATA on the command line: every known format, and what is said about others."""

import json
import tarfile

import pytest
from PIL import Image

from trainer.data.coco import CLASS_NAMES as COCO_NAMES
from trainer.data.formats import FORMATS, open_data

CAT = {"2008_1": [("cat", False)]}
DOG = {"2008_2": [("dog", False)]}


def test_plain_folder_needs_classes(tmp_path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert len(open_data(str(tmp_path), classes="cat, dog", cache=tmp_path).train) == 1
    assert len(open_data(f"folder:{tmp_path}", classes="cat, dog", cache=tmp_path).train) == 1
    with pytest.raises(ValueError, match="--classes"):
        open_data(str(tmp_path), classes=None, cache=tmp_path)


@pytest.mark.parametrize(
    ("spec", "files", "splits"),
    [
        ("voc12", ("train", "val", "trainval"), ("train", "val")),
        ("voc07", ("train", "val", "trainval", "test"), ("trainval", "test")),
        ("voc", ("train", "val", "trainval", "test"), ("train", "val")),
        ("voc", ("trainval", "test"), ("trainval", "test")),
        ("voc", ("train",), ("train", None)),
    ],
)
def test_voc_splits(make_voc, tmp_path, spec, files, splits) -> None:
    """The benchmark's own splits: training on another one is not comparable with the paper."""
    root = make_voc(dict.fromkeys(files, CAT))
    data = open_data(f"{spec}:{root}", classes=None, cache=tmp_path)
    assert (data.train.name, data.validation and data.validation.name) == splits


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("coco14", r"annotations in .*instances_train2014\.json"),
        ("nuswide", "no NUS-WIDE folder"),
        ("nuswide-official", r"concepts in .*Concepts81\.txt"),
        ("nuswide-npy", r"array in .*formatted_train_images\.npy"),
        ("csv", "there is no table"),
        ("parquet", "there is no table"),
        ("imagefolder", "one folder per class"),
        ("webdataset", "give --classes"),
    ],
)
def test_every_format_has_its_reader(tmp_path, spec, message) -> None:
    with pytest.raises(ValueError, match=message):
        open_data(f"{spec}:{tmp_path}", classes=None, cache=tmp_path)


def test_all_images_reaches_coco(tmp_path) -> None:
    (tmp_path / "annotations").mkdir()
    categories = [{"id": column, "name": name} for column, name in enumerate(COCO_NAMES)]
    content = {"images": [], "annotations": [], "categories": categories}
    (tmp_path / "annotations/instances_train2014.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"lists no image with an annotation$"):
        open_data(f"coco14:{tmp_path}", classes=None, cache=tmp_path)
    with pytest.raises(ValueError, match=r"lists no image$"):
        open_data(f"coco14:{tmp_path}", classes=None, all_images=True, cache=tmp_path)


def test_pattern_and_cache_reach_the_shards(tmp_path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "a.png")
    data = open_data(f"webdataset:{tmp_path}/{{0..0}}.tar", classes="cat", cache=tmp_path / "cache")
    assert tmp_path / "cache" in data.train.samples[0].path.parents


def test_only_benchmarks_have_published_counts(make_voc, tmp_path) -> None:
    """A user's own data set in VOC's layout is not wrong for being of another size."""
    root = make_voc(dict.fromkeys(("train", "val", "trainval", "test"), CAT))
    published = [
        open_data(f"{spec}:{root}", classes=None, cache=tmp_path).published for spec in ("voc", "voc07", "voc12")
    ]
    assert [counts and (counts[0].images, counts[1].images) for counts in published] == [
        None,
        (5_011, 4_952),
        (5_717, 5_823),
    ]


def test_options_reach_the_reader(make_voc, tmp_path) -> None:
    root = make_voc({"train": {"2008_1": [("cat", True)]}, "val": DOG})
    data = open_data(f"voc:{root}", classes="dog, cat", difficult="ignore", cache=tmp_path)
    assert data.class_names == ("dog", "cat")
    assert data.train.targets.tolist() == [[0, -1]]


def test_unknown_format_lists_the_known_ones(tmp_path) -> None:
    with pytest.raises(ValueError, match="unknown data format 'vok'") as error:
        open_data("vok:/data", classes=None, cache=tmp_path)
    assert all(name in str(error.value) for name in FORMATS)


def test_folder_whose_name_has_a_colon(tmp_path) -> None:
    folder = tmp_path / "2024-01-01 12:30"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    assert len(open_data(str(folder), classes="cat", cache=tmp_path).train) == 1


def test_demo_is_drawn_once(tmp_path, monkeypatch) -> None:
    """The second run reads what the first one drew, and finds nothing else in the cache."""
    monkeypatch.setattr("trainer.data.formats.DEMO_TRAIN", 6)
    monkeypatch.setattr("trainer.data.formats.DEMO_VAL", 3)
    first = open_data("demo", classes=None, cache=tmp_path / "cache")
    drawn = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    second = open_data("demo", classes=None, cache=tmp_path / "cache")
    assert (len(first.train), len(first.validation)) == (6, 3)
    assert first.train.samples == second.train.samples
    assert first.train.targets.any()
    assert [path.name.startswith("demo-6-3-") for path in (tmp_path / "cache").iterdir()] == [True]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == drawn
