"""A folder as the world has them: hostile names, broken files, links, FIFOs. Each image is labelled or listed."""

import csv
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainer.data.folder import read_folder
from trainer.data.index import build_index
from trainer.data.names import spell

NAMES = (
    b"with space", b"'single' \"double\"", b"<script>alert(1)<", b"<img src=x onerror=alert(1)>", b"two\nlines",
    b"caf\xe9", b"\xff\xfe", "\u202egpj.exe".encode(), b"$(touch pwned)", b"`touch pwned`", b"; touch pwned;",
    b"| touch pwned", b"--help", b"-rf", b"back\\slash", b"\\xff", b"tab\t", b"\r", b"\x1b[31mred\x1b[0m", b"=1+1",
    b"[bold]red", b"%s %d {0} {}", b"a,b;c", "日本 👩‍👧".encode(), b"x" * 250, b" ", b"#", b"?q=1&r=2", b"_..", b"~",
)  # fmt: skip
ORIENTATION = 0x0112


@dataclass
class Tree:
    """Names of files, as bytes below the folder: those that must be labelled, and those that cannot be."""

    root: bytes
    usable: set[bytes] = field(default_factory=set)
    unusable: set[bytes] = field(default_factory=set)

    def path(self, name: bytes) -> bytes:
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, name: bytes, content: bytes, *, usable: bool = True) -> None:
        with open(self.path(name), "wb") as file:
            file.write(content)
        (self.usable if usable else self.unusable).add(name)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def noise(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 80).convert("RGB")


def pictures() -> Iterator[tuple[bytes, bytes]]:
    """Suffix and content: formats, modes, orientations, sizes."""
    small = noise(64, 48)
    for mode in ("L", "RGB", "CMYK"):
        yield b".jpg", encode(small.convert(mode), "JPEG")
    for mode in ("1", "L", "LA", "P", "RGBA"):
        yield b".png", encode(small.convert(mode), "PNG")
    yield b".png", encode(Image.new("I;16", (30, 20), 40_000), "PNG")
    for kind, suffix in (("GIF", b".gif"), ("WEBP", b".webp")):
        yield suffix, encode(small, kind, save_all=True, append_images=[noise(64, 48)] * 3)
    for orientation in range(1, 9):
        tags = Image.Exif()
        tags[ORIENTATION] = orientation
        yield b".JPG", encode(small, "JPEG", exif=tags)
    for size in ((1, 1), (1, 2000), (2000, 1), (2, 3), (1024, 16)):
        yield b".jpeg", encode(noise(*size), "JPEG")
        yield b".png", encode(noise(*size), "PNG")
    yield b".bmp", encode(small, "BMP")
    yield b".jpg", encode(small, "PNG")  # by its content another one
    yield b".jpg", encode(noise(800, 600), "JPEG", progressive=True)


@pytest.fixture(scope="module")
def make_tree() -> Callable[..., Tree]:
    """make_tree(folder, count): `count` images that can be used, and all kinds that cannot."""

    def make(folder: Path, count: int) -> Tree:
        tree = Tree(os.fsencode(folder))
        contents = list(pictures())
        for number in range(count):
            suffix, content = contents[number % len(contents)]
            name = NAMES[number % len(NAMES)]
            tree.write(b"%d/%s%s" % (number // len(NAMES), name, suffix), content)
        add_duplicates_and_folders(tree, contents[0][1])
        add_broken(tree, contents[0][1], contents[4][1])
        return tree

    return make


def add_duplicates_and_folders(tree: Tree, content: bytes) -> None:
    tree.write(b"folder.jpg/inside.jpg", content)
    tree.write(b"/".join([b"deep"] * 40) + b"/leaf.jpg", content)
    tree.write(b"<b onclick=alert(1)>\n\xff/x.jpg", content)
    os.link(tree.path(b"folder.jpg/inside.jpg"), tree.path(b"hard link.jpg"))
    os.symlink(b"folder.jpg/inside.jpg", tree.path(b"soft link.jpg"))
    tree.usable |= {b"hard link.jpg", b"soft link.jpg"}
    for name in (b"notes.txt", b".hidden.jpg"):
        open(tree.path(name), "wb").close()


def add_broken(tree: Tree, jpeg: bytes, png: bytes) -> None:
    tree.write(b"empty.jpg", b"", usable=False)
    tree.write(b"cut\n<script>.jpg", jpeg[: len(jpeg) // 2], usable=False)
    tree.write(b"cut.png", png[: len(png) // 2], usable=False)
    tree.write(b"page.png", b"<html><script>alert(1)</script></html>", usable=False)
    tree.write(b"no suffix", jpeg, usable=False)
    tree.write(b"scan.tiff", encode(noise(20, 20), "TIFF"), usable=False)
    os.symlink(b"nowhere", tree.path(b"broken \xff link.jpg"))
    os.symlink(b"circle.jpg", tree.path(b"circle.jpg"))
    os.symlink(b"..", tree.path(b"up"))
    os.symlink(b"/dev/zero", tree.path(b"endless.jpg"))
    os.mkfifo(tree.path(b"fifo.jpg"))
    tree.unusable |= {b"broken \xff link.jpg", b"circle.jpg", b"up", b"endless.jpg", b"fifo.jpg"}
    tree.write(b"private.jpg", jpeg, usable=os.geteuid() == 0)
    os.chmod(tree.path(b"private.jpg"), 0)


def spelled(names: set[bytes]) -> set[str]:
    return {spell(os.fsdecode(name)) for name in names}


def test_everything_in_the_folder_is_indexed_or_listed(make_tree: Callable[..., Tree], tmp_path: Path) -> None:
    """Would fail if a name or a kind of file ended the run, was lost, or was waited for."""
    tree = make_tree(tmp_path, 60)
    splits = read_folder(tmp_path, ("cat",))
    index = build_index(splits.train, workers=2, progress=lambda _: None)
    index.write(tmp_path / "index.parquet")
    assert {row.image_id for row in index.rows if not row.reason} == spelled(tree.usable)
    failed = {row.image_id for row in index.failures()} | {name for name, _ in splits.skipped}
    assert failed == spelled(tree.unusable)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_command_from_a_hostile_folder_to_a_classifier(
    make_tree: Callable[..., Tree], start_trainer: Callable[..., Any], tmp_path: Path
) -> None:
    """Would fail if one of 200 hostile photographs ended the run, was lost, got another's label or was executed."""
    folder, output = (
        tmp_path / "photos [" / "b] <i>\n\u202e\udcff",
        tmp_path / "run [" / "b]",
    )  # "[/b]" is markup to rich
    tree = make_tree(folder, 200)
    tree.write(b"large.jpg", encode(Image.new("RGB", (10_000, 8_000), "red"), "JPEG"))
    tree.write(b"too large.jpg", encode(Image.new("RGB", (12_000, 9_000), "red"), "JPEG"), usable=False)
    short = ("--epochs", "2", "--warmup-epochs", "1", "--batch-size", "16", "--export-cams")
    process = start_trainer("run", folder, "--classes", "cat, dog, tree", "--output", output, *short)
    text, _ = process.communicate(timeout=880)
    assert process.returncode == 5, text
    assert "Traceback" not in text
    assert "\x1b[31m" not in text, "a name coloured the terminal"
    assert text.splitlines()[-1].startswith("next: ccd ")

    table = pq.read_table(output / "labels" / "labels.parquet").to_pylist()
    labelled = {row["file_name"] for row in table if row["status"] == "ok"}
    with (output / "failed.csv").open(newline="", encoding="utf-8") as file:
        failed = {row["image_id"]: row["reason"] for row in csv.DictReader(file)}
    assert spelled(tree.unusable) <= set(failed)
    assert all(failed.values())
    refused = set(failed) - spelled(tree.unusable)
    assert all(failed[name].startswith("labeler: ") for name in refused), "the labeler's own limits are narrower"
    assert labelled == spelled(tree.usable) - refused
    assert len(refused) <= 2, failed
    turned = {row["file_name"]: (row["width"], row["height"]) for row in table}
    for name in tree.usable:
        with Image.open(tree.path(name)) as image:
            width, height = image.size
            if image.getexif().get(ORIENTATION, 1) >= 5:
                width, height = height, width
        assert turned[spell(os.fsdecode(name))] == (width, height), name
    assert not [path for path in (Path.cwd(), folder, output, tmp_path) if (path / "pwned").exists()]
