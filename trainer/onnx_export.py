"""`ccd export --onnx`: the classifier as an ONNX file, which is kept only when ONNX Runtime computes what torch does.

Shapes: B batch, C classes, S side of an image, h w cells of a CAM.
"""

import copy
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import default_rng
from rich.console import Console
from torch import Tensor, nn

from trainer.checksums import write_checksums
from trainer.data.index import Index
from trainer.data.pixel_cache import read_squashed
from trainer.data.sample import Sample
from trainer.data.transforms import Pixels, normalise
from trainer.files import write_atomically
from trainer.model import CamClassifier, Classifier
from trainer.predictor import find_images
from trainer.trained_model import TrainedModel, model_folder, open_model

INPUT, OUTPUTS = "image", ("probs", "cam")

# Of the comparison with torch in float32 on the CPU.
NUM_IMAGES, BATCH_SIZES = 32, (1, 4, 32)
# Largest difference of a probability, and of a CAM as a share of its largest value. float32: what is float order
# (timm_model.py). float16 has 11 bits of mantissa, and errors of many layers add up.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-2}


class Parity(NamedTuple):
    """Largest difference of a probability, and of a CAM as a share of its largest value."""

    probs: float
    cam: float


class _Exported(nn.Module):
    """image (B, 3, S, S) float32 -> probs (B, C) in [0, 1] and, of the paper's classifier, cam (B, C, h, w) before any
    sigmoid; both float32, whatever is computed in."""

    def __init__(self, classifier: Classifier, dtype: torch.dtype) -> None:
        super().__init__()
        self._classifier = copy.deepcopy(classifier).to(dtype)
        self._dtype = dtype
        self.names = OUTPUTS if isinstance(classifier, CamClassifier) else OUTPUTS[:1]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        logits_BC, cams_BChw = self._classifier(image.to(self._dtype))
        return (logits_BC.float().sigmoid(), cams_BChw.float())[: len(self.names)]


def export_onnx(model: Path, console: Console, *, fp16: bool = False, images: Path | None = None) -> None:
    """Writes model.onnx, with fp16 model.fp16.onnx too, into the exported model/ of a run's folder, or into `model`
    itself. Its batch size is open, its image size fixed.

    images: folder whose images ONNX Runtime and torch are compared on; None takes the run's own, or noise where there
    are none any more. Raises ValueError where a package is missing, for an unusable model, and where both differ: no
    file is left then.
    """
    _require_packages()
    folder = model_folder(model)
    if not folder.is_dir():
        raise ValueError(f"{model} is no folder of a run or of an exported model")
    trained = open_model(folder, torch.device("cpu"))
    trained.classifier.to(memory_format=torch.contiguous_format)
    pixels, num_real = _pixels(folder if images is None else images, trained.image_size, given=images is not None)
    inputs = normalise(pixels, trained.mean, trained.std).contiguous()
    for dtype in (torch.float32, torch.float16)[: 1 + fp16]:
        path = folder / ("model.onnx" if dtype is torch.float32 else "model.fp16.onnx")
        parity = _write(path, trained, inputs, dtype)
        console.print(
            f"{path}: {path.stat().st_size / 1e6:.1f} MB; probabilities differ from torch's by at most "
            f"{parity.probs:.0e} on {num_real} images{' and noise' * (num_real < NUM_IMAGES)}, in batches of "
            f"{', '.join(map(str, BATCH_SIZES))}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    write_checksums(folder)


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"ccd export --onnx needs {error.name}: pip install 'ccd[trainer-onnx]'") from None


def _pixels(place: Path, size: int, *, given: bool) -> tuple[list[Pixels], int]:
    """NUM_IMAGES images (S, S, 3), and how many of them are pictures; the rest is noise of coarse and fine grain."""
    samples = find_images([place])[0] if given else _samples_of_run(place)
    pixels: list[Pixels] = []
    for sample in samples:
        if len(pixels) == NUM_IMAGES:
            break
        try:
            pixels.append(read_squashed(sample, size))
        except (OSError, ValueError):
            continue  # moved or damaged since: others will do
    num_real, rng = len(pixels), default_rng(0)
    while len(pixels) < NUM_IMAGES:
        grain = math.ceil(size / 2 ** (len(pixels) % 6))
        cells = rng.integers(0, 256, (grain, grain, 3), np.uint8)
        pixels.append(cells.repeat(-(-size // grain), axis=0).repeat(-(-size // grain), axis=1)[:size, :size])
    return pixels, num_real


def _samples_of_run(folder: Path) -> list[Sample]:
    index = folder.parent / "index.parquet"
    rows = Index.read(index, paths=True).rows if index.is_file() else ()
    return [Sample(row.image_id, row.file) for row in rows if not row.reason]


def _write(path: Path, trained: TrainedModel, inputs: Tensor, dtype: torch.dtype) -> Parity:
    """Exports beside the place, compares, and gives the file its name. Raises ValueError where they differ."""
    module = _Exported(trained.classifier, dtype).eval()
    draft = path.with_name(f".{path.name}.draft")
    try:
        torch.onnx.export(
            module, (inputs[:2],), draft, input_names=[INPUT], output_names=list(module.names),
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
        parity = compare(draft, trained.classifier, inputs)
        if not max(parity) <= TOLERANCE[dtype]:  # also where it is no number
            raise ValueError(
                f"{path.name} was not written: in ONNX Runtime probabilities differ by {parity.probs:.1e} from torch's "
                f"and CAMs by {parity.cam:.1e}, more than {TOLERANCE[dtype]:.0e}"
            )
        write_atomically(path, draft.read_bytes())
    finally:
        draft.unlink(missing_ok=True)
    return parity


@torch.inference_mode()
def compare(path: Path, classifier: Classifier, inputs: Tensor) -> Parity:
    """The file in ONNX Runtime against the classifier in torch, both on the CPU, in batches of each of BATCH_SIZES.

    inputs: (B, 3, S, S) float32.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    worst = np.zeros(len(OUTPUTS))
    expected = [tensor.numpy() for tensor in _Exported(classifier, torch.float32).eval()(inputs)]
    scales = (1.0, *(np.abs(cams).max() for cams in expected[1:]))
    for size in BATCH_SIZES:
        parts = [session.run(outputs, {INPUT: part.numpy()}) for part in torch.split(inputs, size)]
        for i, (wanted, scale) in enumerate(zip(expected, scales, strict=True)):
            found = np.concatenate([part[i] for part in parts])
            worst[i] = np.maximum(worst[i], np.abs(found - wanted).max() / scale)  # keeps what is no number
    return Parity(*worst.tolist())
