"""Activation maps of `ccd predict` as files: arrays, or grey pictures to look at.

Shapes: B images, C classes, h w cells of a CAM, k classes of an image that are shown, S side of a picture in pixels.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainer.cam import upsample
from trainer.data.names import path_of
from trainer.data.sample import Sample
from trainer.trained_model import TrainedModel

FloatArray = npt.NDArray[np.float32]


class CamFiles:
    """Files below `folder`, each where its image is.

    npz: NAME.npz with cams (k, h, w) float32 before any sigmoid and classes (k,) int16, their columns, as a run's
    --export-cams. png: NAME.COLUMN-CLASS.png, (S, S) grey, black at the CAM's minimum and white at its maximum.
    Both lie over the squashed image. k: classes over the threshold; without one all, or for png the most probable.
    Raises ValueError for a model without CAMs, and where two images would have the same file.
    """

    def __init__(
        self, folder: Path, kind: Literal["npz", "png"], trained: TrainedModel, samples: Sequence[Sample]
    ) -> None:
        self._folder, self._kind, self._trained = folder, kind, trained
        if not trained.has_cams:
            raise ValueError("--cam: this model gives no activation maps")
        if len({_relative(sample, "") for sample in samples}) < len(samples):
            raise ValueError("--cam: two images have the same name, and would have the same file; name each once")

    def write(
        self, samples: Sequence[Sample], probs: FloatArray, cams: FloatArray, thresholds: FloatArray | None
    ) -> None:
        """probs: (B, C) in [0, 1]; cams: (B, C, h, w); thresholds: (C,)."""
        for sample, probs_C, cams_Chw in zip(samples, probs, cams, strict=True):
            if thresholds is not None:
                shown_k = np.flatnonzero(probs_C >= thresholds)
            else:
                shown_k = np.arange(len(probs_C)) if self._kind == "npz" else probs_C.argmax(keepdims=True)
            if self._kind == "npz":
                path = self._path(sample, ".npz")
                np.savez_compressed(path, classes=shown_k.astype(np.int16), cams=cams_Chw[shown_k])
            else:
                for column in shown_k.tolist():
                    self._picture(cams_Chw[column]).save(self._path(sample, f".{self._suffix(column)}.png"))

    def _suffix(self, column: int) -> str:
        return f"{column:03d}-{re.sub(r'[^A-Za-z0-9]+', '-', self._trained.names[column])[:40]}"

    def _picture(self, cam_hw: FloatArray) -> Image.Image:
        stretched_SS = upsample(cam_hw, self._trained.image_size)
        low, high = float(stretched_SS.min()), float(stretched_SS.max())
        grey_SS = (stretched_SS - low) / max(high - low, 1e-5)  # 1e-5: as in cam.py
        return Image.fromarray((255 * grey_SS).round().astype(np.uint8))

    def _path(self, sample: Sample, suffix: str) -> Path:
        """Where what belongs to an image lies, always below the folder; its own folder exists."""
        path = self._folder / _relative(sample, suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _relative(sample: Sample, suffix: str) -> str:
    return path_of(sample.image_id, suffix).lstrip("/")
