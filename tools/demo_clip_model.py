"""The small CLIP of the demo: its shape, pictures of any size through it, and its files on disk."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call

MODEL_FOLDER = Path(__file__).resolve().parents[1] / "labeler_service" / "demo_model"
SIDE = 96  # pixels of the model's native input: half the cost of 128, and small things are lost in it, as in the paper
STRIDE = 32  # of the ModifiedResNet: one cell of the last map
MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD  # what open_clip's own preprocessing uses

# The family that the paper uses (RN50x64), as small as still works: about 5 M parameters, of which 3.2 M are the
# embedding table of open_clip's ordinary tokenizer.
CONFIG: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": SIDE, "layers": [1, 2, 2, 2], "width": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}


def build() -> Any:
    """A new open_clip model with random weights from torch's global seed."""
    return open_clip.CLIP(**CONFIG)


def encode_images(model: Any, images_BcHW: Tensor) -> Tensor:
    """Unit embeddings (B, D) float32 of normalised pictures whose sides are at least one stride.

    The attention pool's position table is interpolated bilinearly to the picture's own grid.
    """
    visual = model.visual
    x = visual.stem(images_BcHW)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = layer(x)
    table = _resized_positions(visual.attnpool.positional_embedding, x.shape[-2], x.shape[-1])
    pooled = functional_call(visual.attnpool, {"positional_embedding": table}, (x.contiguous(),))
    return F.normalize(pooled.float(), dim=-1)


def _resized_positions(table: Tensor, height: int, width: int) -> Tensor:
    """(1 + S * S, E) -> (1 + height * width, E); the first row belongs to the mean and stays."""
    side = int((len(table) - 1) ** 0.5)
    if (height, width) == (side, side):
        return table
    grid = table[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
    return torch.cat([table[:1], grid[0].flatten(1).T])


def encode_texts(model: Any, tokens_BL: Tensor) -> Tensor:
    """Unit embeddings (B, D) float32 of tokenized captions."""
    return F.normalize(model.encode_text(tokens_BL).float(), dim=-1)


def tokenizer() -> Any:
    """open_clip's ordinary byte-pair tokenizer, cut to this model's context."""
    return open_clip.SimpleTokenizer(context_length=CONFIG["text_cfg"]["context_length"])


def normalise(images: NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, normalised, channels last in memory."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


def save(model: nn.Module, folder: Path, note: dict[str, str]) -> None:
    """Writes config.json and model.safetensors (float16: half the size, the same labels), each one atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().clone()
        for name, value in model.state_dict().items()
    }
    partial = folder / ".model.safetensors.partial"
    save_file(state, partial, metadata=note)
    partial.chmod(0o644)  # safetensors writes files for the owner only
    os.replace(partial, folder / "model.safetensors")
    partial = folder / ".config.json.partial"
    partial.write_text(json.dumps(CONFIG, indent=2) + "\n")
    os.replace(partial, folder / "config.json")


def load(folder: Path) -> Any:
    """The saved model in float32, ready for inference. Raises ValueError where there is none."""
    if not (folder / "model.safetensors").exists():
        raise ValueError(f"no model in {folder}: run python -m tools.train_demo_clip first")
    model = open_clip.CLIP(**json.loads((folder / "config.json").read_text()))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()
