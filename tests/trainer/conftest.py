"""The folder of a labelled run, as the stages leave it, without a labeler or a training."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

# What a careless or hostile name can hold: spaces, quotes, separators, markup, a formula, a line break, what looks
# like an escape, bytes that are no UTF-8.
HOSTILE = (
    "a b.jpg", 'quote".jpg', "it's.jpg", "comma,semi;pipe|.jpg", "sub/<script>alert(1)<_script>.jpg", "=1+1.jpg",
    "-x.jpg", "line\nbreak.jpg", "back\\x41slash.jpg", "{}[]*?.jpg", "katze-\U0001f408.jpg", "caf\udce9.jpg",
    "%41#&.jpg",
)  # fmt: skip
CLASSES = ("cat", "traffic light, red", '"<b>&')

MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def hostile_names() -> tuple[str, ...]:
    return HOSTILE


@pytest.fixture(scope="session")
def make_labelled_run(
    tmp_path_factory: pytest.TempPathFactory, image_bytes: Callable[..., bytes]
) -> Callable[..., Path]:
    """make_labelled_run(names=..., classes=..., seed=...): a run's folder with labels of images with these names, 40 by
    30 pixels, beside it in photos/. Image 0 was rejected by the labeler; image 1 has no label of 1/2; every other one
    has the first class, with a view, and some of the others."""

    def make(names: Sequence[str] = HOSTILE, classes: Sequence[str] = CLASSES, seed: int = 0) -> Path:
        from trainer.data.folder import read_folder
        from trainer.data.index import build_index
        from trainer.published_labels import publish

        folder = tmp_path_factory.mktemp("labelled")
        photos, root = folder / "photos", folder / "run"
        content = image_bytes(1, 40, 30)
        for name in names:
            path = Path(os.fsdecode(os.fsencode(photos) + b"/" + os.fsencode(name)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (root / "labels").mkdir(parents=True)
        images = read_folder(photos, tuple(classes)).train
        build_index(images, workers=1, progress=lambda _: None).write(root / "index.parquet")
        settings = {
            "data": str(photos), "method": "ccd", "update": True, "debias": True, "box_offset": 0.125,
            "classes": list(classes),
        }  # fmt: skip
        (root / "config.resolved.yaml").write_text(yaml.safe_dump(settings))
        weights = hashlib.sha256(b"clip").hexdigest()
        (root / "state.json").write_text(json.dumps({"labeler": {"model": "tiny", "weights_sha256": weights}}))
        write_arrays(root, len(images), len(classes), seed)
        publish(root, split="train")
        return root

    return make


def write_arrays(root: Path, num_images: int, num_classes: int, seed: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    raw = rng.dirichlet(np.ones(num_classes), num_images).astype(np.float32)
    raw[0] = np.nan
    bias = np.full(num_classes, 0.8, np.float32)
    initial = np.minimum(raw / bias, 1)
    final = rng.uniform(0, 1, (num_images, num_classes)).astype(np.float32)
    final[0], final[1], final[2:, 0] = np.nan, 0.25, 0.75
    for name, array in (("initial_raw", raw), ("initial", initial), ("final", final)):
        np.save(root / "labels" / f"{name}.npy", array)
    (root / "labels/bias.json").write_text(json.dumps({"bias": bias.tolist()}))
    images = np.arange(2, num_images)
    columns = {
        "image": images, "file_name": [""] * len(images), "class": np.zeros(len(images), np.int16),
        "class_name": [""] * len(images), "x0": images % 3, "y0": images % 2, "x1": images * 0 + 30,
        "y1": images * 0 + 20,
    }  # fmt: skip
    pq.write_table(pa.table(columns), root / "labels/views.parquet")
    np.save(root / "labels/views.npy", rng.uniform(0, 1, (len(images), num_classes)).astype(np.float32))


@pytest.fixture(scope="session")
def labelled_run(make_labelled_run: MakeRun) -> Path:
    """One of them, to read only."""
    return make_labelled_run()
