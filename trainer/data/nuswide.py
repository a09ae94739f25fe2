"""NUS-WIDE folders, 81 concepts: the official lists, or the arrays of the single-positive literature's own split."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.data.classes import columns_of
from trainer.data.npy_folder import read_arrays
from trainer.data.sample import DataSplits, ImageSet, Published, Sample, require_files

Layout = Literal["official", "npy"]

PROMPT = "a photo of a {}"  # paper section 4.1: on this data set alone "a"

# ConceptsList/Concepts81.txt, in its order: the columns of the arrays, which carry no names.
CLASS_NAMES = (
    "airport", "animal", "beach", "bear", "birds", "boats", "book", "bridge", "buildings", "cars", "castle", "cat",
    "cityscape", "clouds", "computer", "coral", "cow", "dancing", "dog", "earthquake", "elk", "fire", "fish",
    "flags", "flowers", "food", "fox", "frost", "garden", "glacier", "grass", "harbor", "horses", "house", "lake",
    "leaf", "map", "military", "moon", "mountain", "nighttime", "ocean", "person", "plane", "plants", "police",
    "protest", "railroad", "rainbow", "reflection", "road", "rocks", "running", "sand", "sign", "sky", "snow",
    "soccer", "sports", "statue", "street", "sun", "sunset", "surf", "swimmers", "tattoo", "temple", "tiger",
    "tower", "town", "toy", "train", "tree", "valley", "vehicle", "water", "waterfall", "wedding", "whales",
    "window", "zebra",
)  # fmt: skip

# official: https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html. npy: paper section 4.1,
# which rounds the test set to 60,200; its size and labels were counted on the list in
# https://github.com/akang-wang/PIAA. Figures on one split say nothing about the other.
PUBLISHED: dict[Layout, tuple[Published, Published]] = {
    "official": (Published(161_789), Published(107_859)),
    "npy": (Published(150_000), Published(60_260, 1.88)),
}

_MARKS: dict[Layout, str] = {"official": "ImageList", "npy": "formatted_*.npy"}  # what only this layout has


def read_nuswide(path: Path, *, class_names: tuple[str, ...] | None, layout: Layout | None = None) -> DataSplits:
    """Reads a folder with the images in Flickr/ or images/ and one of two layouts of lists:

    official: ImageList/{Train,Test}Imagelist.txt, ConceptsList/Concepts81.txt and
    Groundtruth/TrainTestLabels/Labels_CONCEPT_{Train,Test}.txt.
    npy: formatted_{train,val}_images.npy, (N,) text, and formatted_{train,val}_labels.npy, (N, 81) of 0 and 1.
    class_names: the 81 concepts when None; some of them otherwise.
    layout: the one that is there when None.
    Raises ValueError, in one line, for a folder with both layouts, or a file that is missing or not as expected.
    """
    layout = layout or _find_layout(path)
    concepts = _read_concepts(path) if layout == "official" else CLASS_NAMES
    names = class_names or concepts
    columns = columns_of(names, concepts, "NUS-WIDE")
    if layout == "official":
        wanted = [concepts[column] for column in columns]
        train, val = (_read_official(path, split, wanted) for split in ("Train", "Test"))
    else:
        train, val = (_read_arrays(path, split, columns) for split in ("train", "val"))
    return DataSplits(names, PROMPT, train, val, PUBLISHED[layout])


def _find_layout(path: Path) -> Layout:
    found = [layout for layout, mark in _MARKS.items() if any(path.glob(mark))]
    if len(found) == 2:
        raise ValueError(
            f"{path} holds two splits of NUS-WIDE: choose nuswide-official:{path} (ImageList, 161,789 and 107,859 "
            f"images) or nuswide-npy:{path} (formatted_*.npy, 150,000 and 60,260 images)"
        )
    if not found:
        raise ValueError(
            f"{path} is no NUS-WIDE folder: expected {path}/ImageList or {path}/formatted_train_images.npy"
        )
    return found[0]


def _read_concepts(path: Path) -> tuple[str, ...]:
    file = path / "ConceptsList" / "Concepts81.txt"
    return tuple(_read_lines(file, "the names of the concepts"))


def _read_official(path: Path, split: str, concepts: list[str]) -> ImageSet:
    file = path / "ImageList" / f"{split}Imagelist.txt"
    samples = _samples(path, _read_lines(file, f"the images of split '{split}'"), file)
    labels = path / "Groundtruth" / "TrainTestLabels"
    files = [labels / f"Labels_{concept}_{split}.txt" for concept in concepts]
    targets = np.stack([_read_labels(file, len(samples)) for file in files], axis=1)
    return ImageSet(split.lower(), samples, targets)


def _read_labels(file: Path, num_images: int) -> NDArray[np.int8]:
    """(N,) 0 or 1 of one concept, a line for every image of the split."""
    lines = np.array(_read_lines(file, "a concept's labels"))
    if len(lines) != num_images:
        raise ValueError(f"{file} has {len(lines)} labels, expected one for each of the {num_images} images")
    odd = np.flatnonzero((lines != "0") & (lines != "1"))
    if len(odd):
        raise ValueError(f"{file}, line {odd[0] + 1}: expected 0 or 1, got '{lines[odd[0]]}'")
    present: NDArray[np.int8] = (lines == "1").astype(np.int8)
    return present


def _read_lines(file: Path, content: str) -> list[str]:
    if not file.is_file():
        raise ValueError(f"expected {content} in {file}, which does not exist")
    lines = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"expected {content} in {file}, which is empty")
    return lines


def _read_arrays(path: Path, split: str, columns: list[int]) -> ImageSet:
    listed, labels = read_arrays(path, split, len(CLASS_NAMES))
    samples = _samples(path, listed, path / f"formatted_{split}_images.npy")
    return ImageSet(split, samples, labels[:, columns])


def _samples(path: Path, listed: list[str], named_by: Path) -> tuple[Sample, ...]:
    """The listed images; the official lists write `actor\\0001_2124494179.jpg`."""
    folder = next((path / name for name in ("Flickr", "images") if (path / name).is_dir()), None)
    if folder is None:
        raise ValueError(f"expected the images in {path}/Flickr or {path}/images, neither of which is a folder")
    image_ids = [text.replace("\\", "/") for text in listed]
    samples = tuple(Sample(image_id, folder / image_id) for image_id in image_ids)
    require_files(samples, named_by)
    return samples
