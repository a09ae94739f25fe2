"""COCO 2014 folders: which images count, which column a category is, and files that are not as COCO's."""

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.coco import CLASS_NAMES, read_coco

# COCO's category ids: of 1 to 90, these ten have no category.
IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
PERSON, CAT, TOOTHBRUSH = 1, 17, 90

# By image id: the category of each annotation, and whether it is a crowd.
TRAIN = {30: [(CAT, 0), (CAT, 0), (PERSON, 0)], 9: [(PERSON, 1)], 25: []}
VAL = {42: [(TOOTHBRUSH, 0)], 73: []}


def instances_file(root: Path, split: str) -> Path:
    return root / "annotations" / f"instances_{split}.json"


def write_split(root: Path, split: str, images: dict[int, list[tuple[int, int]]]) -> None:
    """The official file, with the sections and keys that a reader has no use for too, and small images."""
    names = {image_id: f"COCO_{split}_{image_id:012d}.jpg" for image_id in images}
    boxes = [(image_id, *box) for image_id, found in images.items() for box in found]
    content = {
        "info": {"year": 2014},
        "licenses": [{"id": 1, "name": "CC"}],
        "images": [{"id": i, "file_name": name, "width": 8, "height": 6, "license": 1} for i, name in names.items()],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": category,
                "iscrowd": crowd,
                "segmentation": {"counts": [2, 3], "size": [6, 8]} if crowd else [[0.5, 1.5, 3, 4, 5, 6]],
                "bbox": [0, 0, 3, 4],
            }
            for number, (image_id, category, crowd) in enumerate(boxes)
        ],
        "categories": [
            {"id": number, "name": name, "supercategory": "thing"}
            for number, name in zip(reversed(IDS), reversed(CLASS_NAMES), strict=True)
        ],
    }
    for folder in ("annotations", split):
        (root / folder).mkdir(parents=True, exist_ok=True)
    instances_file(root, split).write_text(json.dumps(content))
    for name in names.values():
        Image.new("RGB", (8, 6)).save(root / split / name)


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    write_split(tmp_path, "train2014", TRAIN)
    write_split(tmp_path, "val2014", VAL)
    return tmp_path


def edit(root: Path, change) -> None:
    file = instances_file(root, "train2014")
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def present(image_set) -> dict[str, set[str]]:
    return {
        sample.image_id: {CLASS_NAMES[c] for c in np.flatnonzero(row)}
        for sample, row in zip(image_set.samples, image_set.targets, strict=True)
    }


def test_annotations_become_targets(coco) -> None:
    """Crowds count, the image without annotation does not; category 90 is the last of eighty columns."""
    splits = read_coco(coco, class_names=None)
    assert present(splits.train) == {
        "COCO_train2014_000000000009": {"person"},
        "COCO_train2014_000000000030": {"cat", "person"},
    }
    assert splits.validation is not None
    assert present(splits.validation) == {"COCO_val2014_000000000042": {"toothbrush"}}
    assert splits.validation.targets[0, 79] == 1
    assert splits.train.targets.dtype == np.int8
    assert all(sample.path.is_file() for sample in splits.train.samples)
    assert splits.prompt.format("cat") == "a photo of the cat"


def test_class_names_are_the_published_ones() -> None:
    assert len(set(CLASS_NAMES)) == 80
    assert (CLASS_NAMES[0], CLASS_NAMES[9], CLASS_NAMES[-1]) == ("person", "traffic light", "toothbrush")


def test_all_images_on_request(coco) -> None:
    """82,783 images and not the literature's 82,081."""
    splits = read_coco(coco, class_names=None, all_images=True)
    assert present(splits.train)["COCO_train2014_000000000025"] == set()
    assert (len(splits.train), len(splits.validation)) == (3, 2)


def test_some_of_the_classes(coco) -> None:
    """The images stay the same: one without the classes asked for is a negative, not gone."""
    splits = read_coco(coco, class_names=("Cat", "hot_dog"))
    assert splits.train.targets.tolist() == [[0, 0], [1, 0]]
    with pytest.raises(ValueError, match=r"COCO 2014 has no class 'sofa'; it has 80: person, bicycle, car, \.\.\."):
        read_coco(coco, class_names=("cat", "sofa"))


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("annotations/instances_val2014.json", r"annotations in .*instances_val2014\.json, which does not exist"),
        (
            "train2014/COCO_train2014_000000000030.jpg",
            r"expected image .*000000000030\.jpg, which .*instances_train2014\.json names; 1 of its 2 images",
        ),
        ("train2014", r"expected image .*; 2 of its 2 images are missing"),
    ],
)
def test_what_is_missing_is_named(coco, removed, message) -> None:
    target = coco / removed
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(ValueError, match=message) as error:
        read_coco(coco, class_names=None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["annotations"][0].update(category_id=12), "image 30 has category_id 12"),
        (lambda content: content["annotations"][0].update(image_id=7), "an annotation is of image 7"),
        (lambda content: content.update(annotations=[]), "lists no image with an annotation"),
        (lambda content: content.pop("categories"), "expected the lists annotations, categories, images"),
        (lambda content: content["categories"][0].update(name="comb"), "eighty categories: comb, toothbrush"),
        (lambda content: content["categories"][0].update(id=0), "eighty categories: another order"),
    ],
)
def test_what_is_odd_is_named(coco, change, message) -> None:
    edit(coco, change)
    with pytest.raises(ValueError, match=message):
        read_coco(coco, class_names=None)


def test_what_is_no_json_is_named(coco) -> None:
    instances_file(coco, "val2014").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"instances_val2014\.json is not JSON"):
        read_coco(coco, class_names=None)


def test_polygons_are_not_kept(coco) -> None:
    """As Python numbers, the coordinates of the real 450 MB take gigabytes."""
    polygon = [[i + 0.5 for i in range(2000)]]
    edit(coco, lambda content: content["annotations"][0].update(segmentation=polygon))
    edit(coco, lambda content: content["annotations"].extend(content["annotations"][:1] * 100))
    size = instances_file(coco, "train2014").stat().st_size
    tracemalloc.start()
    read_coco(coco, class_names=None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * size, "the file's bytes and their text, and little beside"
