"""Folders in Pascal VOC's layout, small and made on the spot."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

# An object: its class as VOC spells it, and whether it is marked difficult.
Objects = list[tuple[str, bool]]
MakeVoc = Callable[..., Path]


def _annotation(objects: Objects) -> str:
    items = (f"<object><name>{name}</name><difficult>{int(hard)}</difficult></object>" for name, hard in objects)
    return f"<annotation><folder>VOC</folder>{''.join(items)}</annotation>"


@pytest.fixture
def make_voc(tmp_path: Path) -> MakeVoc:
    """make_voc({"train": {"2008_1": [("cat", False)]}}, root=...) writes lists, images and annotations."""

    def make(splits: Mapping[str, Mapping[str, Objects]], root: Path = tmp_path / "VOC2012") -> Path:
        for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for split, images in splits.items():
            (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{image_id}\n" for image_id in images))
            for image_id, objects in images.items():
                Image.new("RGB", (8, 6)).save(root / f"JPEGImages/{image_id}.jpg")
                (root / f"Annotations/{image_id}.xml").write_text(_annotation(objects))
        return root

    return make
