"""COCO 2014 folders (https://cocodataset.org): images, and targets from the files of object instances."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.classes import columns_of
from trainer.data.sample import DataSplits, ImageSet, Published, Sample, require_files

PROMPT = "a photo of the {}"  # paper section 4.1

# As published, in the order of their category ids, which have gaps (1 to 90).
CLASS_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)  # fmt: skip

# Images: paper section 4.1, those of 82,783 and 40,504 with an annotation. Labels: counted on the lists of these images
# in https://github.com/akang-wang/PIAA.
PUBLISHED = (Published(82_081, 2.94), Published(40_137, 2.90))

# What is kept of the JSON: the polygons, nearly all of its 450 MB, are dropped as they are parsed.
_SECTIONS = {"images", "annotations", "categories"}
_KEPT = _SECTIONS | {"id", "file_name", "image_id", "category_id", "name"}


def read_coco(path: Path, *, class_names: tuple[str, ...] | None, all_images: bool = False) -> DataSplits:
    """Reads annotations/instances_{train,val}2014.json and the images of train2014/ and val2014/ below `path`.

    class_names: COCO's eighty when None; some of them otherwise.
    all_images: also the images without any annotation, which the literature leaves out.
    A class is present where it has an annotation, crowds (iscrowd) included.
    Raises ValueError, in one line, for a file that is missing or not as expected.
    """
    names = class_names or CLASS_NAMES
    columns = columns_of(names, CLASS_NAMES, "COCO 2014")
    train, val = (_read_split(path, split, columns, all_images) for split in ("train2014", "val2014"))
    return DataSplits(names, PROMPT, train, val, PUBLISHED)


def _read_split(path: Path, split: str, columns: list[int], all_images: bool) -> ImageSet:
    file = path / "annotations" / f"instances_{split}.json"
    instances = _parse(file)
    images = sorted(instances["images"], key=lambda image: image["id"])
    row_of = {image["id"]: row for row, image in enumerate(images)}
    column_of = {category["id"]: CLASS_NAMES.index(category["name"]) for category in instances["categories"]}
    targets = np.zeros((len(images), len(CLASS_NAMES)), np.int8)
    for item in instances["annotations"]:
        image_id, category_id = item["image_id"], item["category_id"]
        if image_id not in row_of:
            raise ValueError(f"{file}: an annotation is of image {image_id}, which 'images' does not list")
        if category_id not in column_of:
            raise ValueError(
                f"{file}: image {image_id} has category_id {category_id}, which 'categories' does not list"
            )
        targets[row_of[image_id], column_of[category_id]] = 1

    kept = np.arange(len(images)) if all_images else np.flatnonzero(targets.any(axis=1))
    if len(kept) == 0:
        raise ValueError(f"{file} lists no image{'' if all_images else ' with an annotation'}")
    files = [path / split / images[row]["file_name"] for row in kept]
    samples = tuple(Sample(image.stem, image) for image in files)
    require_files(samples, file)
    return ImageSet(split, samples, targets[kept][:, columns])


def _parse(file: Path) -> dict[str, Any]:
    """The lists `images`, `annotations` and `categories`, their entries reduced to what is needed."""
    try:
        with file.open(encoding="utf-8") as stream:
            instances = json.load(stream, object_hook=lambda item: {key: item[key] for key in item.keys() & _KEPT})
    except FileNotFoundError:
        raise ValueError(f"expected COCO's annotations in {file}, which does not exist") from None
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not isinstance(instances, dict) or not instances.keys() >= _SECTIONS:
        raise ValueError(f"{file} holds no object instances: expected the lists {', '.join(sorted(_SECTIONS))}")
    names = tuple(item["name"] for item in sorted(instances["categories"], key=lambda item: item["id"]))
    if names != CLASS_NAMES:
        odd = sorted({*names} ^ {*CLASS_NAMES}) or ["another order"]
        raise ValueError(f"{file} has not COCO's eighty categories: {', '.join(odd[:3])}")
    return instances
