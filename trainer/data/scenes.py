"""The embedded demo's data set: scenes by number, and an ordinary folder of them in Pascal VOC's format."""

import hashlib
import json
import multiprocessing
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from trainer.data.drawing.catalogue import CLASS_NAMES, SUBJECTS
from trainer.data.drawing.composition import Scene, compose, object_sizes, random_place, random_subject
from trainer.data.seeds import SeedSpace, seeded_generator
from trainer.files import whole_folder

COUNT_ODDS = (0.34, 0.28, 0.18, 0.11, 0.06, 0.03)  # of one to six objects in a scene; about two classes an image
SMALLEST = 0.17  # of the shorter side: about 16 pixels of a 96-pixel view, the least that shows what a thing is
SCENES_PER_SEED = 1_000_000  # scene numbers of one data set; another seed takes the next million
FIRST_VALIDATION_SCENE = 500_000  # of those: the lower half is for training, the upper half for validation
JPEG_QUALITY = 92  # as VOC's own files: fine for the eye, with a camera's usual faults
TRUNCATED_BELOW = 0.95  # visible share below which VOC calls an object truncated
RECORD = "demo.json"  # what the folder was written with; it is the last file written, so it marks a complete folder
FINGERPRINT_SCENES = 16  # enough for every class to be drawn, and a tenth of a second
CHUNK = 32  # scenes per task of the process pool


def draw_scene(seed: int) -> Scene:
    """The demo data set's scene of this number; the same number always gives the same scene.

    Raises ValueError for a negative number.
    """
    if seed < 0:
        raise ValueError(f"a scene's number must be 0 or more, got {seed}")
    rng = seeded_generator(SeedSpace.DEMO_DATA, 0, seed)
    count = 1 + int(rng.choice(len(COUNT_ODDS), p=COUNT_ODDS))
    place = random_place(rng, SUBJECTS)
    subjects = [random_subject(rng, SUBJECTS, place) for _ in range(count)]
    return compose(rng, subjects, object_sizes(rng, count, SMALLEST), place)


def write_demo_dataset(folder: Path, *, num_train: int, num_val: int, seed: int) -> None:
    """Writes JPEGImages, Annotations and ImageSets/Main; does nothing when the folder already holds just that.

    Everything is written to a neighbouring folder first and then renamed, so the folder is complete or absent.
    Raises ValueError for numbers out of range, or when the folder holds something else.
    """
    for name, value in (("num_train", num_train), ("num_val", num_val)):
        if not 0 < value <= FIRST_VALIDATION_SCENE:
            raise ValueError(f"{name} must be between 1 and {FIRST_VALIDATION_SCENE}, got {value}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    record = {"num_train": num_train, "num_val": num_val, "seed": seed, "classes": list(CLASS_NAMES)}
    if _holds(folder, record):
        return
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds other files: remove it, or choose another folder for the demo data set")
    with whole_folder(folder) as draft:
        _write(draft, scene_numbers(num_train, num_val, seed))
        (draft / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    if not _holds(folder, record):
        raise ValueError(f"another process has meanwhile filled {folder}: choose another folder for the demo data set")


def drawing_fingerprint() -> str:
    """Sixteen hexadecimal digits that change when the drawings do: a cached data set of older ones is not used."""
    digest = hashlib.sha256()
    for number in range(FINGERPRINT_SCENES):
        digest.update(draw_scene(number).image.tobytes())
    return digest.hexdigest()[:16]


def scene_numbers(num_train: int, num_val: int, seed: int) -> dict[str, list[int]]:
    """The scenes of each split; no scene is in two splits, or in two data sets of different seed."""
    first = seed * SCENES_PER_SEED
    return {
        "train": [first + index for index in range(num_train)],
        "val": [first + FIRST_VALIDATION_SCENE + index for index in range(num_val)],
    }


def _holds(folder: Path, record: dict[str, object]) -> bool:
    file = folder / RECORD
    return file.exists() and json.loads(file.read_text()) == record


def _write(folder: Path, splits: dict[str, list[int]]) -> None:
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    numbered = {split: [(f"{number:09d}", number) for number in numbers] for split, numbers in splits.items()}
    # Fresh processes instead of forks: the caller may have threads, and a fork may copy their locks held.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for split, entries in numbered.items():
            tasks = [entries[start : start + CHUNK] for start in range(0, len(entries), CHUNK)]
            present = [names for part in pool.map(partial(_write_scenes, folder), tasks) for names in part]
            _write_image_sets(folder / "ImageSets" / "Main", split, [image_id for image_id, _ in entries], present)


def _write_scenes(folder: Path, entries: Sequence[tuple[str, int]]) -> list[set[str]]:
    """Draws and writes these scenes; the class names in each."""
    present = []
    for image_id, number in entries:
        scene = draw_scene(number)
        Image.fromarray(scene.image).save(folder / "JPEGImages" / f"{image_id}.jpg", quality=JPEG_QUALITY)
        tree = ET.ElementTree(_annotation(image_id, scene))
        ET.indent(tree, "\t")
        tree.write(folder / "Annotations" / f"{image_id}.xml")
        present.append({thing.name for thing in scene.objects})
    return present


def _annotation(image_id: str, scene: Scene) -> ET.Element:
    """VOC's XML; its boxes count pixels from 1 and include the last one."""
    root = ET.Element("annotation")
    _add(root, folder="demo", filename=f"{image_id}.jpg")
    height, width = scene.image.shape[:2]
    _add(ET.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=0)
    for thing in scene.objects:
        entry = ET.SubElement(root, "object")
        truncated = int(thing.visible_fraction < TRUNCATED_BELOW)
        _add(entry, name=thing.name, pose="Unspecified", truncated=truncated, difficult=0)
        x0, y0, x1, y1 = thing.box
        _add(ET.SubElement(entry, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    return root


def _add(parent: ET.Element, **values: object) -> None:
    for tag, value in values.items():
        ET.SubElement(parent, tag).text = str(value)


def _write_image_sets(folder: Path, split: str, image_ids: list[str], present: list[set[str]]) -> None:
    """The list of the split, and for every class which of its pictures show it: 1 or -1."""
    (folder / f"{split}.txt").write_text("".join(f"{image_id}\n" for image_id in image_ids))
    for name in CLASS_NAMES:
        pairs = zip(image_ids, present, strict=True)
        lines = [f"{image_id} {1 if name in names else -1:2d}\n" for image_id, names in pairs]
        (folder / f"{name}_{split}.txt").write_text("".join(lines))
