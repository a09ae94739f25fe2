"""Trains the classifier epoch by epoch, so that it can be killed anywhere and goes on with the same bits."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from trainer import distributed, team
from trainer.checkpoint import (
    load_training,
    read_tensors,
    restore_training,
    save_training,
    training_tensors,
    write_tensors,
)
from trainer.compilation import compiled
from trainer.data.loader import TrainingBatches
from trainer.data.seeds import RunStream
from trainer.data.sharding import WHOLE, Share
from trainer.data_parallel import DataParallel, synchronise_batch_norm
from trainer.early_stopping import pseudo_label_map, stop_epoch
from trainer.engine import train_one_epoch
from trainer.epoch_record import EpochResult
from trainer.files import write_atomically
from trainer.methods import METHODS
from trainer.metrics import mean_average_precision
from trainer.model import Classifier, check_sizes, create_backbone, freeze_all_but_last_block, normalization
from trainer.optimizer import create_optimizer
from trainer.progress import track
from trainer.run_predictions import Selection, predict_logits
from trainer.session import Run
from trainer.trackers import Report
from trainer.updates import Updates, WeightAverage
from trainer.waits import Timed

FloatArray = npt.NDArray[np.float32]


@dataclass
class History:
    """What is known after each epoch; the whole loop state besides weights and optimiser."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    stop_epoch: int | None = None
    """The epoch whose weights the label-free rule keeps; None while it has not fired."""
    loss_scale: dict[str, Any] = field(default_factory=dict)
    """The state of what scales float16's loss; empty in another precision."""

    @property
    def epochs(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[float]:
        return [row[name] for row in self.rows]


class Training:
    """A classifier in training: made from the seed or from the last checkpoint, advanced by `train_until`.

    Under torchrun each process has one. The main process's has the history and the checkpoints; the others' follow it
    through `begin`, `take_over` and `train_epoch`.
    """

    def __init__(self, run: Run, report: Report = lambda rows: None) -> None:
        """`report` is told the rows of all epochs so far, at once and after each epoch."""
        config, method = run.config, METHODS[run.config.method]
        if config.compile and distributed.world_size() > 1:
            raise ValueError("--compile is for one process: under torchrun batch norm spans processes; leave it out")
        torch.manual_seed(config.seed)
        backbone = create_backbone(config.backbone, weights=config.backbone_weights)
        if config.trained_blocks == "last":
            freeze_all_but_last_block(backbone)
        self.run = run
        self._learner = method.model(run, backbone)
        self._learner.to(run.machine.device).to(memory_format=torch.channels_last)
        check_sizes(self._learner, config.size_jitter)
        self._objective = method.objective(run)
        self._objective.attach(self._learner)
        self._objective.to(run.machine.device)
        average = None if config.ema is None else WeightAverage(self._learner, config.ema)
        self.model = self._learner if average is None else cast(Classifier, average.module)
        """The classifier that is evaluated, asked for CAMs and exported: of averaged weights where --ema is on."""
        optimizer = create_optimizer(self._learner, self._objective, config)
        self._updates = Updates(
            optimizer, accumulate=config.accumulate, summed=self._objective.summed,
            scaler=run.machine.scaler(), model=self._learner, average=average,
        )  # fmt: skip
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._step_model = compiled(self._learner, run.machine.device) if config.compile else self._learner
        self._modules = nn.ModuleDict({"model": self._learner, "objective": self._objective})
        if average is not None:
            self._modules["average"] = average
        self._followers_are_behind = True
        self.history = History()
        if distributed.is_main() and (state := load_training(self._checkpoints, self._modules, optimizer)):
            self.history = History(**state)
            self._updates.restore_scale(self.history.loss_scale)
        self._report = report
        self._report(self.history.rows)

    @property
    def _checkpoints(self) -> Path:
        return self.run.folder.path("checkpoints/last.safetensors").parent

    def train_until(self, epoch: int, labels: Callable[[], FloatArray], *, stage: str) -> None:
        """Trains up to `epoch` (exclusive) on labels (N, C) in [0, 1], NaN where nothing is known; images of which
        nothing is known are left out.

        Writes a checkpoint and a line of metrics after each epoch. Ends early where the stop rule fires and the
        constants say so. Labels are asked for only when an epoch is left to train, and their time is not the stage's.
        """
        if self.run.folder.done(stage):
            return
        self._lead()
        labels_NC = labels() if self._goes_on(epoch) else np.empty((0, self.run.num_classes), np.float32)
        used = np.flatnonzero(np.isfinite(labels_NC).any(axis=1))
        if self.history.epochs == 0 and len(used):
            if self._share(0) != WHOLE:
                team.announce("begin", labels_NC)
            self.begin(labels_NC)
        with self.run.folder.stage(stage):
            while self._goes_on(epoch):
                self._one_epoch(self.history.epochs, used, labels_NC[used])

    def _goes_on(self, epoch: int) -> bool:
        halted = self.run.config.halt and self.history.stop_epoch is not None
        return self.history.epochs < epoch and not halted

    def _share(self, epoch: int) -> Share:
        """Of this process in each batch of the epoch. The main process warms up alone where labels follow from it:
        gradients that are summed in another order would give others."""
        config = self.run.config
        guides = METHODS[config.method].guided and config.update and config.view_policy == "cam"
        if guides and epoch < config.warmup_epochs and not config.parallel_warmup:
            return WHOLE
        return Share(distributed.rank(), distributed.world_size())

    def _lead(self) -> None:
        """Gives the other processes this one's weights and optimiser where they do not have them."""
        if self._followers_are_behind:
            team.announce("take_over")
            self.take_over()
        self._followers_are_behind = False

    def take_over(self) -> None:
        """On all processes: weights, optimiser and what the objective remembers become the main one's."""
        if distributed.world_size() == 1:
            return
        optimizer, scaler = self._updates.optimizer, self._updates.scaler
        tensors, scale = distributed.from_main(
            lambda: (
                {name: tensor.cpu() for name, tensor in training_tensors(self._modules, optimizer).items()},
                scaler.state_dict(),
            )
        )
        if not distributed.is_main():
            restore_training(self._modules, optimizer, tensors)
            self._updates.restore_scale(scale)

    def begin(self, labels: FloatArray) -> None:
        """On all processes that train the first epoch, before it: all labels (N, C)."""
        self._objective.begin(self.run.machine.put(torch.from_numpy(labels)))

    def _one_epoch(self, epoch: int, used: npt.NDArray[np.int64], labels: FloatArray) -> None:
        self._lead()
        if self._share(epoch) == WHOLE:
            self._followers_are_behind = True
        else:
            team.announce("train", epoch, used, labels)
        result = self.train_epoch(epoch, used, labels)
        self._record(epoch, result, labels)
        self._save(epoch)

    def train_epoch(self, epoch: int, used: npt.NDArray[np.int64], labels: FloatArray) -> EpochResult:
        """On all processes that share the epoch: one pass over the images `used`, whose labels are (N, C)."""
        config, share = self.run.config, self._share(epoch)
        if share != WHOLE:
            synchronise_batch_norm(self._learner, self.run.machine.device)
        torch.manual_seed(np.random.SeedSequence([config.seed, RunStream.TORCH, epoch]).generate_state(1)[0])
        self._set_rates(epoch)
        self._objective.begin_epoch(epoch, config.epochs)
        two_views = self._objective.wants_strong_view(epoch)
        with track(self.run.console, f"training {epoch + 1}/{config.epochs}", len(used)) as advance:
            batches = Timed(self._training_batches(used, share, two_views=two_views).epoch(epoch))
            result = train_one_epoch(
                self._step_model,
                self._objective,
                batches,
                self._updates,
                self.run.machine,
                labels=labels,
                rows=used,
                parallel=DataParallel(share),
                advance=lambda count, note="", **_: advance(count, note, waits=batches.shares()),
            )
        self._objective.end_epoch()
        return result

    def _set_rates(self, epoch: int) -> None:
        """By the epoch alone, so that there is nothing to resume."""
        drops = epoch // self.run.config.rate_epochs if self.run.config.rate_epochs else 0
        for group, rate in zip(self._updates.optimizer.param_groups, self._rates, strict=True):
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
        self.history.loss_scale = self._updates.scaler.state_dict()
        save_training(self._checkpoints, self._modules, self._updates.optimizer, vars(self.history))
        keep = {epoch, epoch - 1, self.history.stop_epoch}
        for path in self._checkpoints.glob("epoch-*.safetensors"):
            if int(path.stem.removeprefix("epoch-")) not in keep:
                path.unlink()
        lines = "".join(json.dumps(row) + "\n" for row in self.history.rows)
        write_atomically(self.run.folder.path("metrics.jsonl"), lines.encode())
        self._report(self.history.rows)

    def _weights_path(self, epoch: int) -> Path:
        return self._checkpoints / f"epoch-{epoch:03d}.safetensors"

    @property
    def kept_epoch(self) -> int:
        """The epoch whose weights are the result: the stop rule's, or the last one where it never fired."""
        return self.history.epochs - 1 if self.history.stop_epoch is None else self.history.stop_epoch

    def load_kept_weights(self) -> None:
        """Puts the kept epoch's weights into the model."""
        self.model.load_state_dict(read_tensors(self._weights_path(self.kept_epoch))[0])
        self._followers_are_behind = True

    def validation_logits(self) -> FloatArray | None:
        """Logits (N, C) of the validation images by the model as it is; None without validation images."""
        if self.run.validation is None:
            return None
        self._lead()
        selection = Selection("validation", self.run.config.image_size)
        return predict_logits(self.run, self.model, selection, title="validating")

    def _validation_map(self) -> float | None:
        if self.run.validation is None or self.run.validation.targets is None:
            return None
        logits = self.validation_logits()
        assert logits is not None
        return mean_average_precision(logits, self.run.validation.targets)

    def _training_batches(self, used: npt.NDArray[np.int64], share: Share, *, two_views: bool) -> TrainingBatches:
        config = self.run.config
        mean, std = normalization(self.model.backbone)
        sizes = config.size_jitter
        return TrainingBatches(
            self.run.train.subset(used), image_size=sizes[1] if sizes else config.image_size, mean=mean, std=std,
            batch_size=config.batch_size, seed=config.seed, workers=self.run.config.workers,
            two_views=two_views, share=share, sizes=sizes, cache=self.run.cache, pin_memory=self.run.machine.is_cuda,
        )  # fmt: skip
