"""The embedded demo's pictures: repeatable, truthfully annotated, and never shared between training and demo."""

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.drawing.backgrounds import PAINTERS, paint_background
from trainer.data.drawing.catalogue import CLASS_NAMES, SUBJECTS, Subject
from trainer.data.drawing.composition import Placed, Scene, drop_hidden
from trainer.data.drawing.pen import Pen, rasterize
from trainer.data.scenes import draw_scene, scene_numbers, write_demo_dataset
from trainer.data.seeds import SeedSpace, seeded_generator


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(number) for number in range(150)]


def test_the_same_number_gives_the_same_scene() -> None:
    """Otherwise a data set written again would not fit the labels that were stored for it."""
    first, again, other = draw_scene(7), draw_scene(7), draw_scene(8)
    np.testing.assert_array_equal(first.image, again.image)
    assert first.objects == again.objects
    assert first.image.shape != other.image.shape or (first.image != other.image).any()


def test_a_negative_scene_number_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        draw_scene(-1)


def test_boxes_lie_inside_the_picture(scenes: list[Scene]) -> None:
    for scene in scenes:
        height, width = scene.image.shape[:2]
        assert scene.image.dtype == np.uint8
        assert 1 <= len(scene.objects) <= 6
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            assert 0 < thing.visible_fraction <= 1


def test_every_class_is_drawn_and_frequencies_have_a_long_tail(scenes: list[Scene]) -> None:
    counts = dict.fromkeys(CLASS_NAMES, 0)
    for thing in itertools.chain.from_iterable(scene.objects for scene in scenes):
        counts[thing.name] += 1
    assert min(counts.values()) > 0
    assert max(counts.values()) >= 4 * min(counts.values())


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_every_subject_fills_its_raster(subject: Subject) -> None:
    """The raster is exactly as large as the thing, so that its corners are the tight box."""
    pen = Pen()
    subject.draw(pen, np.random.default_rng(3))
    sprite = rasterize(pen, 90, angle=5, flip=True, stretch=1.1, lean=0.05)
    coverage = sprite[..., 3] > 0
    assert max(sprite.shape[:2]) in (90, 91)
    assert coverage.any(axis=0).mean() > 0.97
    assert coverage.any(axis=1).mean() > 0.97
    assert (sprite[..., :3] <= sprite[..., 3:]).all(), "colours must be premultiplied"


def test_a_box_is_tight_around_what_can_be_seen() -> None:
    """A nearer thing that covers the left half leaves a box of the right half; a hidden thing is left out."""
    square = np.full((20, 20, 4), 255, dtype=np.uint8)
    far, near = Placed("cat", square, 10, 10, False), Placed("dog", square, 0, 10, False)
    hidden = Placed("bird", square, 11, 10, False)
    kept = drop_hidden([hidden, far, near], 40, 40)
    assert [entry.name for _, entry in kept] == ["cat", "dog"]
    assert kept[0][1].box == (20, 10, 30, 30)
    assert kept[0][1].visible_fraction == pytest.approx(0.5)
    assert kept[1][1].box == (0, 10, 20, 30)


def test_an_unknown_place_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="street"):
        paint_background("moon", 32, 32, np.random.default_rng(0))
    assert {place for subject in SUBJECTS for place in subject.places} <= set(PAINTERS)


def test_collections_never_share_random_numbers() -> None:
    """The demo CLIP and backbone must not have been trained on pictures of the demo data set."""
    keys = [(space, seed, index) for space in SeedSpace for seed in range(3) for index in range(40)]
    streams = {tuple(seeded_generator(*key).integers(2**63, size=2).tolist()) for key in keys}
    assert len(streams) == len(keys)
    assert len({int(space) for space in SeedSpace}) == 3


def test_splits_and_seeds_never_share_scenes() -> None:
    numbers = [
        number for seed in (0, 1) for split in scene_numbers(500_000, 500_000, seed).values() for number in split
    ]
    assert len(set(numbers)) == len(numbers)


def test_the_voc_folder_holds_the_scenes(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    write_demo_dataset(folder, num_train=5, num_val=2, seed=4)
    image_ids = (folder / "ImageSets/Main/train.txt").read_text().split()
    assert len(image_ids) == 5
    scene = draw_scene(scene_numbers(5, 2, 4)["train"][2])
    with Image.open(folder / "JPEGImages" / f"{image_ids[2]}.jpg") as image:
        assert (image.height, image.width) == scene.image.shape[:2]
    root = ET.parse(folder / "Annotations" / f"{image_ids[2]}.xml").getroot()
    assert [entry.findtext("name") for entry in root.iter("object")] == [thing.name for thing in scene.objects]
    corners = [[int(child.text or "") for child in box] for box in root.iter("bndbox")]
    assert corners == [[x0 + 1, y0 + 1, x1, y1] for x0, y0, x1, y1 in (thing.box for thing in scene.objects)]
    for name in CLASS_NAMES:
        line = (folder / "ImageSets/Main" / f"{name}_train.txt").read_text().splitlines()[2].split()
        assert line == [image_ids[2], "1" if any(thing.name == name for thing in scene.objects) else "-1"]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"], "no draft may stay behind"


def test_a_complete_folder_is_left_alone_and_another_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    write_demo_dataset(folder, num_train=1, num_val=1, seed=0)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_demo_dataset(folder, num_train=1, num_val=1, seed=0)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(ValueError, match="holds other files"):
        write_demo_dataset(folder, num_train=2, num_val=1, seed=0)
    with pytest.raises(ValueError, match="num_train"):
        write_demo_dataset(tmp_path / "none", num_train=0, num_val=1, seed=0)
