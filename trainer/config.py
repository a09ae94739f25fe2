"""Frozen dataclasses with every setting of a run and of an evaluation, and how open settings are filled.

Precedence: flag > environment (CCD_*) > YAML file > what the method needs on the data set > what the data set brings >
what the method brings > the named set of constants.
"""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from trainer.presets import CONSTANTS, DATA_PRESETS, METHOD_DATA_PRESETS, METHOD_PRESETS

# More threads than this only wait for each other: batches come from a few at a time.
MAX_WORKERS = 8

Labels = Literal["targets", "partial", "single_positive", "clip_top1", "clip_confident", "clip_soft"]
Constants = Literal["fixed", "paper", "official", "paper_literal"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Settings of a run. None: filled by `resolve` from the data set's preset or the named constants."""

    # --- what to learn -------------------------------------------------------------------------------------------
    classes: str | None = None
    """Class names: a file (one a line) or a comma-separated list. Benchmarks bring their own."""
    method: str = "ccd"
    """ccd, cdul, an, an_ls, wan, partial_bce, epr, role: without labels. bce, bce_ls: on all targets, the upper bound.
    asl, sst, sarb: on a part of them. ll_r, ll_ct, ll_cp, g2netpl: on one positive of each image."""
    labels: Labels | None = None
    """What the method learns from, if not its own: all targets, a part of them, one positive of each image, CLIP's most
    probable class, that and the less probable half of the classes as absent, or CLIP's probabilities."""
    known_share: float = 0.1
    """Part of the targets' entries that `partial` tells."""
    corrections: str | None = None
    """File with a person's corrections (of `ccd review`), which outweigh CLIP's labels from the start."""
    constants: Constants = "fixed"
    """Named set of constants: the paper's, its released code's, or the released code's with its faults mended."""
    difficult: Literal["negative", "ignore", "positive"] = "negative"
    """Pascal VOC: how a class with only difficult objects counts."""
    all_images: bool = False
    """COCO: also take the images without any annotation, which the literature leaves out."""
    seed: int = 0
    """Seed of everything random."""

    # --- modules of the method (paper Table 2) -------------------------------------------------------------------
    update: bool = True
    """Update the labels from crops around the classifier's activations."""
    debias: bool = True
    """Divide CLIP's probabilities by its class bias."""
    consistency: bool = True
    """Consistency loss between weakly and strongly augmented images, after warm-up."""

    # --- labeler -------------------------------------------------------------------------------------------------
    labeler: str | None = None
    """HOST:PORT of a running labeler; HOST:PORT,HOST:PORT or dns:///NAME:PORT for replicas. None: start one for this
    run and stop it afterwards."""
    labeler_wait: float = 1800.0
    """Seconds that a labeler may be out of reach before the run gives up (at most 60 before its first answer)."""
    labeler_ca: str | None = None
    """Certificates of the authorities that the labeler's may come from (PEM file). Makes the connection TLS."""
    labeler_cert: str | None = None
    """Certificate that the run shows to the labeler (PEM file)."""
    labeler_key: str | None = None
    """Its private key (PEM file)."""
    labeler_token_file: str | None = None
    """File with a bearer token for the labeler; it may be replaced while the run goes on."""
    clip: str | None = None
    """CLIP of the labeler that the run starts: `demo` (bundled, knows drawings only) or an open_clip model name."""
    clip_weights: str | None = None
    """Its weights: an open_clip tag or a file."""
    clip_device: str = "auto"
    """Its device: auto, cpu, cuda, cuda:1."""
    prompt: str | None = None
    """Prompt with {} for the class name."""
    view_size: int | None = None
    """Side of the views that CLIP sees, in pixels; also the classifier's input when CAMs are made."""
    profile: Literal["paper", "bucketed", "model"] | None = None
    """How views become CLIP's input: exact sizes, sides snapped to the network's stride, or open_clip's own."""
    clip_normalization: Literal["model", "imagenet"] | None = None
    """Pixel mean and deviation that CLIP sees: its own, or ImageNet's as in the released code."""

    # --- pseudo-labels -------------------------------------------------------------------------------------------
    max_entropy: float | None = None
    """Images above this entropy do not count for the class bias."""
    entropy_unit: Literal["nats", "normalized"] | None = None
    """Unit of it: natural logarithm, or divided by ln(classes)."""
    floor: float | None = None
    """Lower limit of a probability before debiasing. None: 1 / classes."""
    alpha: float | None = None
    """Weight of the initial label in the update (eq. 7)."""
    view_policy: Literal["cam", "around_gt", "gt", "random", "grid"] = "cam"
    """Where local views are: around the classifier's activations, around annotated objects, these objects themselves,
    anywhere, or in a grid of 3 x 3 (paper Fig. 3). Objects are known of Pascal VOC folders."""
    views: Literal["search", "mean", "fixed"] | None = None
    """Threshold over which a class gets a view: searched upwards as in the released code, the one that gives
    `mean_views` views per image, or `view_threshold` itself."""
    mean_views: float | None = None
    """Views per image: the target of `mean`, the lower end of the band (n, n + 2) of `search`."""
    view_threshold: float | None = None
    """Threshold of `fixed`, start of `search`."""
    cam_boost: float | None = None
    """Factor on positive activations before pooling (BoostLU); 1 is none."""
    cam_threshold: float | None = None
    """Part of a CAM's range above which a cell belongs to the box."""
    box: Literal["tight", "row_major"] | None = None
    """Box around all cells over the threshold, or between the first and the last in row order (released code)."""
    box_offset: float | None = None
    """Widening of a box on each side, as a fraction of the view."""
    empty_views: Literal["keep", "floor"] | None = None
    """An image without a view: keep its initial label, or blend it with the floor (released code)."""

    # --- other methods -------------------------------------------------------------------------------------------
    positives: float | None = None
    """role and epr: classes that an image shows on average. None: as many as are known of one."""
    latent_sigma: float = 1.0
    """cdul and g2netpl: how far from 1/2 a label still moves fast; at 1 all move alike, at 0.2 the sure ones stay."""
    tile_threshold: float = 0.0
    """cdul: probability from which a tile is believed to show a class."""
    word_vectors: str | None = None
    """sst and sarb: file of word vectors in GloVe's text format for the class names. None: learned with the rest."""

    # --- classifier ----------------------------------------------------------------------------------------------
    backbone: str | None = None
    """timm model name, `local-dir:FOLDER`, or `demo` (bundled, pre-trained on drawings)."""
    backbone_weights: str | None = None
    """imagenet (downloaded by timm), none (random), or a file of weights."""
    image_size: int | None = None
    """Side of the classifier's input, in pixels."""
    epochs: int | None = None
    """Epochs, warm-up included."""
    warmup_epochs: int | None = None
    """Epochs on the initial labels."""
    batch_size: int | None = None
    """Images per step, of all processes together."""
    learning_rate: float | None = None
    """Adam's rate for the backbone."""
    head_learning_rate: float | None = None
    """Adam's rate for the head. None: learning_rate times the constants' factor."""
    head_multiplier: float | None = None
    """The head's rate over the backbone's."""
    rate_epochs: int | None = None
    """Epochs after which both rates fall to a tenth, again and again; 0 is never."""
    layer_decay: float = 1.0
    """The rate of each layer of the backbone over that of the layer after it; the last one learns at learning_rate."""
    weight_decay: float | None = None
    """Adam's L2 penalty."""
    accumulate: int = 1
    """Batches that make one step, as one batch of all their images would, but for batch norm and for losses that look
    at a batch's images together."""
    ema: float | None = None
    """Decay of an exponential moving average of the weights, such as 0.999; it is what is evaluated, asked for CAMs
    and exported. None: the weights themselves."""
    size_jitter: tuple[int, int] | None = None
    """Smallest and largest side of training images, in pixels, multiples of 32: each batch has one side between them.
    None: all have image_size, as images to evaluate always do."""
    trained_blocks: Literal["all", "last"] | None = None
    """Of the backbone: all, or of a ResNet the last block (`layer4`) alone."""
    consistency_weight: float | None = None
    """Weight beta of the consistency loss (eq. 8)."""
    uncertain_weight: float | None = None
    """Weight of images over the entropy gate in the label loss; 1 weighs all alike (released code's loss_coeff)."""
    stop: Literal["fixed", "paper", "official", "last"] | None = None
    """Which label-free stopping rule picks the weights; last: none does, the last epoch's are kept."""
    halt: bool | None = None
    """End training when the rule fires."""

    # --- machine -------------------------------------------------------------------------------------------------
    device: str = "auto"
    """Device of the classifier: auto, cpu, cuda, cuda:1."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of autocast. auto: bfloat16 on CUDA, float32 elsewhere. float16, with a scaled loss, is for older GPUs."""
    compile: bool = False
    """Train with torch.compile: minutes at the start for faster steps. Needs a C++ compiler."""
    workers: int | None = None
    """Threads that load images, of each process. None: the number of cores, at most 8; its part under torchrun."""
    parallel_warmup: bool = False
    """torchrun: all processes share the warm-up too where labels follow from it. They then equal one process's labels
    but for rounding; without, the main process warms up alone and they are equal."""
    logger: Literal["tensorboard", "mlflow", "trackio", "wandb", "none"] = "tensorboard"
    """Where curves go beside metrics.jsonl: tensorboard/ in the run's folder, or where that program keeps them."""
    export_cams: bool = False
    """Keep the activation maps of all views under cams/."""


DEFAULTS = RunConfig()


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of `ccd evaluate`; those that a run has too mean the same."""

    split: Literal["validation", "train"] = "validation"
    """Which images of DATA."""
    classes: str | None = None
    """Class names: a file (one a line) or a comma-separated list. Benchmarks bring their own."""
    difficult: Literal["negative", "ignore", "positive"] = "negative"
    """Pascal VOC: how a class with only difficult objects counts."""
    all_images: bool = False
    """COCO: also take the images without any annotation, which the literature leaves out."""
    batch_size: int = 64
    """Images at a time."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    output: Path | None = None
    """JSON file for the figures and the AP of each class."""


EVALUATION_DEFAULTS = EvaluationConfig()


@dataclass(frozen=True, kw_only=True)
class Settings(RunConfig):
    """A `RunConfig` in which nothing is open any more."""

    labels: Labels
    clip: str
    clip_weights: str
    prompt: str
    view_size: int
    profile: Literal["paper", "bucketed", "model"]
    clip_normalization: Literal["model", "imagenet"]
    max_entropy: float
    entropy_unit: Literal["nats", "normalized"]
    floor: float
    alpha: float
    views: Literal["search", "mean", "fixed"]
    mean_views: float
    view_threshold: float
    cam_boost: float
    cam_threshold: float
    box: Literal["tight", "row_major"]
    box_offset: float
    empty_views: Literal["keep", "floor"]
    backbone: str
    backbone_weights: str
    image_size: int
    epochs: int
    warmup_epochs: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float
    head_multiplier: float
    rate_epochs: int
    weight_decay: float
    trained_blocks: Literal["all", "last"]
    consistency_weight: float
    uncertain_weight: float
    stop: Literal["fixed", "paper", "official", "last"]
    halt: bool
    workers: int


def resolve(config: RunConfig, *, data_format: str, num_classes: int, prompt: str) -> Settings:
    """Fills every open setting: the command line's first, then the method's on this data set, the data set's (its
    prompt too), the method's, and the constants'.

    Raises ValueError when settings contradict each other.
    """
    if config.method not in METHOD_PRESETS:
        raise ValueError(f"--method {config.method}: there is none of that name; known: {', '.join(METHOD_PRESETS)}")
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's processes here
    values = CONSTANTS[config.constants] | METHOD_PRESETS[config.method]
    values |= DATA_PRESETS.get(data_format, {}) | METHOD_DATA_PRESETS.get((config.method, data_format), {})
    values |= {"prompt": prompt}
    values |= {"floor": 1 / num_classes, "workers": min(max(1, cores), MAX_WORKERS)}
    values |= {f.name: value for f in fields(config) if (value := getattr(config, f.name)) is not None}
    values.setdefault("head_learning_rate", values["learning_rate"] * values["head_multiplier"])
    settings = Settings(**values)
    if config.method in OWN_LABELS and settings.labels != METHOD_PRESETS[config.method]["labels"]:
        raise ValueError(f"--labels {config.labels} does not go with --method {config.method}, which makes its own")
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    if not 0 <= settings.warmup_epochs <= settings.epochs:
        raise ValueError(
            f"--warmup-epochs {settings.warmup_epochs} must lie between 0 and --epochs {settings.epochs}, "
            "which counts them too"
        )
    if settings.prompt.count("{}") != 1:
        raise ValueError(f"--prompt {settings.prompt!r} must contain exactly one {{}} for the class name")
    if settings.corrections is not None and settings.method != "ccd":
        raise ValueError(f"--corrections are for --method ccd, whose labels stay; {settings.method} would move them")
    if settings.labeler is None and any(getattr(settings, name) is not None for name in LABELER_FILES):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in LABELER_FILES)
        raise ValueError(f"{flags} are for a labeler that runs elsewhere: give its address with --labeler")
    _check_size_jitter(settings)
    for name, low, high in RANGES:
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            raise ValueError(f"--{name.replace('_', '-')} {value} must lie between {low} and {high}")


def _check_size_jitter(settings: Settings) -> None:
    if settings.size_jitter is None:
        return
    low, high = settings.size_jitter
    if not 32 <= low <= high <= 4096 or low % 32 or high % 32:
        raise ValueError(f"--size-jitter {low} {high} must be two multiples of 32 from 32 to 4096, the smaller first")
    if settings.compile:
        raise ValueError("--size-jitter does not go with --compile, which would take minutes for each size: drop one")


# Methods whose labels are more than one look at the whole image.
OWN_LABELS = ("ccd", "cdul")

LABELER_FILES = ("labeler_ca", "labeler_cert", "labeler_key", "labeler_token_file")

RANGES: tuple[tuple[str, float, float], ...] = (
    ("alpha", 0, 1), ("floor", 0, 1), ("cam_threshold", 0, 1), ("box_offset", 0, 1), ("view_threshold", 0, 1),
    ("uncertain_weight", 0, 1), ("max_entropy", 0, float("inf")), ("consistency_weight", 0, float("inf")),
    ("learning_rate", 0, float("inf")), ("image_size", 32, 4096), ("view_size", 32, 4096), ("epochs", 1, 10_000),
    ("batch_size", 1, 65_536), ("known_share", 0, 1), ("weight_decay", 0, float("inf")),
    ("rate_epochs", 0, 10_000), ("tile_threshold", 0, 1), ("latent_sigma", 1e-3, 1e3),
    ("accumulate", 1, 65_536), ("ema", 0, 0.999_999), ("layer_decay", 0.01, 1),
)  # fmt: skip


def default_output(data: str) -> Path:
    """runs/NAME, where NAME is what the data set would be called."""
    return Path("runs") / (Path(data.rpartition(":")[2]).name or "run")
