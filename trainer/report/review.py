"""Section 7: which images a person should look at first, and which files are there twice or broken."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trainer.report.duplicates import MAX_IMAGES, Duplicate, look_alikes, same_files
from trainer.report.pictures import Picture, Pictures
from trainer.report.run_files import GIVEN, Failure, FloatArray, RunFiles
from trainer.review_queue import Reason, ReviewRow, review_order

TITLE = "Review queue"

# Shown of each kind: eight rows of six on a wide screen.
SHOWN = 48
SHOWN_FAILURES = 200
# Classes named of each source's opinion on an image.
NAMED = 3

_REASONS: tuple[Reason, ...] = ("uncertain", "disputed")


@dataclass(frozen=True)
class Opinion:
    """A class and its probability in [0, 1]."""

    class_index: int
    probability: float


@dataclass(frozen=True)
class ReviewItem:
    """One image. Opinions: CLIP's and the classifier's highest, the labels that are given."""

    image_id: str
    picture: Picture | None
    class_index: int
    score: float
    clip: tuple[Opinion, ...]
    classifier: tuple[Opinion, ...]
    labels: tuple[Opinion, ...]


@dataclass(frozen=True)
class DuplicateItem:
    """Two images, and how similar they are, 1 for the same bytes."""

    image_ids: tuple[str, str]
    pictures: tuple[Picture | None, Picture | None]
    similarity: float


@dataclass(frozen=True)
class Review:
    """uncertain and disputed are empty while there is no classifier. failures: the first of num_failures.
    sought: images among which look-alikes were sought."""

    uncertain: tuple[ReviewItem, ...]
    disputed: tuple[ReviewItem, ...]
    duplicates: tuple[DuplicateItem, ...]
    failures: tuple[Failure, ...]
    num_failures: int
    sought: int
    classifier: bool


def build(run: RunFiles, pictures: Pictures, share: float) -> Review | None:
    """share: part of the pictures, in [0, 1], that there is room for."""
    if not run.index:
        return None
    shown = round(SHOWN * share)
    order = [] if run.classifier is None else _order(run, run.classifier)
    items = {
        reason: tuple(_item(run, pictures, row) for row in [row for row in order if row.reason == reason][:shown])
        for reason in _REASONS
    }
    return Review(
        items["uncertain"],
        items["disputed"],
        tuple(_duplicate(run, pictures, pair) for pair in duplicates(run)[:shown]),
        tuple(run.failures[:SHOWN_FAILURES]),
        len(run.failures),
        0 if run.embeddings is None else min(len(run.images), MAX_IMAGES),
        run.classifier is not None,
    )


@lru_cache(maxsize=1)  # a page that is made again with fewer pictures has the same
def duplicates(run: RunFiles) -> list[Duplicate]:
    """Equal files first, then the look-alikes among the others."""
    same = same_files([row.sha256 for row in run.images])
    known = {(pair.first, pair.second) for pair in same}
    if run.embeddings is None:
        return same
    return [*same, *(pair for pair in look_alikes(run.embeddings, SHOWN) if (pair.first, pair.second) not in known)]


def _order(run: RunFiles, classifier: FloatArray) -> list[ReviewRow]:
    """As `ccd review` ranks them. Where labels are not CLIP's, the classifier disputes what it was told; where it was
    told nothing, its own opinion is all that there is."""
    labels = _labels(run)
    if labels is None:
        return review_order(classifier, None, classifier)
    return review_order(labels if run.initial is None else run.initial, classifier, labels)


def _labels(run: RunFiles) -> FloatArray | None:
    """The labels that the classifier learned from; None where they are its own opinion."""
    rows = None if run.labels is None else run.labels.rows
    return None if rows is run.classifier else rows


def _item(run: RunFiles, pictures: Pictures, row: ReviewRow) -> ReviewItem:
    image = run.images[row.image]
    labels = _labels(run)
    return ReviewItem(
        image.image_id,
        pictures.thumbnail(image.file),
        row.class_index,
        row.score,
        _opinions(run.clip, row.image),
        _opinions(run.classifier, row.image),
        tuple(opinion for opinion in _opinions(labels, row.image) if opinion.probability >= GIVEN),
    )


def _opinions(rows: FloatArray | None, image: int) -> tuple[Opinion, ...]:
    if rows is None:
        return ()
    return tuple(Opinion(int(c), float(rows[image, c])) for c in np.argsort(-rows[image], kind="stable")[:NAMED])


def _duplicate(run: RunFiles, pictures: Pictures, pair: Duplicate) -> DuplicateItem:
    first, second = run.images[pair.first], run.images[pair.second]
    shown = (pictures.thumbnail(first.file), pictures.thumbnail(second.file))
    return DuplicateItem((first.image_id, second.image_id), shown, pair.similarity)
