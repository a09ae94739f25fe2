"""README.md of an exported model: what it knows, how it came about, how good it is, whose weights are in it."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.files import read_json
from trainer.session import Run
from trainer.training import Training

PAPER = "Classifier-guided CLIP Distillation (https://arxiv.org/abs/2503.16873)"

# Of CLIP weights by open_clip's tag; the labels come from them, no weight of theirs is in the model.
CLIP_LICENCES = {
    "": "Apache-2.0, bundled with ccd",  # the demo's
    "openai": "MIT (https://github.com/openai/CLIP/blob/main/LICENSE)",
    "laion": "MIT (the model cards of https://huggingface.co/laion)",
}


def provenance(run: Run, training: Training) -> dict[str, Any]:
    """How a run's classifier was made, for config.json and the card; no path of the machine is in it."""
    config, state = run.config, run.folder.state
    pretrained: Mapping[str, Any] = getattr(training.model.backbone, "pretrained_cfg", {})
    facts: dict[str, Any] = {
        "method": config.method,
        "constants": config.constants,
        "seed": config.seed,
        "epoch": training.kept_epoch,
        "images": len(run.train),
        "backbone": Path(config.backbone).name,
        "backbone_licence": _backbone_licence(config.backbone, config.backbone_weights, pretrained),
    }
    if labeler := state.get("labeler"):
        own = config.labeler is None
        facts |= {
            "prompt": config.prompt,
            "clip": labeler["model"],
            "clip_sha256": labeler["weights_sha256"],
            "clip_licence": _clip_licence(config.clip_weights) if own else "as whoever runs the labeler knows",
        }
    bias = run.folder.root / "labels" / "bias.json"
    return facts | ({"bias": read_json(bias)["bias"]} if bias.exists() else {})


def _backbone_licence(name: str, weights: str, pretrained: Mapping[str, Any]) -> str:
    if weights == "none":
        return "none: trained from random weights"
    if name == "demo":
        return "Apache-2.0, bundled with ccd"
    if weights == "imagenet" and pretrained.get("license"):
        return f"{pretrained['license']}, as timm states"
    return f"not stated; see where {Path(name if weights == 'imagenet' else weights).name} comes from"


def _clip_licence(tag: str) -> str:
    key = "laion" if tag.startswith("laion") else tag
    return CLIP_LICENCES.get(key, f"not stated; see where {Path(tag).name} comes from")


def model_card(
    facts: Mapping[str, Any],
    class_names: tuple[str, ...],
    *,
    image_size: int,
    timm_form: bool,
    figures: Mapping[str, float],
    per_class: Mapping[str, float],
) -> str:
    """Markdown with the front matter that the Hugging Face hub reads.

    facts: of `provenance`. figures: by name, in percent. per_class: average precision in percent, where targets exist.
    """
    parts = [
        _front_matter(timm_form),
        f"# Multi-label classifier of {len(class_names)} classes",
        f"Gives each class a probability of its own; they do not add up to 1, and no threshold is applied. Images are "
        f"squashed to {image_size} x {image_size} pixels (`preprocess.json`).",
        _USE_TIMM.replace("CLASSES", str(len(class_names))) if timm_form else _USE_CCD,
        "## Classes",
        _classes(class_names, per_class),
        "## Method",
        _method(facts),
        "## Figures",
        _figures(figures),
        "## Licences of weights",
        _licences(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(timm_form: bool) -> str:
    library = "library_name: timm\n" if timm_form else ""
    return f"---\n{library}pipeline_tag: image-classification\ntags:\n- image-classification\n- multi-label\n---"


_USE_TIMM = """```python
import timm
model = timm.create_model("local-dir:model", pretrained=True).eval()  # on the hub: "hf-hub:ORG/NAME"; logits

from transformers import pipeline
classify = pipeline("image-classification", "model", top_k=CLASSES)  # probabilities
```

`ccd predict model photos/` writes a table and, with `--cam`, where each class was seen."""

_USE_CCD = """This classifier has no timm form. `ccd predict model photos/` and `trainer.load("model")` use it, and
`ccd export model --onnx` makes a file that needs ONNX Runtime alone."""


def _classes(class_names: tuple[str, ...], per_class: Mapping[str, float]) -> str:
    if not per_class:
        return ", ".join(map(_plain, class_names))
    rows = [f"| {_plain(name)} | {per_class[name]:.1f} |" if name in per_class else "" for name in class_names]
    return "\n".join(("| class | average precision, % |", "| --- | ---: |", *filter(None, rows)))


def _plain(text: str) -> str:
    """The text as Markdown shows it, whatever is in it."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~-])", r"\\\1", " ".join(text.split()))


def _method(facts: Mapping[str, Any]) -> str:
    title = f"`{facts['method']}`"
    if facts["method"] == "ccd":
        title += f": {PAPER}, trained without one annotation"
    lines = [
        f"{title}; constants `{facts['constants']}`, seed {facts['seed']}, epoch {facts['epoch'] + 1}, "
        f"{facts['images']} images. Backbone: {_plain(facts['backbone'])}."
    ]
    if "clip" in facts:
        lines.append(f"Labels by CLIP {_plain(facts['clip'])} with the prompt “{_plain(facts['prompt'])}”.")
    return " ".join(lines)


def _figures(figures: Mapping[str, float]) -> str:
    if not figures:
        return "None: the images had no targets. How good the classifier is on other images is not known."
    rows = [f"| {name} | {value:.1f} |" for name, value in figures.items()]
    return "\n".join(("| | % |", "| --- | ---: |", *rows))


def _licences(facts: Mapping[str, Any]) -> str:
    lines = [f"- backbone {_plain(facts['backbone'])}: {facts['backbone_licence']}"]
    if "clip" in facts:
        lines.append(f"- CLIP {_plain(facts['clip'])}, which made the labels: {facts['clip_licence']}")
    lines.append("- the images that it was trained on have their own terms")
    return "\n".join(lines)


# In the order of the card; `evaluate` (summary.py) measures them.
FIGURES = {
    "validation": "mAP on validation images",
    "initial_labels": "mAP of CLIP's labels on training images",
    "final_labels": "mAP of the updated labels on training images",
    "cf1": "CF1 at 0.5 on validation images",
    "of1": "OF1 at 0.5 on validation images",
    "calibration_error": "calibration error on validation images",
}


def named_figures(quality: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The figures of `evaluate` under the names of the card; those that look at targets to pick an epoch stay out."""
    measured = {**quality.get("map", {}), **quality.get("evaluation", {})}
    return {title: measured[key] for key, title in FIGURES.items() if key in measured}


def read_per_class(path: Path) -> dict[str, float]:
    """Average precision in percent by class, from a run's per_class.csv; empty where there is none."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["class"]: float(row["average_precision"]) for row in csv.DictReader(file)}
