"""The only file that talks to the labeler: whole images and crops go out, raw probability rows come back to disk.

All of CLIP's mathematics is the labeler's; this file moves images and rows. Shapes: N images, V views, C classes.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from clip_labeler import (
    BiasEstimate,
    BoxedImage,
    Calibration,
    Credentials,
    EntropyGate,
    Image,
    ImageScores,
    LabelerClient,
    Preprocessing,
    Vocabulary,
)
from trainer import distributed, team
from trainer.config import LABELER_FILES, Settings
from trainer.data.sample import Sample
from trainer.labeler_process import LabelerProcess
from trainer.progress import Advance
from trainer.pseudo_labels import RowStore
from trainer.waits import LabelerWaits

# Images of a process between two gatherings, in which they reach the disk: minutes at most of a slow labeler.
ROUND_IMAGES = 512

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rejected:
    """An image that the labeler could not score, and why."""

    image_id: str
    reason: str


class Labeler:
    """A connection that is made when it is first needed, to the given labeler or to one started for this run.

    Raises ValueError when an own labeler does not start or the credentials cannot be used, and clip_labeler's
    LabelerError when one cannot be reached.
    """

    def __init__(self, config: Settings, class_names: Sequence[str]) -> None:
        self._config = config
        self._credentials = _credentials(config)  # now, as the labeler is needed late
        self._class_names = class_names
        self._address = config.labeler
        self._process: LabelerProcess | None = None
        self._client: LabelerClient | None = None
        self._vocabulary: Vocabulary | None = None

    @property
    def client(self) -> LabelerClient:
        if self._client is None:
            self._client = LabelerClient(
                self.address, credentials=self._credentials, max_wait=self._config.labeler_wait
            )
        return self._client

    @property
    def address(self) -> str:
        if self._address is None:
            self._process = LabelerProcess(own_labeler_flags(self._config))
            self._address = self._process.address
        return self._address

    def at(self, address: str) -> Self:
        """Itself, with the address of the labeler that the main process has."""
        self._address = address
        return self

    @property
    def helpers(self) -> int:
        """Processes that can reach it: a labeler of the run's own is there for its machine alone."""
        return distributed.world_size() if self._config.labeler else distributed.node_size()

    @property
    def vocabulary(self) -> Vocabulary:
        if self._vocabulary is None:
            self._vocabulary = self.client.create_vocabulary(self._class_names, [self._config.prompt])
        return self._vocabulary

    @property
    def preprocessing(self) -> Preprocessing:
        config = self._config
        return Preprocessing(config.profile, config.view_size, config.clip_normalization)

    def check(self, before: dict[str, str] | None) -> dict[str, str]:
        """Which CLIP answers, for the run's records. Raises ValueError when another one answered `before`."""
        info = self.client.server_info()
        if before and before["weights_sha256"] != info.weights_sha256:
            raise ValueError(
                f"the labeler serves {info.model_name} with other weights than this run began with "
                f"({before['model']}): labels of two models must not mix; choose another --output"
            )
        return {"model": info.model_name, "weights_sha256": info.weights_sha256, "dtype": info.dtype}

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._process is not None:
            self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _credentials(config: Settings) -> Credentials:
    """Raises ValueError when the files cannot be used."""
    names = (getattr(config, setting) for setting in LABELER_FILES)
    ca, certificate, key, token_file = (None if name is None else Path(name) for name in names)
    return Credentials(ca, certificate, key, token_file=token_file)


def own_labeler_flags(config: Settings) -> list[str]:
    """Flags of the labeler that a run starts for itself: reproducible, so that a resumed run gets the same bits."""
    flags = ["--model", config.clip, "--device", config.clip_device, "--reproducible"]
    return flags + (["--pretrained", config.clip_weights] if config.clip_weights else [])


def score_images(
    labeler: Labeler, samples: Sequence[Sample], hashes: Sequence[bytes], store: RowStore, *, advance: Advance
) -> list[Rejected]:
    """Global view: asks for the rows that the store does not have, (N, C) raw probabilities in [0, 1].

    `hashes` are the sha256 digests of the images' bytes as they were indexed. Returns the images that the labeler
    rejected; their rows stay empty.
    """
    wanted = store.missing().tolist()
    advance(len(samples) - len(wanted), earlier=True)
    waits = LabelerWaits()
    work = partial(answers_of_images, labeler, samples, hashes, waits=waits)
    rejected = []
    for row, answer in team.shared(
        "score_images", wanted, work, labeler.address, per_round=ROUND_IMAGES, helpers=labeler.helpers
    ):
        if isinstance(answer, str):
            rejected.append(Rejected(samples[row].image_id, f"labeler: {answer}"))
        else:
            store.put(row, answer)
        advance(1, failed=int(isinstance(answer, str)), waits=waits.shares())
    store.flush()
    return sorted(rejected, key=lambda item: item.image_id)


def answers_of_images(
    labeler: Labeler,
    samples: Sequence[Sample],
    hashes: Sequence[bytes],
    rows: Sequence[int],
    *,
    waits: LabelerWaits | None = None,
) -> Iterator[tuple[int, FloatArray | str]]:
    """Each row, as answers come, with the image's probabilities (C,) or the reason why there are none."""
    waits = waits or LabelerWaits()
    labeler.client.on_timings = waits.on_timings
    images = (Image(str(row), _read(samples[row].path, hashes[row], waits, str(row))) for row in rows)
    for result in labeler.client.score_images(labeler.vocabulary, images, preprocessing=labeler.preprocessing):
        waits.answered(result.id)
        yield int(result.id), result.scores if result.error is None else result.error.message


def try_images(labeler: Labeler, samples: Sequence[Sample]) -> Iterator[ImageScores]:
    """Raw probabilities (C,) of a few whole images, as they finish, with their positions as ids; nothing is stored.

    Some bytes that decoders skip follow each image, so that the labeler's cache does not know it: it may be timed.
    """
    images = (Image(str(i), sample.path.read_bytes() + os.urandom(8)) for i, sample in enumerate(samples))
    return labeler.client.score_images(labeler.vocabulary, images, preprocessing=labeler.preprocessing)


def score_views(
    labeler: Labeler,
    samples: Sequence[Sample],
    hashes: Sequence[bytes],
    boxes_of_image: Mapping[int, npt.NDArray[np.int32]],
    rows_of_image: Mapping[int, npt.NDArray[np.int64]],
    store: RowStore,
    *,
    advance: Advance,
) -> None:
    """Local views: (V, C) raw probabilities, one row per box; an image crosses the wire once for all its boxes.

    `boxes_of_image[i]` is (k, 4), x0 y0 x1 y1, half-open, original pixels of image i; `rows_of_image[i]` its k rows
    in the store. A view that the labeler rejects keeps an empty row, which the maximum over views passes over. Raises
    clip_labeler.ItemFailedError for an image that it scored before and now rejects.
    """
    missing = store.missing()
    wanted = [(image, boxes_of_image[image]) for image, rows in rows_of_image.items() if np.isin(rows, missing).any()]
    advance(len(rows_of_image) - len(wanted), earlier=True)
    waits = LabelerWaits()
    work = partial(answers_of_views, labeler, samples, hashes, waits=waits)
    for answer in team.shared(
        "score_views", wanted, work, labeler.address, per_round=ROUND_IMAGES, helpers=labeler.helpers
    ):
        for index, reason in answer.errors.items():
            log.warning("view %d of %s was not scored: %s", index, samples[answer.image].image_id, reason)
        for row, scores_C in zip(rows_of_image[answer.image][answer.indices], answer.scores, strict=True):
            store.put(int(row), scores_C)
        advance(1, waits=waits.shares())
    store.flush()


@dataclass(frozen=True)
class _ViewAnswer:
    """Of one image: which of its boxes were scored (k,), their probabilities (k, C), and why others were not."""

    image: int
    indices: npt.NDArray[np.int64]
    scores: FloatArray
    errors: dict[int, str]


def answers_of_views(
    labeler: Labeler,
    samples: Sequence[Sample],
    hashes: Sequence[bytes],
    boxes_of_image: Sequence[tuple[int, npt.NDArray[np.int32]]],
    *,
    waits: LabelerWaits | None = None,
) -> Iterator[_ViewAnswer]:
    """What the labeler says of each image's boxes (k, 4), as answers come."""
    waits = waits or LabelerWaits()
    labeler.client.on_timings = waits.on_timings
    items = (
        BoxedImage(str(i), _read(samples[i].path, hashes[i], waits, str(i)), boxes_k4) for i, boxes_k4 in boxes_of_image
    )
    for result in labeler.client.score_crops(labeler.vocabulary, items, preprocessing=labeler.preprocessing):
        waits.answered(result.id)
        errors = {index: error.message for index, error in result.crop_errors.items()}
        yield _ViewAnswer(int(result.id), *result.scored_crops, errors)


def estimate_bias(labeler: Labeler, probs: FloatArray, gate: EntropyGate) -> BiasEstimate:
    """Class bias (paper section 3.3) of raw probabilities (N, C), from the rows that pass the gate."""
    return labeler.client.estimate_bias(probs, gate=gate)


def debias(labeler: Labeler, probs: FloatArray, bias: FloatArray, *, floor: float, clamp: bool) -> FloatArray:
    """Labels max(p, floor) / bias of raw probabilities (N, C), limited to 1 with `clamp`."""
    return labeler.client.apply_bias(probs, Calibration(bias, floor, clamp))


def _read(path: Path, digest: bytes, waits: LabelerWaits, key: str) -> bytes:
    """The file's bytes, which must be the ones that were indexed: a label must not meet another image."""
    began = time.perf_counter()
    content = path.read_bytes()
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} has changed since the run began; start again with another --output")
    waits.read(key, began)
    return content
