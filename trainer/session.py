"""What all stages of a run share: settings, folder, usable images, machine. Made once, at the start, by `open_run`."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from rich.console import Console

from trainer import distributed
from trainer.config import DEFAULTS, LABELER_FILES, EvaluationConfig, RunConfig, Settings, resolve
from trainer.data.formats import open_data
from trainer.data.index import Index, write_index
from trainer.data.pixel_cache import MAX_BYTES, PixelCache
from trainer.data.sample import DataSplits, ImageSet, Published
from trainer.engine import Machine
from trainer.files import write_atomically
from trainer.first_lines import announce
from trainer.progress import track
from trainer.run_folder import RunFolder

# Settings that say where and how fast, not what: a run may go on with others.
PLACES = ("labeler", "labeler_wait", *LABELER_FILES, "device", "clip_device", "workers", "parallel_warmup", "logger")
# What a person said is kept in the run's folder, whatever file it came from (corrected_labels.py).
_KEPT_ELSEWHERE = ("corrections",)


class DataError(ValueError):
    """The data set cannot be used as it is."""


@dataclass(frozen=True)
class Run:
    """One run, opened. Arrays of N rows follow `train`, the training images that could be decoded. `own_folder` is the
    main process's alone."""

    data: str
    config: Settings
    own_folder: RunFolder | None
    console: Console
    machine: Machine
    cache: PixelCache
    class_names: tuple[str, ...]
    train: ImageSet
    hashes: tuple[bytes, ...]
    sizes: npt.NDArray[np.int32]
    validation: ImageSet | None
    failed: tuple[tuple[str, str], ...]
    published: tuple[Published, Published] | None

    @property
    def folder(self) -> RunFolder:
        assert self.own_folder is not None, "only the main process works in the run's folder"
        return self.own_folder

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def cache_folder() -> Path:
    """Where generated data are kept between runs: $CCD_CACHE, else the user's cache folder."""
    return Path(os.environ.get("CCD_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ccd")


def open_splits(data: str, config: RunConfig | EvaluationConfig) -> DataSplits:
    """Reads the data set as the settings say. Raises DataError."""
    try:
        return open_data(
            data,
            classes=config.classes,
            difficult=config.difficult,
            all_images=config.all_images,
            cache=cache_folder(),
        )
    except (ValueError, OSError) as error:
        raise DataError(str(error)) from error


def complete(config: RunConfig, data: str, splits: DataSplits) -> Settings:
    """The settings, with what the data set brings."""
    return resolve(config, data_format=data_format(data), num_classes=len(splits.class_names), prompt=splits.prompt)


def open_run(data: str, output: Path, config: RunConfig, console: Console) -> Run:
    """Reads the data set, fills the settings, ties the folder to them, and looks at every image once.

    Raises DataError for data that cannot be used, ValueError for settings that contradict each other or the folder.
    """
    splits, settings, machine = distributed.main_first(lambda: _look_around(data, config))
    if not distributed.is_main():
        return _look_at_images(data, splits, settings, machine, None, console)
    folder = RunFolder(output)
    try:
        folder.bind(_identity(data, splits.class_names, settings))
        write_atomically(folder.path("config.yaml"), yaml.safe_dump({"data": data, **given(config)}).encode())
        announce(data, splits, settings, output, machine, console)
        return _look_at_images(data, splits, settings, machine, folder, console)
    except BaseException:
        folder.close()
        raise


def _look_around(data: str, config: RunConfig) -> tuple[DataSplits, Settings, Machine]:
    """What needs no folder: the data set, the settings that it completes, and what they run on."""
    splits = open_splits(data, config)
    settings = complete(config, data, splits)
    return splits, settings, Machine.choose(settings)


def _look_at_images(
    data: str, splits: DataSplits, settings: Settings, machine: Machine, folder: RunFolder | None, console: Console
) -> Run:
    train, index = _usable(splits.train, folder, "index.parquet", settings.workers, console)
    validation, failures = splits.validation, index.failures()
    if validation is not None:
        validation, other = _usable(validation, folder, "index_validation.parquet", settings.workers, console)
        failures += other.failures()
    return Run(
        data=data,
        config=settings,
        own_folder=folder,
        console=console,
        machine=machine,
        cache=PixelCache(MAX_BYTES // distributed.node_size()),
        class_names=splits.class_names,
        train=train,
        hashes=index.hashes,
        sizes=index.sizes[index.ok],
        validation=validation,
        failed=(*splits.skipped, *((row.image_id, row.reason) for row in failures)),
        published=splits.published,
    )


def given(config: RunConfig) -> dict[str, Any]:
    """The settings that somebody chose, as YAML reads them."""
    chosen = {name: value for name, value in asdict(config).items() if value != getattr(DEFAULTS, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}


def data_format(data: str) -> str:
    """`demo`, `folder`, or what stands before the colon of FORMAT:PATH."""
    if data == "demo":
        return data
    return data.partition(":")[0] if ":" in data and not Path(data).is_dir() else "folder"


def _identity(data: str, class_names: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    """What makes two runs the same run."""
    values = {name: value for name, value in asdict(settings).items() if name not in (*PLACES, *_KEPT_ELSEWHERE)}
    values |= {name: list(value) for name, value in values.items() if isinstance(value, tuple)}  # as YAML reads them
    return {"data": data, **values, "classes": list(class_names)}


def _usable(
    images: ImageSet, folder: RunFolder | None, name: str, workers: int, console: Console
) -> tuple[ImageSet, Index]:
    """The images that can be decoded, by an index that the main process makes once per run."""

    def read_index() -> Index:
        assert folder is not None
        path = folder.path(name)
        if not path.exists():
            with track(console, f"checking {images.name} images", len(images)) as advance:
                write_index(path, images, workers=workers, progress=advance)
        return _checked(Index.read(path), images)

    index = distributed.from_main(read_index)
    if not index.describes(images):
        raise DataError(f"{images.name} has other images here than where the main process is")
    return images.subset(np.flatnonzero(index.ok)), index


def _checked(index: Index, images: ImageSet) -> Index:
    if not index.describes(images):
        raise DataError(
            f"images were added to or removed from {images.name} since the run began; choose another --output"
        )
    if not index.ok.any():
        first = index.failures()[0]
        raise DataError(f"no {images.name} image can be used, {first.image_id} for instance: {first.reason}")
    return index
