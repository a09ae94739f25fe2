"""Word vectors: names of several words, and what is said of files that do not help."""

from pathlib import Path

import numpy as np
import pytest

from trainer.word_vectors import read_word_vectors


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "glove.3d.txt"
    path.write_text("the 9 9 9\ndog 1 2 3\ndining 0 0 1\ntable -1 0.5 2\ntv 1e-1 0 0\nshort 1\n", encoding="utf-8")
    return path


def test_a_name_of_several_words_is_their_mean(glove: Path) -> None:
    """However the data set joins them: "dining table", "dining_table", "Dining-Table"."""
    vectors = read_word_vectors(glove, ["dog", "dining table", "dining_table", "Dining-Table", "TV"])
    mean = [-0.5, 0.25, 1.5]
    np.testing.assert_allclose(vectors, [[1, 2, 3], mean, mean, mean, [0.1, 0, 0]], rtol=1e-6)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["dog", "potted plant", "sofa"], "no vector for plant, potted, sofa"),
        (["+"], r"no vector for \+"),
        (["dog", "short"], "vectors of 1 to 3 numbers"),
    ],
)
def test_what_the_file_does_not_have_is_said_at_once(glove: Path, names: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        read_word_vectors(glove, names)
    assert "\n" not in str(error.value)
    assert "--word-vectors" in str(error.value)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--word-vectors .*gone"):
        read_word_vectors(tmp_path / "gone", ["dog"])
    (tmp_path / "list.txt").write_text("dog is an animal\n")
    with pytest.raises(ValueError, match=r"--word-vectors .*GloVe"):
        read_word_vectors(tmp_path / "list.txt", ["dog"])
