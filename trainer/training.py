"""Trains the classifier epoch by epoch, so that it can be killed anywhere and goes on with the same bits."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainer.checkpoint import load_training, read_tensors, save_training, write_tensors
from trainer.data.loader import EvaluationBatches, TrainingBatches
from trainer.data.seeds import RunStream
from trainer.early_stopping import pseudo_label_map, stop_epoch
from trainer.engine import EpochResult, predict_logits, train_one_epoch
from trainer.files import write_atomically
from trainer.methods import METHODS
from trainer.metrics import mean_average_precision
from trainer.model import create_backbone, freeze_all_but_last_block, normalization
from trainer.progress import track
from trainer.session import Run
from trainer.waits import Timed

FloatArray = npt.NDArray[np.float32]


@dataclass
class History:
    """What is known after each epoch; the whole loop state besides weights and optimiser."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    stop_epoch: int | None = None
    """The epoch whose weights the label-free rule keeps; None while it has not fired."""

    @property
    def epochs(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[float]:
        return [row[name] for row in self.rows]


class Training:
    """A classifier in training: made from the seed or from the last checkpoint, advanced by `train_until`."""

    def __init__(self, run: Run) -> None:
        config, method = run.config, METHODS[run.config.method]
        torch.manual_seed(config.seed)
        backbone = create_backbone(config.backbone, weights=config.backbone_weights)
        if config.trained_blocks == "last":
            freeze_all_but_last_block(backbone)
        self.run = run
        self.model = method.model(run, backbone)
        self.model.to(run.machine.device).to(memory_format=torch.channels_last)
        self._objective = method.objective(run)
        self._objective.attach(self.model)
        self._objective.to(run.machine.device)
        self._optimizer = torch.optim.Adam(
            [
                {"params": list(backbone.parameters()), "lr": config.learning_rate},
                {"params": _others(self.model, backbone), "lr": config.head_learning_rate},
                *self._objective.parameter_groups(config.learning_rate),
            ],
            weight_decay=config.weight_decay,
        )
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self._modules = nn.ModuleDict({"model": self.model, "objective": self._objective})
        self._checkpoints = run.folder.path("checkpoints/last.safetensors").parent
        state = load_training(self._checkpoints, self._modules, self._optimizer)
        self.history = History(**state) if state else History()

    def train_until(self, epoch: int, labels: Callable[[], FloatArray], *, stage: str) -> None:
        """Trains up to `epoch` (exclusive) on labels (N, C) in [0, 1], NaN where nothing is known; images of which
        nothing is known are left out.

        Writes a checkpoint and a line of metrics after each epoch. Ends early where the stop rule fires and the
        constants say so. Labels are asked for only when an epoch is left to train, and their time is not the stage's.
        """
        if self.run.folder.done(stage):
            return
        labels_NC = labels() if self._goes_on(epoch) else np.empty((0, self.run.num_classes), np.float32)
        used = np.flatnonzero(np.isfinite(labels_NC).any(axis=1))
        if self.history.epochs == 0 and len(used):
            self._objective.begin(self.run.machine.put(torch.from_numpy(labels_NC)))
        with self.run.folder.stage(stage):
            while self._goes_on(epoch):
                self._one_epoch(self.history.epochs, used, labels_NC[used])

    def _goes_on(self, epoch: int) -> bool:
        halted = self.run.config.halt and self.history.stop_epoch is not None
        return self.history.epochs < epoch and not halted

    def _one_epoch(self, epoch: int, used: npt.NDArray[np.int64], labels: FloatArray) -> None:
        config = self.run.config
        torch.manual_seed(np.random.SeedSequence([config.seed, RunStream.TORCH, epoch]).generate_state(1)[0])
        self._set_rates(epoch)
        self._objective.begin_epoch(epoch, config.epochs)
        two_views = self._objective.wants_strong_view(epoch)
        with track(self.run.console, f"training {epoch + 1}/{config.epochs}", len(used)) as advance:
            batches = Timed(self._training_batches(used, two_views=two_views).epoch(epoch))
            result = train_one_epoch(
                self.model,
                self._objective,
                batches,
                self._optimizer,
                self.run.machine,
                labels=labels,
                rows=used,
                advance=lambda count, note="", **_: advance(count, note, waits=batches.shares()),
            )
        self._objective.end_epoch()
        self._record(epoch, result, labels)
        self._save(epoch)

    def _set_rates(self, epoch: int) -> None:
        """By the epoch alone, so that there is nothing to resume."""
        drops = epoch // self.run.config.rate_epochs if self.run.config.rate_epochs else 0
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * 0.1**drops

    def _record(self, epoch: int, result: EpochResult, labels: FloatArray) -> None:
        row = {
            "epoch": epoch,
            **result.losses,
            "map_against_labels": pseudo_label_map(result.probs, labels),
            "validation_map": self._validation_map(),
        }
        self.history.rows.append(row)
        config = self.run.config
        if config.stop == "last" or not METHODS[config.method].stops:
            return
        curve = self.history.column("map_against_labels")
        self.history.stop_epoch = stop_epoch(curve, rule=config.stop, warmup_epochs=config.warmup_epochs)

    def _save(self, epoch: int) -> None:
        """Weights of this epoch first, then the checkpoint that says the epoch is finished, then what only informs."""
        write_tensors(self._weights_path(epoch), self.model.state_dict(), {"epoch": epoch})
        save_training(self._checkpoints, self._modules, self._optimizer, vars(self.history))
        keep = {epoch, epoch - 1, self.history.stop_epoch}
        for path in self._checkpoints.glob("epoch-*.safetensors"):
            if int(path.stem.removeprefix("epoch-")) not in keep:
                path.unlink()
        lines = "".join(json.dumps(row) + "\n" for row in self.history.rows)
        write_atomically(self.run.folder.path("metrics.jsonl"), lines.encode())

    def _weights_path(self, epoch: int) -> Path:
        return self._checkpoints / f"epoch-{epoch:03d}.safetensors"

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are the result: the stop rule's, or the last one where it never fired."""
        return self.history.epochs - 1 if self.history.stop_epoch is None else self.history.stop_epoch

    def load_kept_weights(self) -> None:
        """Puts the kept epoch's weights into the model."""
        self.model.load_state_dict(read_tensors(self._weights_path(self.kept_epoch))[0])

    def validation_logits(self) -> FloatArray | None:
        """Logits (N, C) of the validation images by the model as it is; None without validation images."""
        images = self.run.validation
        if images is None:
            return None
        config = self.run.config
        mean, std = normalization(self.model.backbone)
        batches = EvaluationBatches(
            images, image_size=config.image_size, mean=mean, std=std,
            batch_size=2 * config.batch_size, workers=self.run.config.workers, cache=self.run.cache,
        )  # fmt: skip
        with track(self.run.console, "validating", len(images)) as advance:
            return predict_logits(self.model, batches, self.run.machine, num_images=len(images), advance=advance)

    def _validation_map(self) -> float | None:
        if self.run.validation is None or self.run.validation.targets is None:
            return None
        logits = self.validation_logits()
        assert logits is not None
        return mean_average_precision(logits, self.run.validation.targets)

    def _training_batches(self, used: npt.NDArray[np.int64], *, two_views: bool) -> TrainingBatches:
        config = self.run.config
        mean, std = normalization(self.model.backbone)
        return TrainingBatches(
            self.run.train.subset(used), image_size=config.image_size, mean=mean, std=std,
            batch_size=config.batch_size, seed=config.seed, workers=self.run.config.workers,
            two_views=two_views, cache=self.run.cache,
        )  # fmt: skip


def _others(model: nn.Module, backbone: nn.Module) -> list[nn.Parameter]:
    """The model's parameters beside its backbone's."""
    known = set(backbone.parameters())
    return [parameter for parameter in model.parameters() if parameter not in known]
