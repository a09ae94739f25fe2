"""Images that are there twice."""

import numpy as np

from trainer.report.duplicates import look_alikes, same_files


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
