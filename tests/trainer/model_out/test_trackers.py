"""Curves in other programs: every epoch once, whatever was killed in between."""

import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from trainer.config import DEFAULTS
from trainer.run_folder import RunFolder
from trainer.trackers import tracked

ROWS = [
    {"epoch": epoch, "label_loss": 1.0 / (epoch + 1), "map_against_labels": 10.0 * epoch, "validation_map": None}
    for epoch in range(4)
]


@contextmanager
def opened(root: Path, logger: str) -> Iterator[Any]:
    """What `tracked` needs of a run, whose folder is real."""
    from dataclasses import replace

    folder = RunFolder(root)
    try:
        yield SimpleNamespace(config=replace(DEFAULTS, logger=logger), folder=folder)
    finally:
        folder.close()


def train_with_a_kill(root: Path, logger: str) -> None:
    """Two epochs are told; the third has its checkpoint, but the process dies before it is told; then it goes on."""
    with opened(root, logger) as run, tracked(run) as report:
        report(ROWS[:1])
        report(ROWS[:2])
    with opened(root, logger) as run, tracked(run) as report:
        report(ROWS[:3])
        report(ROWS)


EXPECTED = {
    "label_loss": [(row["epoch"], pytest.approx(row["label_loss"])) for row in ROWS],
    "map_against_labels": [(row["epoch"], pytest.approx(row["map_against_labels"])) for row in ROWS],
}


def test_tensorboard_has_each_epoch_once(tmp_path: Path) -> None:
    """Would fail if going on doubled the points, lost the epoch of the kill, or drew figures that do not exist."""
    from tensorboardX.proto.event_pb2 import Event

    train_with_a_kill(tmp_path, "tensorboard")
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted((tmp_path / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:  # a record: length (8 bytes), its checksum (4), the event, its checksum (4)
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert found == EXPECTED


def test_mlflow_has_each_epoch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if a resumed run began a second one there, or told an epoch again."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    train_with_a_kill(tmp_path / "run", "mlflow")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    client = MlflowClient()
    [experiment] = client.search_experiments(filter_string="name = 'ccd'")
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.params["method"]) == ("FINISHED", "ccd")
    found = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    assert {name: sorted((p.step, p.value) for p in points) for name, points in found.items()} == EXPECTED


class Store:
    """A tracker's records, which outlive a process: steps and values by run id."""

    def __init__(self) -> None:
        self.records: dict[str, list[tuple[int, dict[str, float]]]] = {}
        self.open: list[str] = []

    def points(self) -> dict[str, list[tuple[int, float]]]:
        [record] = self.records.values()
        found: dict[str, list[tuple[int, float]]] = {}
        for step, values in record:
            for name, value in values.items():
                found.setdefault(name, []).append((step, value))
        return found


def fake_wandb(store: Store) -> ModuleType:
    """Of wandb 0.31: `step` is that of the next log, and a resumed run goes on where it was; an older step is
    dropped."""

    def init(*, project: str, id: str, name: str, config: dict[str, str], resume: str) -> Any:
        assert resume == "allow"
        record = store.records.setdefault(id, [])
        store.open.append(id)

        def log(values: dict[str, float], *, step: int, commit: bool) -> None:
            if step >= run.step:
                record.append((step, values))
                run.step = step + 1

        step = record[-1][0] + 1 if record else 0
        run = SimpleNamespace(step=step, log=log, finish=lambda: store.open.remove(id))
        return run

    module = ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]
    return module


def fake_trackio(store: Store) -> ModuleType:
    """Of trackio 0.43: a run is known by its name, and keeps whatever it is told."""

    def init(project: str, *, name: str, config: dict[str, str], resume: str) -> Any:
        assert resume == "allow"
        store.open.append(name)
        record = store.records.setdefault(name, [])
        return SimpleNamespace(log=lambda values, *, step: record.append((step, values)))

    module = ModuleType("trackio")
    module.init = init  # type: ignore[attr-defined]
    module.finish = store.open.clear  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(("name", "make"), [("wandb", fake_wandb), ("trackio", fake_trackio)])
def test_trackers_elsewhere_have_each_epoch_once(
    name: str, make: Callable[[Store], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would fail if a resumed run appeared as a second one, an epoch were lost or doubled, or a run stayed open."""
    store = Store()
    monkeypatch.setitem(sys.modules, name, make(store))
    train_with_a_kill(tmp_path, name)
    assert store.points() == EXPECTED
    assert store.open == []


@pytest.mark.parametrize(
    ("logger", "package"),
    [("tensorboard", "tensorboardX"), ("mlflow", "mlflow"), ("trackio", "trackio"), ("wandb", "wandb")],
)
def test_a_missing_package_is_one_line(
    logger: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would fail if it were found out in the first epoch, or ended in a traceback."""
    monkeypatch.setitem(sys.modules, package, None)
    with opened(tmp_path, logger) as run, pytest.raises(ValueError, match=f"pip install {package}"), tracked(run):
        pass


def test_none_is_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, "none") as run, tracked(run) as report:
        report(ROWS)
    assert {path.name for path in tmp_path.iterdir()} <= {".lock", "run.log"}
