"""What all stages of a run share: settings, folder, usable images, machine. Made once, at the start, by `open_run`."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from rich.console import Console

from trainer.config import DEFAULTS, LABELER_FILES, EvaluationConfig, RunConfig, Settings, resolve
from trainer.data.formats import open_data
from trainer.data.index import Index, write_index
from trainer.data.pixel_cache import PixelCache
from trainer.data.sample import DataSplits, ImageSet, Published
from trainer.engine import Machine
from trainer.files import write_atomically
from trainer.first_lines import announce
from trainer.progress import track
from trainer.run_folder import RunFolder

# Settings that say where and how fast, not what: a run may go on with others.
PLACES = ("labeler", "labeler_wait", *LABELER_FILES, "device", "clip_device", "workers")


class DataError(ValueError):
    """The data set cannot be used as it is."""


@dataclass(frozen=True)
class Run:
    """One run, opened. Arrays of N rows follow `train`, the training images that could be decoded."""

    data: str
    config: Settings
    folder: RunFolder
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


def open_run(data: str, output: Path, config: RunConfig, console: Console) -> Run:
    """Reads the data set, fills the settings, ties the folder to them, and looks at every image once.

    Raises DataError for data that cannot be used, ValueError for settings that contradict each other or the folder.
    """
    splits = open_splits(data, config)
    settings = resolve(config, data_format=data_format(data), num_classes=len(splits.class_names), prompt=splits.prompt)
    folder = RunFolder(output)
    try:
        folder.bind(_identity(data, splits.class_names, settings))
        given = {name: value for name, value in asdict(config).items() if value != getattr(DEFAULTS, name)}
        write_atomically(folder.path("config.yaml"), yaml.safe_dump({"data": data, **given}).encode())
        machine = Machine.choose(settings)
        announce(data, splits, settings, output, machine, console)
        return _look_at_images(data, splits, settings, folder, machine, console)
    except BaseException:
        folder.close()
        raise


def _look_at_images(
    data: str, splits: DataSplits, settings: Settings, folder: RunFolder, machine: Machine, console: Console
) -> Run:
    train, index = _usable(splits.train, folder.path("index.parquet"), settings.workers, console)
    validation, failures = splits.validation, index.failures()
    if validation is not None:
        path = folder.path("index_validation.parquet")
        validation, other = _usable(validation, path, settings.workers, console)
        failures += other.failures()
    return Run(
        data=data,
        config=settings,
        folder=folder,
        console=console,
        machine=machine,
        cache=PixelCache(),
        class_names=splits.class_names,
        train=train,
        hashes=index.hashes,
        sizes=index.sizes[index.ok],
        validation=validation,
        failed=(*splits.skipped, *((row.image_id, row.reason) for row in failures)),
        published=splits.published,
    )


def data_format(data: str) -> str:
    """`demo`, `folder`, or what stands before the colon of FORMAT:PATH."""
    if data == "demo":
        return data
    return data.partition(":")[0] if ":" in data and not Path(data).is_dir() else "folder"


def _identity(data: str, class_names: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    """What makes two runs the same run."""
    values = {name: value for name, value in asdict(settings).items() if name not in PLACES}
    return {"data": data, **values, "classes": list(class_names)}


def _usable(images: ImageSet, path: Path, workers: int, console: Console) -> tuple[ImageSet, Index]:
    """The images that can be decoded, by an index that is made once per run."""
    if path.exists():
        index = Index.read(path)
        if not index.describes(images):
            raise DataError(
                f"images were added to or removed from {images.name} since the run began; choose another --output"
            )
    else:
        with track(console, f"checking {images.name} images", len(images)) as advance:
            write_index(path, images, workers=workers, progress=advance)
        index = Index.read(path)
    good = np.flatnonzero(index.ok)
    if len(good) == 0:
        first = index.failures()[0]
        raise DataError(f"no {images.name} image can be used, {first.image_id} for instance: {first.reason}")
    return images.subset(good), index
