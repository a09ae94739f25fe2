"""Folders of small runs, written by the trainer's own writers with made-up figures: a report needs no training."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from trainer.config import RunConfig, resolve
from trainer.data.folder import read_folder
from trainer.data.index import build_index
from trainer.files import write_json
from trainer.map_samples import MapSamples, choose_samples
from trainer.metrics import average_precisions
from trainer.pseudo_labels import max_over_views, save_rows
from trainer.run_folder import RunFolder
from trainer.session import PLACES
from trainer.view_table import Views

# What could run, close an element, or turn text around.
HOSTILE_FILES = (
    "<img src=x onerror=alert(1)>.png",
    '"><svg onload=alert(2)>.png',
    "{{ 7 * 7 }} {% raw %}.png",
    "new\nline.png",
    "cod.\u202egnp.png",
    "' onmouseover='alert(3).png",
)
CLASSES = ("cat", "dog", "<b>tree</b>", "sofa")
NUM_IMAGES = 24

MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, image_bytes: Callable[..., bytes]) -> Path:
    """24 images, some under hostile names; the last two are one file."""
    folder = tmp_path_factory.mktemp("photos")
    plain = [f"holiday {i:02d}.png" for i in range(NUM_IMAGES - len(HOSTILE_FILES) - 2)]
    for seed, name in enumerate((*HOSTILE_FILES, *plain)):
        (folder / name).write_bytes(image_bytes(seed, 96, 64 + seed, "PNG"))
    for name in ("twin a.png", "twin b.png"):
        (folder / name).write_bytes(image_bytes(99, 80, 80, "PNG"))
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="session")
def hostile_files() -> tuple[str, ...]:
    return HOSTILE_FILES


@pytest.fixture(scope="session")
def finished_run(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with targets. Shared: do not change it."""
    return make_run(tmp_path_factory.mktemp("runs") / "with targets")


@pytest.fixture(scope="session")
def run_without_targets(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared: do not change it."""
    return make_run(tmp_path_factory.mktemp("runs") / "without targets", targets=False)


@pytest.fixture(scope="session")
def make_run(photos: Path) -> MakeRun:
    """make_run(folder, targets=True, until="end", **settings): the folder of a run that has come as far as `until`:
    settings, index, clip, labels, views, training or end."""

    def make(folder: Path, *, targets: bool = True, until: str = "end", **settings: object) -> Path:
        steps = ("settings", "index", "clip", "labels", "views", "training", "end")
        writer = _Writer(folder, photos, targets, dict(settings))
        for step in steps[: steps.index(until) + 1]:
            getattr(writer, step)()
        writer.folder.close()
        return folder

    return make


class _Writer:
    """Writes what each stage of a run leaves."""

    def __init__(self, root: Path, photos: Path, targets: bool, settings: dict[str, object]) -> None:
        self.folder = RunFolder(root)
        self.photos, self.targets, self.given = photos, targets, settings
        self.rng = np.random.default_rng(0)

    def settings(self) -> None:
        config = resolve(RunConfig(**self.given), data_format="folder", num_classes=len(CLASSES), prompt="a {}")
        values = {name: value for name, value in asdict(config).items() if name not in PLACES}
        self.folder.bind({"data": str(self.photos), **values, "classes": list(CLASSES)})
        self.config = config

    def index(self) -> None:
        index = build_index(read_folder(self.photos, CLASSES).train, workers=1, progress=lambda _: None)
        index.write(self.folder.path("index.parquet"))
        self.sizes = index.sizes[index.ok]
        self.image_ids = [row.image_id for row in index.rows if not row.reason]
        assert len(self.image_ids) == NUM_IMAGES

    def clip(self) -> None:
        """Nobody is confidently a sofa."""
        raw = self.rng.dirichlet((1.0, 1.0, 1.0, 0.1), NUM_IMAGES).astype(np.float32)
        raw[raw.argmax(axis=1) == 3] = (0.7, 0.1, 0.1, 0.1)
        save_rows(self.folder.path("labels/initial_raw.npy"), raw)
        self.folder.note("labeler", model="demo", weights_sha256="ab" * 32, dtype="float32")
        with self.folder.stage("clip_labels"):
            self.folder.note("initial_labels", rejected=[])
        self.raw = raw

    def labels(self) -> None:
        first = self.raw.argmax(axis=1)
        counts = np.bincount(first, minlength=len(CLASSES))
        bias = [float(self.raw[first == c, c].mean()) if n else 0.5 for c, n in enumerate(counts)]
        facts = {"classes": list(CLASSES), "bias": bias, "counts": counts.tolist(), "images": NUM_IMAGES}
        write_json(self.folder.path("labels/bias.json"), facts | {"max_entropy": 9.0, "entropy_unit": "nats"})
        self.initial = np.minimum(self.raw / np.array(bias, np.float32), 1)
        with self.folder.stage("initial_labels"):
            save_rows(self.folder.path("labels/initial.npy"), self.initial)

    def views(self) -> None:
        """Two crops an image, but for the last; whatever is a cat is a dog too."""
        image = np.repeat(np.arange(NUM_IMAGES - 1), 2)
        boxes = np.concatenate([[[0, 0, w // 2, h // 2], [w // 4, h // 4, w, h]] for w, h in self.sizes[:-1]])
        views = Views(image, np.tile(np.array([0, 1], np.int16), NUM_IMAGES - 1), boxes.astype(np.int32))
        with self.folder.stage("views"):
            views.write(self.folder.path("labels/views.parquet"), self.image_ids, CLASSES)
        rows = self.rng.dirichlet((1.0,) * len(CLASSES), len(views)).astype(np.float32)
        local = max_over_views(rows, image, NUM_IMAGES)
        final = np.where(np.isnan(local), self.initial, 0.2 * self.initial + 0.8 * local).astype(np.float32)
        final[:8, 0] = 0.9
        final[:, 1] = np.maximum(final[:, 0], final[:, 1])
        with self.folder.stage("label_update"):
            for name, array in (("views", rows), ("local", local), ("final", final)):
                save_rows(self.folder.path(f"labels/{name}.npy"), array)
        self.final, self.local, self.found = final, local, views

    def training(self) -> None:
        epochs = [
            {"epoch": e, "label_loss": 0.7 / (e + 1), "consistency_loss": 0.01 * e, "map_against_labels": 40.0 + 5 * e,
             "validation_map": 50.0 + e if self.targets else None}
            for e in range(4)
        ]  # fmt: skip
        self.folder.path("metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in epochs))
        for stage in ("warmup", "training"):
            with self.folder.stage(stage):
                pass

    def end(self) -> None:
        classifier = self.rng.random((NUM_IMAGES, len(CLASSES))).astype(np.float32)
        save_rows(self.folder.path("labels/classifier.npy"), classifier)
        embeddings = self.rng.normal(size=(NUM_IMAGES, 16)).astype(np.float16)
        embeddings[1] = embeddings[0]  # look alike, but are other files
        np.save(self.folder.path("labels/embeddings.npy"), embeddings)
        images, classes = choose_samples(self.final, self.raw, self.local, self.found)
        maps = self.rng.normal(size=(len(images), 4, 4)).astype(np.float16)
        MapSamples(images, classes, maps).write(self.folder.path("labels/map_samples.npz"))
        found = {"initial_labels": 60.0, "final_labels": 70.0} if self.targets else {}
        if self.targets:
            found |= {"validation": 65.0, "validation_best_epoch": 66.0}
            self._evaluation()
        write_json(self.folder.path("environment.json"), {"ccd": "0.1.0", "torch": "2.9"})
        self.folder.path("failed.csv").write_bytes(b"image_id,reason\r\nbroken.png,no image\r\nb\xff\xfe.png,odd\r\n")
        summary = {
            "map": found, "images": NUM_IMAGES, "images_validation": 12 * self.targets, "images_failed": 2,
            "stop_epoch": 2, "stop_rule_fired": True, "epochs_trained": 4, "clip_forward_passes": 70,
            "seconds": self.folder.seconds(),
        }  # fmt: skip
        write_json(self.folder.path("summary.json"), summary)

    def _evaluation(self) -> None:
        targets = (self.rng.random((12, len(CLASSES))) < 0.5).astype(np.int8)
        targets[:, 3] = 0
        logits = self.rng.normal(size=targets.shape).astype(np.float32) + targets
        np.savez(self.folder.path("evaluation.npz"), logits=logits, targets=targets)
        lines = ["class,average_precision,positives"]
        for c, precision in enumerate(average_precisions(logits, targets)):
            lines.append(f"{CLASSES[c]},{100 * precision:.2f},{targets[:, c].sum()}")
        self.folder.path("per_class.csv").write_text("\n".join(lines) + "\n")
