"""The classifier: logits are pooled CAMs, on any backbone whose features have places."""

from pathlib import Path

import pytest
import timm
import torch

from trainer.model import CamClassifier, create_backbone, freeze_all_but_last_block


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_logits_are_the_mean_of_the_cams_at_any_size(name: str) -> None:
    """Would fail if tokens or channels-last features were put back in the wrong places, or one size only worked."""
    torch.manual_seed(0)
    model = CamClassifier(create_backbone(name, weights="none"), num_classes=5, boost=3.0).eval()
    for size in (224, 128):
        logits_BC, cams_BChw = model(torch.randn(2, 3, size, size))
        assert logits_BC.shape == (2, 5)
        assert cams_BChw.shape[-1] == cams_BChw.shape[-2] > 1
        torch.testing.assert_close(logits_BC, cams_BChw.mean(dim=(2, 3)))


def test_tokens_keep_their_places() -> None:
    """Would fail if rows and columns were swapped: a CAM would then show a mirror image of where the object is."""
    backbone = create_backbone("vit_tiny_patch16_224", weights="none").eval()
    model = CamClassifier(backbone, num_classes=1).eval()
    _, cams_BChw = model(torch.zeros(1, 3, 64, 96))
    assert cams_BChw.shape == (1, 1, 4, 6)
    tokens = backbone.forward_features(torch.zeros(1, 3, 64, 96))[:, 1:]
    expected = tokens[0, 6 * 2 + 5] @ model.head.weight[0, :, 0, 0] + model.head.bias[0]  # row 2, column 5
    torch.testing.assert_close(cams_BChw[0, 0, 2, 5], expected)


def test_without_boost_the_head_is_a_linear_layer_on_pooled_features() -> None:
    """Would fail if eq. 4 did not hold: a CAM must show what the logit is made of."""
    torch.manual_seed(0)
    backbone = create_backbone("resnet10t", weights="none").eval()
    model = CamClassifier(backbone, num_classes=3).eval()
    images = torch.randn(2, 3, 64, 64)
    pooled = backbone.forward_features(images).mean(dim=(2, 3))
    torch.testing.assert_close(model(images)[0], pooled @ model.head.weight[:, :, 0, 0].T + model.head.bias)


def test_boost_only_raises_positive_activations() -> None:
    """Would fail if BoostLU also scaled the negative ones, which would change nothing but the scale."""
    torch.manual_seed(0)
    backbone = create_backbone("resnet10t", weights="none").eval()
    plain, boosted = CamClassifier(backbone, num_classes=3), CamClassifier(backbone, num_classes=3, boost=3.0)
    boosted.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 64)
    before, after = plain.eval()(images)[1], boosted.eval()(images)[1]
    torch.testing.assert_close(after, torch.where(before > 0, 3 * before, before))


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    """Would fail if a checkpoint with a classification head did not fit, or was loaded in part without a word."""
    whole = timm.create_model("resnet10t", pretrained=False, num_classes=1000)
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    backbone = create_backbone("resnet10t", weights=str(tmp_path / "whole.pth"))
    expected = whole.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in backbone.state_dict().items())
    with pytest.raises(ValueError, match="not this backbone's weights"):
        create_backbone("resnet18", weights=str(tmp_path / "whole.pth"))


def test_a_pickle_that_runs_code_is_not_opened(tmp_path: Path) -> None:
    """Would fail if a weights file from a stranger could run code here."""

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(Exception, match=r"(?i)weights.only|unsupported"):
        create_backbone("resnet10t", weights=str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "weights", "says"),
    [
        ("resnet11t", "none", "no such model"),
        ("resnet10t", "gone.pth", "no such file"),
        ("mixer_s32_224", "none", "spatial"),
    ],
)
def test_mistakes(name: str, weights: str, says: str) -> None:
    """Would fail if a wrong backbone were found out only after the labels were made."""
    with pytest.raises(ValueError, match=says):
        CamClassifier(create_backbone(name, weights=weights), num_classes=2)(torch.zeros(1, 3, 224, 224))


def test_frozen_blocks_do_not_move() -> None:
    """Would fail if their batch norm went on averaging while their weights stay: the features would drift."""
    backbone = create_backbone("resnet10t", weights="none")
    freeze_all_but_last_block(backbone)
    model = CamClassifier(backbone, num_classes=2).train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    model(torch.randn(2, 3, 64, 64))[0].sum().backward()
    moved = {name for name, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(name.startswith("layer4.") for name in moved)
    trained = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in backbone.named_parameters() if name.startswith("layer4.")}


def test_a_backbone_without_blocks_is_not_frozen() -> None:
    """Would fail if a transformer were trained whole where one block was asked for."""
    with pytest.raises(ValueError, match="--trained-blocks last: VisionTransformer has no layer4"):
        freeze_all_but_last_block(create_backbone("vit_tiny_patch16_224", weights="none"))
