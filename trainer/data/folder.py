"""A plain folder of images: no targets, nothing to evaluate on. The format of someone with unlabelled photographs."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainer.data.images import EXTENSIONS, FORMATS, sniff
from trainer.data.names import spell
from trainer.data.sample import DataSplits, FolderSamples, ImageSet

PROMPT = "a photo of the {}"  # paper section 4.1

_SUFFIXES = tuple(extension.encode() for extension in EXTENSIONS)
# What lies under a file's name that is no file (inode(7)).
_KINDS = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


@dataclass
class Found:
    """What lies below a folder. images: paths relative to it, as the file system has them, sorted by their bytes.
    skipped: (id, reason) of what looks like an image but cannot be used. num_others: files that are no images."""

    images: list[bytes] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    num_others: int = 0


def read_folder(path: Path, class_names: tuple[str, ...]) -> DataSplits:
    """Every image below the folder that `find_images` finds; an image's id is its POSIX path relative to the folder,
    spelled as in names.py.

    Raises ValueError where there is no such folder or no image in it.
    """
    found = find_images(path)
    if not found.images:
        seen = f"; it holds {found.num_others} other files" if found.num_others else ""
        seen += "".join(f"; {name}: {reason}" for name, reason in found.skipped[:1])
        raise ValueError(f"folder {path} holds no image ({', '.join(sorted(EXTENSIONS))}){seen}")
    train = ImageSet("train", FolderSamples.of(path, found.images))
    return DataSplits(class_names, PROMPT, train, skipped=tuple(found.skipped))


def find_images(folder: Path) -> Found:
    """Every image below the folder by its suffix: one of EXTENSIONS, in any case.

    Hidden files and folders are passed over. Links to files are followed, links to folders are not, so that no circle
    is walked. What looks like an image but is none of these is `skipped`, with the reason: a link that leads nowhere, a
    link to a folder, a FIFO, a folder that may not be read, an image by its first bytes whose suffix is another.
    Raises ValueError where there is no such folder or it may not be read.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    root, found, waiting = os.fsencode(folder), Found(), [b""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(os.path.join(root, below)) as entries:
                waiting += _sort_out(entries, below, found)
        except OSError as error:
            if not below:
                raise ValueError(f"folder {folder} cannot be read: {error.strerror}") from None
            found.skipped.append((_id(below), f"a folder that cannot be read: {error.strerror}"))
    found.images.sort()
    found.skipped.sort()
    return found


def _sort_out(entries: "Iterator[os.DirEntry[bytes]]", below: bytes, found: Found) -> list[bytes]:
    """Puts a folder's files where they belong; returns its folders."""
    folders = []
    for entry in entries:
        if entry.name.startswith(b"."):
            continue
        name = below + entry.name
        if entry.is_dir(follow_symlinks=False):
            folders.append(name + b"/")
            continue
        looks_so = entry.name.lower().endswith(_SUFFIXES)
        if looks_so and not entry.is_symlink() and entry.is_file():  # nearly all: no look at the file itself
            found.images.append(name)
            continue
        reason = _reason(entry, looks_so)
        if reason:
            found.skipped.append((_id(name), reason))
        elif looks_so:
            found.images.append(name)
        else:
            found.num_others += 1
    return folders


def _reason(entry: "os.DirEntry[bytes]", looks_so: bool) -> str:
    """Why a file that is an image, or looks like one, cannot be used; "" for a usable image and for other files."""
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return f"a link that leads nowhere: {error.strerror}" if looks_so else ""
    if stat.S_ISDIR(mode):
        return "a link to a folder, which is not followed"
    if not stat.S_ISREG(mode):
        return f"no file but a {_KINDS.get(stat.S_IFMT(mode), 'thing of another kind')}" if looks_so else ""
    if looks_so:
        return ""
    try:
        with open(entry.path, "rb") as file:
            kind = sniff(file.read(16))
    except OSError:
        return ""  # nothing says that it was an image
    if kind in FORMATS:
        return f"an image ({kind}) whose name does not end in {', '.join(sorted(EXTENSIONS))}: rename it"
    return f"an image in a format that is not read ({kind}): convert it to JPEG or PNG" if kind else ""


def _id(name: bytes) -> str:
    return spell(os.fsdecode(name.rstrip(b"/")))
