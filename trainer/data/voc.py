"""Pascal VOC folders (http://host.robots.ox.ac.uk/pascal/VOC): image lists, and targets from XML or class lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from trainer.data.classes import spelling_key
from trainer.data.sample import DataSplits, ImageSet, Published, Sample

Difficult = Literal["negative", "ignore", "positive"]

PROMPT = "a photo of the {}"  # paper section 4.1

# In VOC's own order. Three names are spelt as words, as in the released code's prompts; VOC's files join them.
CLASS_NAMES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "dining table",
    "dog",
    "horse",
    "motorbike",
    "person",
    "potted plant",
    "sheep",
    "sofa",
    "train",
    "tv monitor",
)

# Images: paper section 4.1. Labels: Table 1 of each year's development kit (the site's voc2007/htmldoc and
# voc2012/htmldoc) lists for every class the images with an object that is not difficult. Their sums are 7,306 for 2007,
# 8,331 and 8,351 for 2012; 7,013 for the test set of 2007 is from the site's database statistics.
PUBLISHED_2007 = (Published(5_011, 1.46), Published(4_952, 1.42))
PUBLISHED_2012 = (Published(5_717, 1.46), Published(5_823, 1.43))

# A class of an image: 1 present, 0 present only in objects marked difficult, -1 absent (the class lists' own code).
_PRESENT, _DIFFICULT_ONLY, _ABSENT = 1, 0, -1
_Presence = NDArray[np.int8]


def read_voc(
    path: Path,
    *,
    class_names: tuple[str, ...] | None,
    train_split: str,
    val_split: str | None,
    difficult: Difficult = "negative",
) -> DataSplits:
    """Reads one VOC20xx folder; path may also be a folder that holds exactly one.

    class_names: VOC's twenty when None. Names match VOC's without regard to case, spaces, "_" and "-".
    difficult: what a class counts as in an image where all its objects are marked difficult; "negative" is what the
    paper's family of methods does, "ignore" leaves the entry out of the evaluation.
    Targets come from Annotations/; without that folder from ImageSets/Main/CLASS_SPLIT.txt; without those, None.
    Raises ValueError, in one line, for a file that is missing or not as expected.
    """
    if difficult not in get_args(Difficult):
        raise ValueError(f"difficult must be one of {', '.join(get_args(Difficult))}, got '{difficult}'")
    root = _find_root(path)
    names = class_names or CLASS_NAMES
    images = _images_by_id(root / "JPEGImages")
    value_of = np.zeros(3, np.int8)  # indexed by presence; -1 is the last entry, and stays 0: absent
    value_of[_PRESENT] = 1
    value_of[_DIFFICULT_ONLY] = {"negative": 0, "ignore": -1, "positive": 1}[difficult]

    def read_split(split: str) -> ImageSet:
        ids = _read_ids(root / "ImageSets" / "Main" / f"{split}.txt")
        for image_id in ids:
            if image_id not in images:
                raise ValueError(f"{root}/JPEGImages has no {image_id}.jpg, .jpeg or .png, which {split}.txt names")
        presence = _read_presence(root, split, ids, names)
        targets = None if presence is None else value_of[presence]
        return ImageSet(split, tuple(Sample(image_id, images[image_id]) for image_id in ids), targets)

    return DataSplits(names, PROMPT, read_split(train_split), read_split(val_split) if val_split else None)


def has_split(path: Path, split: str) -> bool:
    """Whether the VOC folder lists the images of this split. Raises ValueError where path holds no VOC folder."""
    return (_find_root(path) / "ImageSets" / "Main" / f"{split}.txt").is_file()


def _find_root(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    # VOC2012 itself, VOCdevkit, or the folder that the archive was unpacked in
    for folders in ([path], path.glob("*"), path.glob("*/*")):
        roots = sorted(folder for folder in folders if (folder / "ImageSets" / "Main").is_dir())
        if len(roots) == 1:
            return roots[0]
        if roots:
            raise ValueError(f"{path} holds {len(roots)} VOC folders, give one of them: {', '.join(map(str, roots))}")
    raise ValueError(f"{path} is no VOC folder: expected {path}/ImageSets/Main with the lists of images")


def _images_by_id(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"expected the images in {folder}, which is no folder")
    return {file.stem: file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png")}


def _read_ids(file: Path) -> list[str]:
    """The first column; a second one, if any, is the class lists' presence."""
    if not file.is_file():
        raise ValueError(f"expected the image ids of split '{file.stem}' in {file}, which does not exist")
    ids = [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
    if not ids:
        raise ValueError(f"{file} lists no image")
    return ids


def _read_presence(root: Path, split: str, ids: Sequence[str], class_names: Sequence[str]) -> _Presence | None:
    columns = {spelling_key(name): column for column, name in enumerate(class_names)}
    if (root / "Annotations").is_dir():
        return np.stack([_annotated_presence(root / "Annotations" / f"{image_id}.xml", columns) for image_id in ids])

    suffix = f"_{split}.txt"
    files = {
        spelling_key(file.name.removesuffix(suffix)): file for file in (root / "ImageSets" / "Main").glob(f"*{suffix}")
    }
    if not files:
        return None
    for name in class_names:
        if spelling_key(name) not in files:
            raise ValueError(f"expected {root}/ImageSets/Main/{name}{suffix}, as other classes have such a file")
    return np.stack([_listed_presence(files[key], ids) for key in columns], axis=1)


def _annotated_presence(file: Path, columns: dict[str, int]) -> _Presence:
    """(C,) from one image's objects; those of classes that were not asked for are passed over."""
    presence = np.full(len(columns), _ABSENT, np.int8)
    try:
        objects = ElementTree.parse(file).getroot().findall("object")
    except FileNotFoundError:
        raise ValueError(f"expected the image's objects in {file}, which does not exist") from None
    except ElementTree.ParseError as error:
        raise ValueError(f"{file} is not XML: {error}") from None
    for item in objects:
        column = columns.get(spelling_key(item.findtext("name", "")))
        if column is not None:
            is_difficult = item.findtext("difficult", "0").strip() == "1"
            presence[column] = max(presence[column], _DIFFICULT_ONLY if is_difficult else _PRESENT)
    return presence


def _listed_presence(file: Path, ids: Sequence[str]) -> _Presence:
    """(N,) of one class, from lines "2008_000008 -1"."""
    presence_of: dict[str, int] = {}
    for line in file.read_text().splitlines():
        match line.split():
            case [image_id, ("1" | "0" | "-1") as presence]:
                presence_of[image_id] = int(presence)
            case [_, *_]:
                raise ValueError(f"{file}: expected an image id and 1, 0 or -1, got '{line}'")
    for image_id in ids:
        if image_id not in presence_of:
            raise ValueError(f"{file} has no line for image {image_id}")
    return np.array([presence_of[image_id] for image_id in ids], np.int8)


def read_boxes(image: Path) -> NDArray[np.int32]:
    """(k, 4) x0 y0 x1 y1, half-open, in pixels, of all annotated objects of an image in a VOC folder.

    Raises ValueError where the folder has no annotation of it.
    """
    file = image.parents[1] / "Annotations" / f"{image.stem}.xml"
    try:
        objects = ElementTree.parse(file).getroot().findall("object")
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(f"expected the objects of {image.name} in {file}: {error}") from None
    sides = ("xmin", "ymin", "xmax", "ymax")
    boxes = np.array([[float(item.findtext(f"bndbox/{side}", "nan")) for side in sides] for item in objects])
    return (boxes.reshape(-1, 4).round() - (1, 1, 0, 0)).astype(np.int32)  # VOC counts from 1 and includes both ends
