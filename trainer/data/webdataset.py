"""WebDataset shards (https://github.com/webdataset/webdataset): tar files, unpacked once, since epochs are shuffled."""

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from braceexpand import braceexpand
from numpy.typing import NDArray

from trainer.data.images import EXTENSIONS
from trainer.data.names import spell
from trainer.data.sample import DataSplits, ImageSet, Sample
from trainer.files import whole_folder, write_json

PROMPT = "a photo of the {}"  # paper section 4.1

_SAMPLES = "samples.json"  # of an unpacked folder: [id, file, label] of every image


def read_webdataset(pattern: str, *, class_names: tuple[str, ...] | None, cache: Path) -> DataSplits:
    """Reads the shards that a pattern such as `shards/{000..009}.tar`, or a folder of *.tar files, stands for.

    A label is a .cls member (a class's position as a whole number, or a JSON list of 1 present, 0 absent and -1
    unknown, one entry per class) or "labels" of a .json member in the same forms; a sample without one is unknown.
    cache: the images are unpacked below it, in a folder that is made anew when a shard's name, size or time changes.
    Raises ValueError, in one line, for a shard or a sample that is missing or not as expected.
    """
    if class_names is None:
        raise ValueError(f"shards have no class names of their own: give --classes 'cat, dog' for {pattern}")
    folder = _unpacked(_find_shards(pattern), cache)
    entries = json.loads((folder / _SAMPLES).read_text())
    samples = tuple(Sample(image_id, folder / file) for image_id, file, _ in entries)
    targets = None
    if any(label is not None for *_, label in entries):
        targets = np.stack([_target(image_id, label, len(class_names)) for image_id, _, label in entries])
    return DataSplits(class_names, PROMPT, ImageSet("train", samples, targets))


def _find_shards(pattern: str) -> list[Path]:
    if Path(pattern).is_dir():
        shards = sorted(Path(pattern).glob("*.tar"))
        if not shards:
            raise ValueError(f"folder {pattern} holds no shard (*.tar)")
        return shards
    shards = [Path(name) for name in braceexpand(pattern)]
    for shard in shards:
        if not shard.is_file():
            raise ValueError(f"expected shard {shard}, which does not exist")
    return shards


def _unpacked(shards: list[Path], cache: Path) -> Path:
    """The folder that holds these shards' images; unpacks them where that has not been done yet."""
    versions = [(str(shard.resolve()), shard.stat().st_size, shard.stat().st_mtime_ns) for shard in shards]
    folder = cache / f"webdataset-{hashlib.sha256(repr(versions).encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        with whole_folder(folder) as draft:
            entries = [entry for number, shard in enumerate(shards) for entry in _unpack(shard, draft, f"{number:05d}")]
            if not entries:
                raise ValueError(f"none of {len(shards)} shards holds an image, {shards[0]} for instance")
            image_id, count = Counter(image_id for image_id, *_ in entries).most_common(1)[0]
            if count > 1:
                raise ValueError(f"{count} samples of the shards have the name {image_id}, expected different ones")
            write_json(draft / _SAMPLES, entries)
    return folder


def _unpack(shard: Path, folder: Path, number: str) -> Iterator[tuple[str, str, Any]]:
    """Writes the shard's images and yields id, file and label of each.

    The files are numbered: no member's name, which may be any path, becomes the name of a file.
    """
    (folder / number).mkdir()
    try:
        with tarfile.open(shard) as archive:
            for count, (key, parts) in enumerate(_samples(archive)):
                extensions = [extension for extension in parts if f".{extension}" in EXTENSIONS]
                if len(extensions) != 1:
                    members = ", ".join(f".{extension}" for extension in parts)
                    raise ValueError(f"sample '{key}' has {len(extensions)} images, expected one: it has {members}")
                file = f"{number}/{count:07d}.{extensions[0]}"
                (folder / file).write_bytes(parts[extensions[0]])
                yield spell(f"{shard.stem}/{key}"), file, _label(key, parts)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ValueError(f"{shard} is no usable shard: {error}") from None


def _samples(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Neighbouring members whose names agree up to the first dot of the last part, by what follows that dot."""
    key, parts = "", dict[str, bytes]()
    for member in archive:
        name = PurePosixPath(member.name)
        stem, _, extension = name.name.partition(".")
        content = archive.extractfile(member) if member.isfile() else None
        if content is None or not stem:  # folders, links and hidden files
            continue
        if parts and str(name.with_name(stem)) != key:
            yield key, parts
            parts = {}
        key = str(name.with_name(stem))
        parts[extension.lower()] = content.read()
    if parts:
        yield key, parts


def _label(key: str, parts: dict[str, bytes]) -> Any:
    try:
        if "cls" in parts:
            return json.loads(parts["cls"])
        content = json.loads(parts.get("json", b"{}"))
    except ValueError:
        raise ValueError(f"sample '{key}': its .cls or .json is not JSON") from None
    return content.get("labels") if isinstance(content, dict) else None


def _target(image_id: str, label: Any, num_classes: int) -> NDArray[np.int8]:
    """(C,) of one sample."""
    target = np.zeros(num_classes, np.int8)
    match label:
        case None:
            target[:] = -1
        case int() if 0 <= label < num_classes:
            target[label] = 1
        case [*values] if len(values) == num_classes and all(value in (1, 0, -1) for value in values):
            target[:] = values
        case _:
            expected = f"a position below {num_classes} or a list of {num_classes} entries 1, 0 or -1"
            raise ValueError(f"sample {image_id}: expected its label to be {expected}, got {label!r}")
    return target
