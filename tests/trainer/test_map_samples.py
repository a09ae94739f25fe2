"""The few images that stand for a class."""

import numpy as np

from trainer.map_samples import MAX_SAMPLES, PER_CLASS, choose_samples
from trainer.view_table import Views


def test_each_kind_of_image_is_among_them_and_those_with_a_crop_go_first() -> None:
    labels = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    initial, local = np.full((50, 1), 0.5, np.float32), np.full((50, 1), 0.4, np.float32)
    local[7] = 0.9
    images, classes = choose_samples(labels, initial, local, None)
    assert len(images) == PER_CLASS == len(set(images.tolist()))
    assert set(classes.tolist()) == {0}
    assert {49, 7} <= set(images.tolist()), "the surest, and the one that a crop changed most"
    assert abs(labels[images, 0] - 0.5).min() < 0.02, "and an unsure one"
    views = Views(np.array([20, 21]), np.zeros(2, np.int16), np.zeros((2, 4), np.int32))
    images, _ = choose_samples(labels, initial, local, views)
    assert set(images[:2].tolist()) == {20, 21}
    assert len(images) == PER_CLASS


def test_images_without_labels_are_passed_over_and_many_classes_get_fewer_each() -> None:
    labels = np.random.default_rng(0).random((30, 400)).astype(np.float32)
    labels[3] = np.nan
    images, classes = choose_samples(labels, None, None, None)
    assert 3 not in images
    assert len(images) <= MAX_SAMPLES
    assert set(np.bincount(classes)) == {3}
