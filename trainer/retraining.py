"""`ccd train RUN`: goes on with a labelled run, or trains again on its labels in a new folder. Asks no labeler."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from trainer.config import DEFAULTS, LABELER_FILES, RunConfig
from trainer.corrected_labels import check_taken_in, read_checked
from trainer.corrections import CORRECTIONS, Corrections
from trainer.data.index import Index
from trainer.files import read_json, whole_folder, write_json
from trainer.pipeline import Outcome, run_pipeline
from trainer.published_labels import read_settings

# Settings that say how a classifier is trained, or where; the others made the labels.
OF_TRAINING = frozenset(
    (
        "seed", "consistency", "backbone", "backbone_weights", "image_size", "epochs", "warmup_epochs", "batch_size",
        "learning_rate", "head_learning_rate", "head_multiplier", "rate_epochs", "weight_decay", "trained_blocks",
        "consistency_weight", "uncertain_weight", "stop", "halt", "layer_decay", "accumulate", "ema", "size_jitter",
        "compile", "logger", "device", "precision", "workers", "corrections", "labeler", "labeler_wait", *LABELER_FILES,
        "clip_device",
    )
)  # fmt: skip

LABEL_FILES = (
    "index.parquet", "index_validation.parquet", "labels/initial_raw.npy", "labels/bias.json", "labels/initial.npy",
    "labels/views.parquet", "labels/views.npy", "labels/local.npy", "labels/final.npy", CORRECTIONS,
)  # fmt: skip
LABEL_STAGES = ("labeler", "clip_labels", "initial_labels", "views", "label_update")


def train_run(root: Path, output: Path | None, config: RunConfig, console: Console) -> Outcome:
    """Trains on a run's labels and corrections, in its folder or, from the start, in `output`.

    config: what differs from the run's own settings; without `output` nothing may. Corrections of --corrections are
    added to the run's. Raises ValueError for a run without labels, settings that the labels depend on, or corrections
    that the run was not trained on.
    """
    settings = read_settings(root)
    _check_labelled(root, settings)
    changes = {name: value for name, value in asdict(config).items() if value != getattr(DEFAULTS, name)}
    _check_changes(changes)
    given = yaml.safe_load((root / "config.yaml").read_text())
    data = given.pop("data")
    folder = root if output is None or output.resolve() == root.resolve() else output
    wanted = _wanted_corrections(folder, root, changes.pop("corrections", None), settings)
    check_taken_in(folder, wanted)
    if folder is not root:
        _begin(root, folder)
    if len(wanted):
        wanted.write(folder / CORRECTIONS)
    values = {name: value for name, value in {**given, **changes}.items() if name != "corrections"}
    return run_pipeline(data, folder, RunConfig(**values), console)


def _check_labelled(root: Path, settings: dict[str, Any]) -> None:
    stage = "label_update" if settings["update"] else "initial_labels"
    state = root / "state.json"
    done = state.is_file() and "seconds" in read_json(state).get(stage, {})
    if settings["method"] != "ccd" or not done:
        raise ValueError(f"{root} has no labels yet: `ccd label` makes them, and the command that began it goes on")


def _check_changes(changes: dict[str, Any]) -> None:
    others = [name for name in changes if name not in OF_TRAINING]
    if others:
        flag = f"--{others[0].replace('_', '-')}"
        raise ValueError(f"{flag} is a setting that the labels depend on: `ccd run DATA {flag} ...` makes others")


def _begin(root: Path, folder: Path) -> None:
    """A new run's folder with the labels of the one in `root`, unless it was begun before."""
    state = folder / "state.json"
    if state.is_file():
        origin = read_json(state).get("origin", {}).get("run")
        if origin != str(root.resolve()):
            raise ValueError(
                f"{folder} holds a run that did not begin with the labels of {root}; choose another --output"
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; choose another --output")
    with whole_folder(folder) as draft:
        for name in LABEL_FILES:
            if (root / name).is_file():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, draft / name)
        facts = {name: fact for name, fact in read_json(root / "state.json").items() if name in LABEL_STAGES}
        write_json(draft / state.name, {**facts, "origin": {"run": str(root.resolve())}})


def _wanted_corrections(folder: Path, root: Path, file: str | None, settings: dict[str, Any]) -> Corrections:
    """Those of the folder, of `root`, and of the file; of contradictions the last counts."""
    class_names = tuple(settings["classes"])
    wanted = Corrections.of_run(folder, class_names).followed_by(Corrections.of_run(root, class_names))
    if file is None:
        return wanted
    rows = Index.read(root / "index.parquet").rows
    return wanted.followed_by(read_checked(Path(file), class_names, [row.image_id for row in rows if not row.reason]))
