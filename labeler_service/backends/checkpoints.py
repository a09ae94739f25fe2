"""Finds a model's architecture and weights and puts them together. Never unpickles: a checkpoint is data, not code.

Knows open_clip names and tags, state dicts (.pt, .safetensors), open_clip training checkpoints, OpenAI's TorchScript
archives, and the demo model that lies inside this package.
"""

import difflib
import hashlib
import json
import logging
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors import SafetensorError
from torch import nn

from labeler_service.config import DEMO_MODEL, ServerConfig

logger = logging.getLogger(__name__)

DEMO_FOLDER = Path(__file__).parent.parent / "demo_model"
# Keys of OpenAI's archives that are no weights: https://github.com/openai/CLIP/blob/main/clip/model.py
_OPENAI_CONSTANTS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class _Source:
    """Where a model comes from. `quick_gelu` and `preprocessing`: what the weights' own origin says of them."""

    architecture: str
    weights: Path
    quick_gelu: bool | None
    preprocessing: dict[str, Any]


def load_model(config: ServerConfig) -> tuple[Any, str, dict[str, Any]]:
    """The model in float32 on the CPU, in evaluation mode; its architecture's name in open_clip, and its config.

    Raises ValueError when there is no such model, or its weights are missing, unreadable or of another architecture.
    """
    source = _find(config)
    model_config = open_clip.get_model_config(source.architecture)
    quick_gelu = _decide_quick_gelu(config.quick_gelu, source, bool(model_config.get("quick_gelu", False)))
    logging.disable(logging.WARNING)  # open_clip would warn of random weights, which are replaced below.
    try:
        model = open_clip.create_model(
            source.architecture,
            load_weights=False,
            pretrained_text=False,
            force_preprocess_cfg=source.preprocessing,
            quick_gelu=quick_gelu,
        )
    finally:
        logging.disable(logging.NOTSET)
    _load_weights(model, source)
    return model.float().eval(), source.architecture, {**model_config, "quick_gelu": quick_gelu}


def weights_sha256(model: nn.Module) -> str:
    """Hexadecimal sha256 over names, shapes and bytes of all floating-point tensors in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.is_floating_point():  # Counters such as num_batches_tracked do not matter to inference.
            digest.update(f"{name} {list(tensor.shape)} ".encode())
            digest.update(memoryview(tensor.contiguous().numpy()).cast("B"))
    return digest.hexdigest()


def _find(config: ServerConfig) -> _Source:
    if config.model_config is not None:
        architecture = _register(config.model_config)
    elif config.model_name == DEMO_MODEL:
        if config.pretrained is not None:
            raise ValueError("--pretrained: the demo model has its own weights; name another --model")
        return _Source(_register(DEMO_FOLDER / "config.json"), DEMO_FOLDER / "model.safetensors", None, {})
    else:
        architecture = _check_known(config.model_name)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if config.pretrained is None:
        raise ValueError(f"--model {config.model_name} needs --pretrained: a checkpoint file{_or_one_of(tags)}")
    if Path(config.pretrained).is_file():
        is_openai = _is_torchscript(Path(config.pretrained))
        return _Source(architecture, Path(config.pretrained), True if is_openai else None, {})
    if config.pretrained not in tags:
        raise ValueError(f"--pretrained {config.pretrained}: no such file{_or_one_of(tags)}")
    tag = open_clip.get_pretrained_cfg(architecture, config.pretrained)
    try:
        weights = Path(open_clip.download_pretrained(tag))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"--pretrained {config.pretrained}: download failed: {error}") from error
    return _Source(architecture, weights, bool(tag.get("quick_gelu", False)), tag)


def _register(path: Path) -> str:
    """Makes open_clip know the model config and returns the architecture's name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"model config {path}: {error}") from error
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in content]
    if missing:
        raise ValueError(f"model config {path} lacks {', '.join(missing)}")
    open_clip.add_model_config(path)
    return path.stem


def _check_known(name: str) -> str:
    known = open_clip.list_models()
    if name in known:
        return name
    similar = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"known: {DEMO_MODEL}, {', '.join(known)}"
    raise ValueError(f"--model {name}: unknown; {hint}")


def _or_one_of(tags: list[str]) -> str:
    return f", or one of the tags {', '.join(tags)}" if tags else ""


def _decide_quick_gelu(wanted: bool | None, source: _Source, configured: bool) -> bool:
    """open_clip builds a plain name such as RN50x64 with GELU and loads weights trained with QuickGELU into it, which
    scores wrongly without an error: what is known of the weights wins over the architecture's name."""
    if wanted is not None:
        return wanted
    if source.quick_gelu is not None and source.quick_gelu != configured:
        activation = "QuickGELU" if source.quick_gelu else "GELU"
        logger.warning("%s: weights were trained with %s: using it", source.architecture, activation)
        return source.quick_gelu
    return configured


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _load_weights(model: nn.Module, source: _Source) -> None:
    try:
        if _is_torchscript(source.weights):
            archive = torch.jit.load(str(source.weights), map_location="cpu")  # type: ignore[no-untyped-call]
            model.load_state_dict(
                {name: tensor for name, tensor in archive.state_dict().items() if name not in _OPENAI_CONSTANTS}
            )
        else:
            open_clip.load_checkpoint(model, str(source.weights), weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{source.weights}: not a plain checkpoint of tensors; it was not opened") from error
    except (OSError, RuntimeError, KeyError, AttributeError, SafetensorError) as error:
        summary = " ".join(str(error).split())[:300]
        raise ValueError(f"{source.weights} does not fit {source.architecture}: {summary}") from error
