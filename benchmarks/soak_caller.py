"""One of the callers of labeler_soak: random work, the same for the same seed, and a check of every result."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks import material
from clip_labeler import (
    BoxedImage,
    CropScores,
    DeadlineError,
    Image,
    ImageScores,
    LabelerClient,
    Preprocessing,
    UnavailableError,
)

NUM_PHOTOS = 64
BOXES_PER_PHOTO = 3
MAX_ITEMS = 60
CLASSES = ("person", "car", "tree", "cat")
# How much of the work is of which kind; the rest are streams of images.
CANCELLED_SHARE, LATE_SHARE, CROPS_SHARE, REQUEST_SHARE = 0.10, 0.05, 0.15, 0.20
BROKEN_SHARE = 0.01  # of images
BROKEN = -1  # in place of a photo's number
LATE_SECONDS = 0.05
TIMEOUT_SECONDS = 300.0
# Between a row alone and in any batch, which kernels depend on.
FLOAT32_TOLERANCE, HALF_TOLERANCE = 1e-5, 1e-3

Rows = Sequence[npt.NDArray[np.float32]]  # by photo


@dataclass
class Findings:
    """What all callers saw: how much of what was done, and what must not have been."""

    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self.done[what] += number

    def fault(self, what: str) -> None:
        with self._lock:
            self.faults.append(what)


class Caller:
    """`since` is when its present piece of work began (time.perf_counter()), None when it has ended."""

    def __init__(self, address: str, view_size: int, seed: int, findings: Findings) -> None:
        self.client = LabelerClient(address, timeout=TIMEOUT_SECONDS)
        self.hasty_client = LabelerClient(address, timeout=LATE_SECONDS, max_wait=0)
        self.since: float | None = time.perf_counter()
        self._random = random.Random(seed)
        self._findings = findings
        self._preprocessing = Preprocessing("paper", view_size)
        self._photos = [material.photo(number) for number in range(NUM_PHOTOS)]
        self._boxes = [material.boxes(number, BOXES_PER_PHOTO) for number in range(NUM_PHOTOS)]
        self._tolerance = FLOAT32_TOLERANCE if self.client.server_info().dtype == "float32" else HALF_TOLERANCE
        self._vocabulary = self.client.create_vocabulary(CLASSES)

    def reference(self) -> tuple[Rows, Rows]:
        """Rows of each photo and of its crops, one request after the other."""
        images: list[npt.NDArray[np.float32]] = []
        crops: list[npt.NDArray[np.float32]] = []
        for photo in range(NUM_PHOTOS):
            images += [result.scores for result in self._score(self.client, [photo])]
            crops += [result.scores for result in self._score_crops([photo])]
        return images, crops

    def work(self, end: float, images: Rows, crops: Rows) -> None:
        """Until that time; every result is compared with the reference."""
        kinds: dict[Callable[[list[int]], None], float] = {
            self._cancel: CANCELLED_SHARE,
            self._be_late: LATE_SHARE,
            lambda photos: self._check("crops", photos, self._score_crops(photos), crops): CROPS_SHARE,
            lambda photos: self._check("requests", photos, self._score(self.client, photos), images): REQUEST_SHARE,
        }
        kinds[lambda photos: self._check("streams", photos, self._stream(photos), images)] = 1 - sum(kinds.values())
        while time.perf_counter() < end:
            self.since = time.perf_counter()
            [kind] = self._random.choices(list(kinds), list(kinds.values()))
            try:
                kind([self._photo() for _ in range(self._random.randint(1, MAX_ITEMS))])
            except Exception as error:  # Whatever it is, the others go on.
                self._findings.fault(f"{type(error).__name__}: {error}")
        self.client.close()
        self.hasty_client.close()
        self.since = None

    def _photo(self) -> int:
        return BROKEN if self._random.random() < BROKEN_SHARE else self._random.randrange(NUM_PHOTOS)

    def _content(self, photo: int) -> bytes:
        return self._photos[0][:1000] if photo == BROKEN else self._photos[photo]

    def _images(self, photos: Sequence[int]) -> list[Image]:
        return [Image(str(index), self._content(photo)) for index, photo in enumerate(photos)]

    def _score(self, client: LabelerClient, photos: Sequence[int]) -> list[ImageScores]:
        return client.score_image_batch(self._vocabulary, self._images(photos), preprocessing=self._preprocessing)

    def _stream(self, photos: Sequence[int]) -> Iterable[ImageScores]:
        return self.client.score_images(self._vocabulary, self._images(photos), preprocessing=self._preprocessing)

    def _score_crops(self, photos: Sequence[int]) -> Iterable[CropScores]:
        items = [BoxedImage(str(index), self._content(photo), self._boxes[photo]) for index, photo in enumerate(photos)]
        return self.client.score_crops(self._vocabulary, items, preprocessing=self._preprocessing)

    def _cancel(self, photos: list[int]) -> None:
        """A stream that is left after some of its results."""
        results = iter(self._stream(photos))
        for _ in range(self._random.randrange(len(photos))):
            next(results)
        del results  # ends the stream
        self._findings.count("cancelled")

    def _be_late(self, photos: list[int]) -> None:
        try:
            self._score(self.hasty_client, photos)
            self._findings.count("in time after all")
        except (DeadlineError, UnavailableError):
            self._findings.count("late")

    def _check(
        self, kind: str, photos: list[int], results: Iterable[ImageScores] | Iterable[CropScores], rows: Rows
    ) -> None:
        answered = Counter[int]()
        for result in results:
            index = int(result.id)
            answered[index] += 1
            if fault := self._fault_of(result, photos[index], rows):
                self._findings.fault(f"{kind}: photo {photos[index]} {fault}")
        if answered != Counter(range(len(photos))):
            self._findings.fault(f"{kind}: results of {len(photos)} photos came {sorted(answered.items())} times")
        self._findings.count(kind)
        self._findings.count("results", answered.total())
        self._findings.count("broken", photos.count(BROKEN))

    def _fault_of(self, result: ImageScores | CropScores, photo: int, rows: Rows) -> str | None:
        if (result.error is not None) != (photo == BROKEN):
            return f"ended in {result.error}"
        if photo != BROKEN and not np.allclose(result.scores, rows[photo], rtol=0, atol=self._tolerance):
            return "has other scores than alone"
        return None
