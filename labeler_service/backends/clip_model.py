"""A CLIP model as it was loaded, before it goes to a device, and what every backend says of it."""

import hashlib
import json

import open_clip
import torch
from torch import Tensor

from labeler_service.backends import ModelInfo, Normalization
from labeler_service.backends.checkpoints import load_model, weights_sha256
from labeler_service.backends.position_tables import PositionTables
from labeler_service.config import ServerConfig
from labeler_service.images import ModelPreprocessing


class ClipModel:
    """An open_clip model (`clip`) in float32 on the CPU with its tokenizer and the tables of its image tower.

    Raises ValueError when it cannot be loaded.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.clip, self.architecture, structure = load_model(config)
        self.tokenizer = open_clip.get_tokenizer(self.architecture)
        self.tables = PositionTables(self.clip.visual)
        self.weights_sha256 = weights_sha256(self.clip)
        self._preprocess = open_clip.get_model_preprocess_cfg(self.clip)
        size = self._preprocess["size"]
        self.native_resolution: int = size if isinstance(size, int) else size[0]
        self.normalization = Normalization(tuple(self._preprocess["mean"]), tuple(self._preprocess["std"]))
        # Not the name: a config file can call itself what it likes.
        self.structure_sha256 = hashlib.sha256(json.dumps(structure, sort_keys=True).encode()).hexdigest()

    def describe(self, *, backend: str, dtype: str, device: torch.device) -> ModelInfo:
        preprocess = self._preprocess
        return ModelInfo(
            weights_sha256=self.weights_sha256,
            structure_sha256=self.structure_sha256,
            backend=backend,
            dtype=dtype,
            device=str(device),
            embedding_size=self._embedding_size(),
            native_resolution=self.native_resolution,
            temperature=1 / self.clip.logit_scale.exp().item(),
            stride=self.tables.stride,
            multiple=self.tables.multiple,
            variable_size=self.tables.name is not None,
            normalization=self.normalization,
            preprocessing=ModelPreprocessing(
                size=self.native_resolution,
                interpolation=preprocess["interpolation"],
                resize_mode=preprocess["resize_mode"],
                fill_color=preprocess["fill_color"],
            ),
        )

    def image_inputs(self, height: int, width: int) -> list[Tensor]:
        """What ImageEncoder takes beside pixels of that size: the model's own mean and std and, where its tower takes
        one, the position table."""
        inputs = [torch.tensor(self.normalization.mean), torch.tensor(self.normalization.std)]
        if self.tables.name is not None:
            inputs.append(self.tables.interpolate(self.tables.grid(height, width)))
        return inputs

    @torch.inference_mode()
    def _embedding_size(self) -> int:
        """Of both towers; asked of the text tower, which is the cheap one."""
        return int(self.clip.encode_text(self.tokenizer([""])).shape[1])
