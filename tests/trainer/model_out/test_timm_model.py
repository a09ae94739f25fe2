"""The classifier as a timm model: the same probabilities, opened by timm alone, and the same bits back."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

from trainer.exported_model import Description, load_model, write_model
from trainer.model import CamClassifier
from trainer.timm_model import NoTimmFormError, from_timm, to_timm

NAMES = ("cat", "dog", "traffic light")


Trained = Callable[..., CamClassifier]


@pytest.mark.parametrize(
    ("name", "boost"),
    [("demo", 3.0), ("demo", 1.0), ("resnet26", 3.0), ("resnext26ts", 1.0), ("vit_tiny_patch16_224", 1.0)],
)
def test_timm_opens_the_folder_and_says_the_same(name: str, boost: float, trained: Trained, tmp_path: Path) -> None:
    """Would fail if the boost were dropped, tokens were normalised after pooling, or a setting of the backbone (the
    demo's channels and stride, the transformer's size) were missing from the config."""
    classifier = trained(name, boost)
    images = torch.randn(3, 3, 96, 96)
    assert write_model(tmp_path, classifier, Description(name, 96, NAMES)) is None
    opened = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    exported = to_timm(classifier, name, image_size=96).model
    with torch.inference_mode():
        logits = opened(images)
        assert torch.equal(logits, exported(images))
        expected, cams = classifier(images)
        assert 0.2 < (cams > 0).float().mean() < 0.8
        torch.testing.assert_close(logits.sigmoid(), expected.sigmoid(), atol=1e-5, rtol=0)
    restored, names = load_model(tmp_path)
    assert names == NAMES
    state = classifier.state_dict()
    assert restored.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in restored.state_dict().items())


def test_a_boost_needs_the_block(trained: Trained) -> None:
    """Would fail if the boost were folded into the linear layer, which is right for one sign of all cells alone."""
    classifier = trained("demo", 3.0)
    plain = CamClassifier(classifier.backbone, num_classes=3, boost=1.0).eval()
    plain.load_state_dict(classifier.state_dict())
    images = torch.randn(2, 3, 96, 96)
    cams = plain(images)[1]
    assert ((cams > 0).any(dim=(2, 3)) & (cams < 0).any(dim=(2, 3))).any(), "some image has cells of both signs"
    assert not torch.allclose(classifier(images)[0], plain(images)[0], atol=1e-2)
    model = to_timm(classifier, "demo", image_size=96).model
    torch.testing.assert_close(model(images), classifier(images)[0], atol=1e-5, rtol=1e-5)
    assert from_timm(model, boost=3.0).boost == 3.0


@pytest.mark.parametrize(
    ("name", "boost", "num_classes", "says"),
    [
        ("vit_tiny_patch16_224", 3.0, 3, "VisionTransformer has no residual blocks"),
        ("demo", 3.0, 65, "room for 64 classes, not 65"),
        ("mobilenetv3_small_050", 1.0, 3, "its last layer is not linear in the features"),
        ("convnext_atto", 1.0, 3, "does more than pool its features"),
    ],
)
def test_what_has_no_timm_form_says_so_and_opens_here(
    name: str, boost: float, num_classes: int, says: str, trained: Trained, tmp_path: Path
) -> None:
    """Would fail if a model were written that timm opens and that answers something else."""
    classifier = trained(name, boost, num_classes)
    with pytest.raises(NoTimmFormError, match=says):
        to_timm(classifier, name, image_size=64)
    reason = write_model(tmp_path, classifier, Description(name, 64, tuple(map(str, range(num_classes)))))
    assert reason is not None
    assert says in reason
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(load_model(tmp_path)[0](images), classifier(images))


def test_the_classifier_itself_is_left_as_it_is(trained: Trained) -> None:
    """Would fail if exporting changed the model that the run goes on with."""
    classifier = trained("demo", 3.0).train()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    to_timm(classifier, "demo", image_size=64)
    assert classifier.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())
