"""Any timm model as a pyramid, and the numerics of EfficientNet that released weights depend on."""

import pytest
import timm
import torch

from bevkit.models.image import ImageEncoder, TimmBackbone, UpsampleConcat
from bevkit.models.image.timm_backbone import StaticSameConv2d

# (left, right, top, bottom) of the strided convolutions, as efficientnet_pytorch computes them for 224 and 380 pixels.
PADDINGS = {"tf_efficientnet_b0": [(0, 1, 0, 1), (0, 1, 0, 1), (1, 2, 1, 2), (0, 1, 0, 1)],
            "tf_efficientnet_b4": [(0, 1, 0, 1), (0, 1, 0, 1), (2, 2, 2, 2), (0, 1, 0, 1)]}
KEPT_BLOCKS = {"tf_efficientnet_b0": 11, "tf_efficientnet_b4": 22}


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "mobilenetv3_small_050", "resnet18", "convnext_atto",
                                  "ese_vovnet19b_slim_dw", "swin_tiny_patch4_window7_224"])
def test_a_pyramid_has_the_strides_and_channels_it_declares(name):
    backbone = TimmBackbone(name, out_strides=(8, 16)).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(2, 3, 64, 96))
    assert [tuple(feature.shape) for feature in features] == [
        (2, channels, 64 // stride, 96 // stride) for channels, stride in zip(backbone.channels, (8, 16), strict=True)]


def test_swin_takes_every_size_of_image():
    torch.manual_seed(0)
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", out_strides=(16, 32)).eval()
    images = [torch.rand(1, 3, *size) for size in ((64, 96), (128, 160), (64, 96))]
    with torch.no_grad():
        features = [backbone(image) for image in images]
    assert [feature.shape[2:] for feature in features[1]] == [(8, 10), (4, 5)]
    # What another size left behind does no harm.
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(backbone(images[0]), features[0]))


def test_the_large_ones_are_there():
    with torch.device("meta"):
        backbone = TimmBackbone("ese_vovnet99b", out_strides=(8, 16, 32))
    assert backbone.channels == (512, 768, 1024)


@pytest.mark.parametrize("name", PADDINGS)
def test_static_padding_and_the_cut(name):
    with torch.device("meta"):
        backbone = TimmBackbone(name, padding="static_same", drop_path=0.2)
    padded = [module.pad for module in backbone.modules() if isinstance(module, StaticSameConv2d)]
    blocks = [block for stage in backbone.model.blocks for block in stage]
    rates = {index: block.drop_path.drop_prob for index, block in enumerate(blocks)
             if isinstance(block.drop_path, timm.layers.DropPath)}
    assert padded == PADDINGS[name]
    assert len(blocks) == KEPT_BLOCKS[name]
    assert rates == {index: pytest.approx(0.2 * index / len(blocks)) for index in rates} and rates
    assert all(blocks[index].has_skip for index in rates)


@pytest.mark.parametrize(("name", "size", "same"), [("tf_efficientnet_b0", 224, True),
                                                    ("tf_efficientnet_b4", 96, False)])
def test_static_padding_is_native_padding_at_the_nominal_size_only(name, size, same):
    torch.manual_seed(0)
    native, static = TimmBackbone(name).eval(), TimmBackbone(name, padding="static_same").eval()
    static.load_state_dict(native.state_dict())
    image = torch.rand(1, 3, size, size)
    with torch.no_grad():
        assert torch.allclose(native(image)[-1], static(image)[-1], atol=1e-5) is same


def test_weights_of_a_local_timm_file(tmp_path):
    trained = timm.create_model("mobilenetv3_small_050")
    torch.save(trained.state_dict(), tmp_path / "weights.pth")
    backbone = TimmBackbone("mobilenetv3_small_050", checkpoint=str(tmp_path / "weights.pth"))
    for name, value in backbone.model.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="out_strides"):
        TimmBackbone("resnet18", out_strides=(8, 12))
    with pytest.raises(ValueError, match="drop_path"):
        TimmBackbone("resnet18", drop_path=0.2)
    with pytest.raises(ValueError, match="padding"):
        TimmBackbone("tf_efficientnet_b0", padding="dynamic")
    with pytest.raises(ValueError, match="two feature maps"):
        UpsampleConcat((8, 16, 32), (4, 8, 16))


def test_neck_takes_feature_sizes_that_are_not_doubles():
    encoder = ImageEncoder(TimmBackbone("resnet18"), dict(type="UpsampleConcat", out_channels=12)).eval()
    with torch.no_grad():
        (features,) = encoder(torch.zeros(1, 3, 72, 104))
    assert (encoder.channels, encoder.strides) == ((12,), (8,))
    assert features.shape == (1, 12, 9, 13)


def test_every_block_of_a_vovnet_can_have_its_gate():
    with torch.device("meta"):
        few, all_blocks = (TimmBackbone("ese_vovnet57b", (4, 32), gated_blocks=kind) for kind in ("native", "all"))
    gates = [sum(name.endswith("attn.fc.weight") for name in model.state_dict()) for model in (few, all_blocks)]
    assert gates == [4, 1 + 1 + 4 + 3]
    with pytest.raises(ValueError, match="expected a VoVNet"):
        TimmBackbone("resnet18", gated_blocks="all")


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_b0", "ese_vovnet19b_dw", "regnety_002"])
def test_what_is_frozen_stays(name):
    backbone = TimmBackbone(name, out_strides=(8, 16), frozen_stride=4).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    sum(feature.square().mean() for feature in backbone(torch.rand(2, 3, 64, 64))).backward()
    learning = {key for key, weight in backbone.named_parameters() if weight.grad is not None}
    moved = {key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert learning and moved and len(learning) < len(dict(backbone.named_parameters()))
    first = next(iter(dict(backbone.named_parameters())))
    assert first not in learning and not {key for key in moved if key.rpartition(".")[0] == first.rpartition(".")[0]}
    # A whole stage is at rest or none of it is.
    statistics = {key.rpartition(".")[0] for key in moved}
    assert all(any(weight.startswith(norm) for weight in learning) for norm in statistics)
    with pytest.raises(ValueError, match="frozen_stride"):
        TimmBackbone(name, frozen_stride=1)


def test_norms_keep_their_statistics_and_stages_are_computed_anew():
    torch.manual_seed(0)
    plain = TimmBackbone("resnet18", norm_eval=True).train()
    spared = TimmBackbone("resnet18", norm_eval=True, checkpointing=True).train()
    spared.load_state_dict(plain.state_dict())
    images, before = torch.rand(2, 3, 64, 64), {key: value.clone() for key, value in plain.state_dict().items()}
    for backbone in (plain, spared):
        sum(feature.square().mean() for feature in backbone(images)).backward()
    assert all(torch.equal(value, before[key]) for key, value in plain.state_dict().items())
    for ours, theirs in zip(spared.parameters(), plain.parameters()):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7)
