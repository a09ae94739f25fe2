"""Section 9: under which licences the weights are that made this run; the trained model inherits their conditions."""

from dataclasses import dataclass

from trainer.report.run_files import RunFiles

TITLE = "Licences of the weights used"

UNKNOWN = "not known to this program: look where the weights come from"
OWN = "Apache-2.0, with this program"

_APPLE = "Apple's licence for machine learning research: no commercial use"

# open_clip tags by their beginning, the first that fits. Sources: the LICENSE file of github.com/openai/CLIP; the model
# cards of laion, apple (apple-amlr; datacompdr and dfndr are MobileCLIP's), timm (webli) and of open_clip's CommonPool
# and DataComp models on huggingface.co; facebookresearch/MetaCLIP.
_CLIP_TAGS = {
    "openai": "MIT",
    "laion": "MIT",
    "datacompdr": _APPLE,
    "datacomp": "MIT",
    "commonpool": "MIT",
    "webli": "Apache-2.0",
    "dfn": _APPLE,
    "metaclip": "CC BY-NC 4.0: no commercial use",
}


@dataclass(frozen=True)
class WeightsLicence:
    """What the weights were for, their name, and their licence in words."""

    use: str
    name: str
    licence: str


def build(run: RunFiles) -> tuple[WeightsLicence, ...]:
    weights = [_classifier(run)]
    if run.state.get("labeler"):
        weights.insert(0, _clip(run))
    return tuple(weights)


def _clip(run: RunFiles) -> WeightsLicence:
    """A labeler that was running already may have been started with any weights, whatever its model is called."""
    name = run.state["labeler"]["model"]
    if name == "demo":
        return WeightsLicence("CLIP", name, OWN)
    tag = "" if "labeler" in run.given else run.settings["clip_weights"]
    licence = next((licence for start, licence in _CLIP_TAGS.items() if tag and tag.startswith(start)), UNKNOWN)
    return WeightsLicence("CLIP", f"{name} {tag}".strip(), licence)


def _classifier(run: RunFiles) -> WeightsLicence:
    name, weights = run.settings["backbone"], run.settings["backbone_weights"]
    if weights == "none":
        return WeightsLicence("classifier", name, "none: it started from random weights")
    if name == "demo":
        return WeightsLicence("classifier", name, OWN)
    return WeightsLicence("classifier", name, _timm_licence(name) if weights == "imagenet" else UNKNOWN)


def _timm_licence(name: str) -> str:
    from timm.models import get_pretrained_cfg

    config = None if name.startswith("local-dir:") else get_pretrained_cfg(name)
    return getattr(config, "license", None) or UNKNOWN
