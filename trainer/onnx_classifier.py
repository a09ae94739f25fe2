"""A classifier in an ONNX file, whoever exported it, as the trainer's prediction sees one. Needs ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainer.model import Classifier


class OnnxClassifier(Classifier):
    """Runs an ONNX file with one input (B, 3, S, S) float32 and an output (B, C) float32, `logits` or `probs`.

    forward: (B, 3, S, S) float32 -> logits (B, C) float32 and the output `cam` (B, C, h, w), where there is none
    (B, C, 0, 0). Probabilities in [0, 1] become logits in float64, where 0 and 1 are finite.
    image_size: S in pixels, None where the file leaves it open.
    Raises ValueError where ONNX Runtime is missing or has not the device, and for another kind of model.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__()
        self.backbone = nn.Module()  # empty: what it has is in the file
        self._session = _open_session(path, device)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) != 4 or shape[1] != 3:
            given = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
            raise ValueError(f"{path}: its input must be float32 images (batch, 3, height, width), not {given}")
        self._input = inputs[0].name
        self._batch_size = shape[0] if isinstance(shape[0], int) else None
        self.image_size = _side(path, shape[2:])
        outputs = self._session.get_outputs()
        self._output, self.num_classes = _find_output(path, outputs)
        self.has_cams = any(output.name == "cam" and len(output.shape) == 4 for output in outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.cpu().numpy()
        step = self._batch_size or len(pixels)
        parts = [self._run(pixels[start : start + step], step) for start in range(0, len(pixels), step)]
        values_BC, *cams = (torch.from_numpy(np.concatenate(output)) for output in zip(*parts, strict=True))
        if self._output == "probs":
            values_BC = torch.logit(values_BC.double(), eps=torch.finfo(torch.float64).eps).float()
        return values_BC, cams[0] if cams else values_BC.new_empty(*values_BC.shape, 0, 0)

    def _run(self, pixels: Any, batch_size: int) -> list[Any]:
        """A file with a fixed batch size gets its last, smaller batch filled up with repetitions."""
        filled = np.resize(pixels, (batch_size, *pixels.shape[1:]))
        wanted = [self._output, *(["cam"] if self.has_cams else [])]
        return [output[: len(pixels)] for output in self._session.run(wanted, {self._input: filled})]


def _open_session(path: Path, device: torch.device) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(f"{path} needs ONNX Runtime: pip install 'ccd[trainer-onnx]'") from None
    provider = f"{device.type.upper()}ExecutionProvider"
    options = {} if device.type == "cpu" else {"device_id": str(device.index or 0)}
    try:
        session = onnxruntime.InferenceSession(path, providers=[(provider, options)])
    except Exception as error:  # onnxruntime's errors share no base class
        raise ValueError(f"{path}: not a model that ONNX Runtime can open ({str(error).splitlines()[0]})") from error
    if provider not in session.get_providers():  # it would run on the CPU instead, and say so in its log only
        raise ValueError(f"--device {device}: this ONNX Runtime has no {provider}; use --device cpu")
    return session


def _side(path: Path, sides: list[Any]) -> int | None:
    if not all(isinstance(side, int) for side in sides):
        return None
    if sides[0] != sides[1]:
        raise ValueError(f"{path}: takes images of {sides[0]} x {sides[1]}; only square ones are supported")
    return int(sides[0])


def _find_output(path: Path, outputs: list[Any]) -> tuple[str, int]:
    """Name and number of classes of the output; logits go first, as probabilities may be saturated."""
    shapes = {output.name: output.shape for output in outputs}
    name = next((name for name in ("logits", "probs") if name in shapes), None)
    if name is None:
        raise ValueError(f"{path}: has the outputs {', '.join(shapes)}; one must be called logits or probs")
    if len(shapes[name]) != 2 or not isinstance(shapes[name][1], int):
        raise ValueError(f"{path}: output {name} must be (batch, classes), not {shapes[name]}")
    return name, shapes[name][1]
