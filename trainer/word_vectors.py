"""Vectors of class names from a file in GloVe's text format; knows no classifier."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def read_word_vectors(path: Path, names: Sequence[str]) -> FloatArray:
    """(C, W) vectors of the names, of several words their mean.

    A line of the file is a word in lower case and its W numbers (https://nlp.stanford.edu/projects/glove/). Raises
    ValueError, in one line, for another file and for words that it does not have.
    """
    words = {name: re.findall(r"[^\W_]+", name.lower()) or [name] for name in names}
    wanted = set().union(*words.values())
    vectors = _read(path, wanted)
    if missing := sorted(wanted - vectors.keys()):
        raise ValueError(
            f"--word-vectors {path} has no vector for {', '.join(missing)}; "
            "rename the classes, add a line for each, or leave the option out to learn the vectors"
        )
    return np.stack([np.mean([vectors[word] for word in words[name]], axis=0) for name in names])


def _read(path: Path, wanted: set[str]) -> dict[str, FloatArray]:
    """Of the wanted words those that the file has; it may be far larger than memory."""
    vectors: dict[str, FloatArray] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                word, _, numbers = line.partition(" ")
                if word in wanted:
                    vectors[word] = np.array(numbers.split(), np.float32)
    except (OSError, ValueError) as error:
        raise ValueError(f"--word-vectors {path} cannot be read as GloVe's text format: {error}") from error
    sizes = {len(vector) for vector in vectors.values()}
    if len(sizes) > 1:
        raise ValueError(
            f"--word-vectors {path} has vectors of {min(sizes)} to {max(sizes)} numbers; all need the same"
        )
    return vectors
