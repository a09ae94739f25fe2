"""Which images a person should look at first."""

import numpy as np

from trainer.report.duplicates import look_alikes, same_files
from trainer.report.queue import review_order

SURE, HALF = (0.99, 0.01), (0.5, 0.5)


def test_uncertain_and_disputed_images_take_turns_and_come_once() -> None:
    classifier = np.array([SURE, HALF, SURE, (0.6, 0.01)], np.float32)
    final = np.array([SURE, HALF, (0.01, 0.01), SURE], np.float32)
    order = review_order(None, classifier, final)
    assert [(row.image, row.reason) for row in order[:2]] == [(1, "uncertain"), (2, "disputed")]
    assert order[1].class_index == 0
    assert order[1].score == np.float32(0.98)
    assert sorted(row.image for row in order) == [0, 1, 2, 3]


def test_an_image_without_labels_is_left_out() -> None:
    classifier = np.array([SURE, HALF], np.float32)
    final = np.array([SURE, (np.nan, np.nan)], np.float32)
    assert [row.image for row in review_order(None, classifier, final)] == [0]


def test_equal_files() -> None:
    pairs = same_files([b"a", b"b", b"a", None, None, b"a"])
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 2), (0, 5)]


def test_look_alikes_are_found_across_blocks_and_bounded() -> None:
    """All features of a network with ReLU point to one side: without centring everything looks alike."""
    rng = np.random.default_rng(0)
    embeddings = (5 + rng.normal(size=(2500, 32))).astype(np.float16)
    assert look_alikes(embeddings, 10) == []
    embeddings[2400] = embeddings[3] + np.float16(0.01)
    (pair,) = look_alikes(embeddings, 10)
    assert (pair.first, pair.second) == (3, 2400)
    embeddings[:600] = embeddings[0]
    assert len(look_alikes(embeddings, 10)) == 10, "many copies of one image must not fill the memory"
