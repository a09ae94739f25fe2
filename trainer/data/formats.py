"""DATA on the command line to a data set: the table of known formats. A new format is one function and one line."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.data.classes import parse_classes
from trainer.data.folder import read_folder
from trainer.data.sample import DataSplits
from trainer.data.voc import Difficult, has_split, read_voc

# As many images as keep the demo's ten epochs to minutes on two CPU cores; its drawings are cheap, training is not.
DEMO_TRAIN, DEMO_VAL, DEMO_SEED = 3000, 1000, 0


@dataclass(frozen=True)
class ReadOptions:
    """What a reader may need beside the place: the user's classes, the rule for difficult objects, a folder to keep
    generated data in."""

    class_names: tuple[str, ...] | None
    difficult: Difficult
    cache: Path


def open_data(spec: str, *, classes: str | None, difficult: Difficult = "negative", cache: Path) -> DataSplits:
    """Opens `demo`, a folder of images, or FORMAT:PATH.

    classes: a file or a list for parse_classes; None takes the format's own.
    cache: where generated data (the demo's drawings) are kept between runs.
    Raises ValueError, in one line, for an unknown format or data that are not as the format says.
    """
    options = ReadOptions(parse_classes(classes) if classes is not None else None, difficult, cache)
    name, colon, location = spec.partition(":")
    if spec == "demo" or (colon and name in FORMATS):
        return FORMATS[name](Path(location), options)
    if not colon or Path(spec).is_dir():
        return _folder(Path(spec), options)
    raise ValueError(f"unknown data format '{name}' in '{spec}'; known: a folder of images, demo, {_known_formats()}")


def _known_formats() -> str:
    return ", ".join(f"{name}:DIR" for name in FORMATS if name != "demo")


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
    return _read_voc(path, options, "trainval", "test")  # the paper's 5,011 and 4,952 images (section 4.1)


def _voc12(path: Path, options: ReadOptions) -> DataSplits:
    return _read_voc(path, options, "train", "val")  # the paper's 5,717 and 5,823 images (section 4.1)


def _read_voc(path: Path, options: ReadOptions, train: str, val: str | None) -> DataSplits:
    return read_voc(
        path, class_names=options.class_names, train_split=train, val_split=val, difficult=options.difficult
    )


FORMATS: dict[str, Callable[[Path, ReadOptions], DataSplits]] = {
    "demo": _demo,
    "folder": _folder,
    "voc": _voc,
    "voc07": _voc07,
    "voc12": _voc12,
}
