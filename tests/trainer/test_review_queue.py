"""The order in which a person looks at images."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainer.review_queue import review_order

PROBS = arrays(np.float32, (12, 3), elements=st.floats(0, 1, width=32))


def test_uncertain_and_disputed_images_take_turns() -> None:
    """One kind would push the other out of the first 200 where its scores happen to be larger."""
    labels = np.array([[0.5, 0.0], [0.9, 0.0], [0.6, 0.0], [1.0, 1.0]])
    clip = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.2], [1.0, 0.4]])
    classifier = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.1], [1.0, 0.9]])
    rows = review_order(clip, classifier, labels)
    assert [(row.image, row.reason, row.class_index) for row in rows] == [
        (0, "uncertain", 0), (1, "disputed", 1), (2, "uncertain", 0), (3, "disputed", 1)
    ]  # fmt: skip
    assert [round(row.score, 6) for row in rows] == [1.0, 1.0, 0.8, 0.5]


def test_equally_uncertain_images_are_ordered_by_all_their_labels() -> None:
    labels = np.array([[0.5, 0.0, 0.0], [0.5, 0.4, 0.4], [0.5, 0.1, 0.0]])
    assert [row.image for row in review_order(labels, None, labels)] == [1, 2, 0]


@given(PROBS, st.none() | PROBS, PROBS, arrays(bool, 12), arrays(bool, 12))
def test_every_image_once_but_those_without_labels_and_the_reviewed(clip, classifier, labels, failed, reviewed) -> None:
    """An image that came twice would cost a person's time, one that was dropped could never be corrected."""
    labels[failed], clip[failed] = np.nan, np.nan
    rows = review_order(clip, classifier, labels, skip=reviewed)
    assert sorted(row.image for row in rows) == np.flatnonzero(~failed & ~reviewed).tolist()
    assert all(0 <= row.score <= 1 for row in rows)
    if classifier is None:
        assert {row.reason for row in rows} <= {"uncertain"}
