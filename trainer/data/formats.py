"""DATA on the command line to a data set: the table of known formats. A new format is one function and one line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from trainer.data.classes import parse_classes
from trainer.data.coco import read_coco
from trainer.data.folder import read_folder
from trainer.data.image_folder import read_image_folder
from trainer.data.npy_folder import read_npy
from trainer.data.nuswide import read_nuswide
from trainer.data.sample import DataSplits
from trainer.data.table import read_csv, read_parquet
from trainer.data.voc import PUBLISHED_2007, PUBLISHED_2012, Difficult, has_split, read_voc
from trainer.data.webdataset import read_webdataset

# As many images as keep the demo's ten epochs to minutes on two CPU cores; its drawings are cheap, training is not.
DEMO_TRAIN, DEMO_VAL, DEMO_SEED = 3000, 1000, 0


@dataclass(frozen=True)
class ReadOptions:
    """What a reader may need beside the place: the user's classes, VOC's rule for difficult objects, whether COCO's
    images without annotation count, a folder to keep generated data in."""

    class_names: tuple[str, ...] | None
    difficult: Difficult
    all_images: bool
    cache: Path


Reader = Callable[[Path, ReadOptions], DataSplits]


def open_data(
    spec: str, *, classes: str | None, difficult: Difficult = "negative", all_images: bool = False, cache: Path
) -> DataSplits:
    """Opens `demo`, a folder of images, or FORMAT:PATH.

    classes: a file or a list for parse_classes; None takes the format's own.
    cache: where generated data (the demo's drawings, unpacked shards) are kept between runs.
    Raises ValueError, in one line, for an unknown format or data that are not as the format says.
    """
    options = ReadOptions(parse_classes(classes) if classes is not None else None, difficult, all_images, cache)
    name, colon, location = spec.partition(":")
    if spec == "demo" or (colon and name in FORMATS):
        return FORMATS[name](Path(location), options)
    if not colon or Path(spec).is_dir():
        return _folder(Path(spec), options)
    raise ValueError(f"unknown data format '{name}' in '{spec}'; known: a folder of images, demo, {_known_formats()}")


def _known_formats() -> str:
    places = {"csv": "FILE", "parquet": "FILE", "webdataset": "PATTERN"}
    return ", ".join(f"{name}:{places.get(name, 'DIR')}" for name in FORMATS if name != "demo")


def _demo(_: Path, options: ReadOptions) -> DataSplits:
    from trainer.data.drawing.catalogue import CLASS_NAMES  # imported here: only the demo pays for the drawing code
    from trainer.data.scenes import drawing_fingerprint, write_demo_dataset

    folder = options.cache / f"demo-{DEMO_TRAIN}-{DEMO_VAL}-{drawing_fingerprint()}"
    write_demo_dataset(folder, num_train=DEMO_TRAIN, num_val=DEMO_VAL, seed=DEMO_SEED)  # returns at once if it is there
    names = options.class_names or CLASS_NAMES
    return read_voc(folder, class_names=names, train_split="train", val_split="val", difficult=options.difficult)


def _folder(path: Path, options: ReadOptions) -> DataSplits:
    if options.class_names is None:
        raise ValueError(f"a folder of images has no class names of its own: give --classes 'cat, dog' for {path}")
    return read_folder(path, options.class_names)


def _voc(path: Path, options: ReadOptions) -> DataSplits:
    train, val = ("train", "val") if has_split(path, "train") else ("trainval", "test")
    return _read_voc(path, options, train, val if has_split(path, val) else None)


def _voc07(path: Path, options: ReadOptions) -> DataSplits:
    splits = _read_voc(path, options, "trainval", "test")  # the paper's splits (section 4.1)
    return replace(splits, published=PUBLISHED_2007)


def _voc12(path: Path, options: ReadOptions) -> DataSplits:
    splits = _read_voc(path, options, "train", "val")  # the paper's splits (section 4.1)
    return replace(splits, published=PUBLISHED_2012)


def _read_voc(path: Path, options: ReadOptions, train: str, val: str | None) -> DataSplits:
    return read_voc(
        path, class_names=options.class_names, train_split=train, val_split=val, difficult=options.difficult
    )


def _coco14(path: Path, options: ReadOptions) -> DataSplits:
    return read_coco(path, class_names=options.class_names, all_images=options.all_images)


def _webdataset(pattern: Path, options: ReadOptions) -> DataSplits:
    return read_webdataset(str(pattern), class_names=options.class_names, cache=options.cache)


def _plain(read: Callable[..., DataSplits]) -> Reader:
    """A reader that needs the place and the user's classes alone."""
    return lambda path, options: read(path, class_names=options.class_names)


FORMATS: dict[str, Reader] = {
    "demo": _demo,
    "folder": _folder,
    "voc": _voc,
    "voc07": _voc07,
    "voc12": _voc12,
    "coco14": _coco14,
    "nuswide": _plain(read_nuswide),
    "nuswide-official": _plain(partial(read_nuswide, layout="official")),
    "nuswide-npy": _plain(partial(read_nuswide, layout="npy")),
    "npy": _plain(read_npy),
    "csv": _plain(read_csv),
    "parquet": _plain(read_parquet),
    "imagefolder": _plain(read_image_folder),
    "webdataset": _webdataset,
}
