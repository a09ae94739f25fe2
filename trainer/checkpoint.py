"""Checkpoints: tensors and loop state in one safetensors file, written atomically and verified by checksum.

Nothing is unpickled, so a checkpoint from a stranger cannot run code. The newest two are kept: a broken newest one
falls back to the one before it.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from trainer.files import write_atomically

log = logging.getLogger(__name__)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], state: dict[str, Any]) -> None:
    """Writes tensors with a JSON state and a checksum over both."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state)
    # one key, since safetensors writes several in random order and equal checkpoints shall be equal files
    record = json.dumps({"sha256": _digest(tensors, text), "state": text})
    write_atomically(path, safetensors.torch.save(tensors, {"checkpoint": record}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `write_tensors` wrote. Raises ValueError when the file is damaged."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get("checkpoint", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (safetensors.SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error})") from error
    if record.get("sha256") != _digest(tensors, record.get("state", "")):
        raise ValueError(f"{path}: damaged, its checksum does not match")
    return tensors, json.loads(record["state"])


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_training(folder: Path, modules: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Saves everything that the next epoch depends on, as folder/last.safetensors; keeps the one before it."""
    tensors = training_tensors(modules, optimizer)
    last = folder / "last.safetensors"
    if last.exists():
        last.replace(folder / "previous.safetensors")
    write_tensors(last, tensors, state)


def training_tensors(modules: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """By name, what `restore_training` puts back."""
    tensors = {f"module.{name}": tensor for name, tensor in modules.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in slots.items()}
    return tensors


def load_training(folder: Path, modules: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Restores the newest undamaged checkpoint in place and returns its state; None when there is none yet."""
    for path in (folder / "last.safetensors", folder / "previous.safetensors"):
        if not path.exists():
            continue
        try:
            tensors, state = read_tensors(path)
        except ValueError as error:
            log.warning("%s; going back to the checkpoint before it", error)
            continue
        restore_training(modules, optimizer, tensors)
        return state
    return None


def restore_training(modules: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """In place."""
    prefix = "module."
    modules.load_state_dict({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, slot = name.split(".")
            slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
