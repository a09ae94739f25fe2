"""Curves for people to look at: TensorBoard in the run's folder, or MLflow, trackio or Weights & Biases by --logger.

A tracker is told every epoch that it does not hold yet, so that a run which was killed between its checkpoint and its
tracker catches up when it goes on, and nothing appears twice.
"""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Protocol

from trainer.session import PLACES, Run

PROJECT = "ccd"

Row = Mapping[str, Any]
Report = Callable[[Sequence[Row]], None]


class Tracker(Protocol):
    """Where an epoch's figures go."""

    def start(self) -> int:
        """Opens the record of this run, begun or new; returns how many epochs it holds."""

    def log(self, epoch: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


@contextmanager
def tracked(run: Run) -> Iterator[Report]:
    """Gives what reports all epochs so far, as often as wanted: rows of metrics.jsonl, one an epoch from 0.

    Raises ValueError, in one line, where the package of --logger is not installed.
    """
    if run.config.logger == "none":
        yield lambda rows: None
        return
    tracker = TRACKERS[run.config.logger](run)
    held = tracker.start()

    def report(rows: Sequence[Row]) -> None:
        nonlocal held
        for row in rows[held:]:
            tracker.log(row["epoch"], _numbers(row))
        held = max(held, len(rows))

    try:
        yield report
    finally:
        tracker.close()


def _numbers(row: Row) -> dict[str, float]:
    """What can be drawn of a row: its figures that exist, without the epoch."""
    return {name: float(value) for name, value in row.items() if name != "epoch" and value is not None}


class TensorBoard:
    """Writes tensorboard/ anew whenever a run goes on: the run knows all its epochs."""

    def __init__(self, run: Run) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise _missing("tensorboard", "tensorboardX") from None
        self._folder = run.folder.root / "tensorboard"
        self._open = SummaryWriter

    def start(self) -> int:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._writer = self._open(str(self._folder))
        return 0

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """Goes where MLFLOW_TRACKING_URI says, by default to a local store of MLflow's."""

    def __init__(self, run: Run) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at import
        try:
            from mlflow import MlflowClient, set_experiment
        except ImportError:
            raise _missing("mlflow", "mlflow") from None
        self._run = run
        self._client, self._set_experiment = MlflowClient(), set_experiment

    def start(self) -> int:
        self._id = _noted(self._run, "mlflow", self._create)
        self._client.set_terminated(self._id, "RUNNING")
        known = self._client.get_run(self._id).data.metrics
        steps = [point.step for name in known for point in self._client.get_metric_history(self._id, name)]
        return max(steps, default=-1) + 1

    def _create(self) -> str:
        experiment = self._set_experiment(PROJECT).experiment_id
        self._id = self._client.create_run(experiment, run_name=self._run.folder.root.name).info.run_id
        for name, value in _settings(self._run).items():
            self._client.log_param(self._id, name, value)
        return str(self._id)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """All of an epoch in one call, so that it is there or not."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, epoch) for name, value in values.items()])

    def close(self) -> None:
        self._client.set_terminated(self._id)


class Trackio:
    """Keeps its own local store. It does not tell what it holds, so the run's state counts along."""

    def __init__(self, run: Run) -> None:
        try:
            import trackio
        except ImportError:
            raise _missing("trackio", "trackio") from None
        self._module, self._run = trackio, run

    def start(self) -> int:
        name = _noted(self._run, "trackio", _new_id)
        self._record = self._module.init(PROJECT, name=name, config=_settings(self._run), resume="allow")
        return int(self._run.folder.state["trackers"].get("trackio_epochs", 0))

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        self._record.log(dict(values), step=epoch)
        self._run.folder.note("trackers", trackio_epochs=epoch + 1)

    def close(self) -> None:
        self._module.finish()


class WeightsAndBiases:
    """Goes to the account that wandb is logged into, or stays local with WANDB_MODE=offline."""

    def __init__(self, run: Run) -> None:
        try:
            import wandb
        except ImportError:
            raise _missing("wandb", "wandb") from None
        self._module, self._run = wandb, run

    def start(self) -> int:
        self._record = self._module.init(
            project=PROJECT,
            id=_noted(self._run, "wandb", _new_id),
            name=self._run.folder.root.name,
            config=_settings(self._run),
            resume="allow",
        )
        return int(self._record.step)

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        self._record.log(dict(values), step=epoch, commit=True)

    def close(self) -> None:
        self._record.finish()


TRACKERS: dict[str, Callable[[Run], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "trackio": Trackio,
    "wandb": WeightsAndBiases,
}


def _missing(logger: str, package: str) -> ValueError:
    return ValueError(f"--logger {logger} needs the package {package}: pip install {package}, or use --logger none")


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


def _noted(run: Run, tracker: str, make: Callable[[], str]) -> str:
    """The name under which a tracker knows the run: made once, then from the run's state."""
    known = run.folder.state.get("trackers", {})
    if tracker not in known:
        run.folder.note("trackers", **{tracker: make()})
    return str(run.folder.state["trackers"][tracker])


def _settings(run: Run) -> dict[str, str]:
    """What the run learns from and how; paths and addresses of this machine stay here."""
    private = {*PLACES, "classes", "word_vectors", "backbone_weights", "clip_weights"}
    return {name: str(value) for name, value in asdict(run.config).items() if name not in private}
