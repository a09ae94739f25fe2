"""`ccd predict`: probabilities and activation maps of any images, a few batches in memory at a time.

Shapes: N images, B images of a batch that could be read, C classes, h w cells of a CAM.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from trainer.cam_files import CamFiles
from trainer.config import MAX_WORKERS, RunConfig
from trainer.data.folder import read_folder
from trainer.data.loader import Batch
from trainer.data.names import spell
from trainer.data.parallel import map_ahead
from trainer.data.sample import Sample
from trainer.data.transforms import Pixels, load_squashed, normalise
from trainer.engine import FloatArray, Machine, predict
from trainer.prediction_config import PredictionConfig
from trainer.prediction_table import PredictionTable, parse_threshold, table_format, write_failed
from trainer.progress import Advance, track
from trainer.session import DataError
from trainer.trained_model import TrainedModel, open_model


class Rejected(NamedTuple):
    """An image that cannot be used, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True)
class Predictor:
    """A classifier, where it runs, and how images come to it. workers: threads, each reads a batch."""

    trained: TrainedModel
    machine: Machine
    batch_size: int
    workers: int

    def predict(
        self, samples: Sequence[Sample], reject: Callable[[Rejected], None], advance: Advance
    ) -> Iterator[tuple[list[Sample], FloatArray, FloatArray]]:
        """Yields (images, probabilities (B, C) in [0, 1], CAMs (B, C, h, w) before any sigmoid), in the order of the
        samples. Those that are no usable image are rejected instead."""
        batches = self._batches(samples, reject, advance)
        for indices, logits_BC, cams_BChw in predict(self.trained.classifier, batches, self.machine):
            advance(len(indices))
            probs_BC: FloatArray = torch.from_numpy(logits_BC).sigmoid().numpy()
            yield [samples[i] for i in indices], probs_BC, cams_BChw

    def _batches(
        self, samples: Sequence[Sample], reject: Callable[[Rejected], None], advance: Advance
    ) -> Iterator[Batch]:
        starts = range(0, len(samples), self.batch_size)
        chunks = (range(start, min(start + self.batch_size, len(samples))) for start in starts)
        for batch, rejected in map_ahead(lambda chunk: self._read(samples, chunk), chunks, self.workers):
            for each in rejected:
                reject(each)
            advance(len(rejected))
            if batch is not None:
                yield batch

    def _read(self, samples: Sequence[Sample], chunk: range) -> tuple[Batch | None, list[Rejected]]:
        pixels: list[Pixels] = []
        indices, rejected = [], []
        for i in chunk:
            try:
                pixels.append(load_squashed(samples[i].path.read_bytes(), self.trained.image_size))
                indices.append(i)
            except OSError as error:
                rejected.append(Rejected(samples[i].image_id, error.strerror or str(error)))
            except ValueError as error:
                rejected.append(Rejected(samples[i].image_id, str(error)))
        if not pixels:
            return None, rejected
        images_B3SS = normalise(pixels, self.trained.mean, self.trained.std)
        return Batch(images_B3SS, None, torch.tensor(indices)), rejected


def predict_files(model: Path, images: Sequence[Path], config: PredictionConfig, console: Console) -> int:
    """Writes the table, the CAMs and, where there are any, OUTPUT's name with .failed.csv for the images that cannot be
    used; returns how many these are.

    Raises session.DataError where no image can be used, ValueError for an unusable model or setting.
    """
    if config.batch_size < 1:
        raise ValueError(f"--batch-size {config.batch_size} must be at least 1")
    output, kind = table_format(config.output, config.format)
    machine = choose_machine(config, model)
    samples, skipped = find_images(images)
    trained = open_model(model, machine.device)
    threshold_C = None if config.threshold is None else parse_threshold(config.threshold, trained.names)
    cams = None if config.cam is None else CamFiles(config.cam, config.cam_format, trained, samples)
    workers = config.workers or min(os.cpu_count() or 1, MAX_WORKERS)
    rejected: list[Rejected] = []
    predictor = Predictor(trained, machine, config.batch_size, workers)
    with PredictionTable(output, kind, trained.names, threshold_C) as table:
        with track(console, "predicting", len(samples)) as advance:
            for found, probs_BC, cams_BChw in predictor.predict(samples, rejected.append, advance):
                table.write([sample.image_id for sample in found], probs_BC)
                if cams is not None:
                    cams.write(found, probs_BC, cams_BChw, threshold_C)
        failed = [*skipped, *rejected]
        _tell(failed, console)
        if len(rejected) == len(samples):
            raise DataError(f"none of {len(samples)} images can be used, {rejected[0].image_id} for instance")
    failed_path = write_failed(output, failed)
    told = f"; {len(failed)} left out, see {failed_path}" if failed_path else ""
    console.print(f"{len(samples) - len(rejected)} images in {output}{told}", markup=False, soft_wrap=True)
    return len(failed)


def choose_machine(config: PredictionConfig, model: Path) -> Machine:
    """Where and in which precision. Raises ValueError for what the device or the kind of model has not."""
    machine = Machine.choose(RunConfig(device=config.device))
    if config.precision == "float16" and machine.device.type != "cuda":
        raise ValueError(f"--precision float16 needs CUDA, not {machine.device}: use float32 or bfloat16")
    if config.precision != "float32" and model.suffix == ".onnx":
        raise ValueError(f"--precision {config.precision}: an ONNX file has its own; see ccd export --onnx --fp16")
    return replace(machine, precision=getattr(torch, config.precision))


def find_images(places: Sequence[Path]) -> tuple[Sequence[Sample], list[Rejected]]:
    """Files, and of a folder all images below it, sorted; and what looks like an image there but cannot be used. Ids
    are spelled as in data/names.py: of a single folder the POSIX paths relative to it, else the paths as given.

    Raises ValueError for a place that is not there, session.DataError for a folder without an image.
    """
    if not places:
        raise ValueError("name the images: a folder or files")
    for place in places:
        if not (place.is_dir() or place.is_file()):  # a FIFO would keep its reader waiting
            raise ValueError(f"there is no file or folder {spell(str(place))}")
    if len(places) == 1 and places[0].is_dir():
        return _below(places[0])
    samples: list[Sample] = []
    skipped: list[Rejected] = []
    for place in places:
        name = spell(place.as_posix())
        if place.is_dir():
            found, unusable = _below(place)
            samples += [Sample(f"{name}/{sample.image_id}", sample.path) for sample in found]
            skipped += [Rejected(f"{name}/{each.image_id}", each.reason) for each in unusable]
        else:
            samples.append(Sample(name, place))
    return samples, skipped


def _below(folder: Path) -> tuple[Sequence[Sample], list[Rejected]]:
    try:
        splits = read_folder(folder, class_names=())
    except ValueError as error:
        raise DataError(str(error)) from error
    return splits.train.samples, [Rejected(image_id, reason) for image_id, reason in splits.skipped]


def _tell(rejected: Sequence[Rejected], console: Console) -> None:
    for each in rejected:
        line = f"left out {each.image_id}: {each.reason}"
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
