"""Who attends to whom in a Swin transformer, on maps of any size; what detectors add to it; and that it exports."""

import onnxruntime
import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import nn

from bevkit.export.onnx import checked, trace
from bevkit.models.image import TimmBackbone
from bevkit.models.image.swin import ShiftedWindowBlock

SWIN = "swin_tiny_patch4_window7_224"
SMALL = dict(embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8))


def small(windows="padded", strides=(16, 32), **options):
    torch.manual_seed(0)
    return TimmBackbone(SWIN, strides, windows=windows, model_options=SMALL, **options).eval()


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_a_cell_sees_the_cells_of_its_window_alone(shift):
    window, size = 4, (10, 7)  # neither side is a whole number of windows
    torch.manual_seed(0)
    block = ShiftedWindowBlock(SwinTransformerBlock(6, size, num_heads=2, window_size=window), window, shift).eval()
    rows, columns = ((torch.arange(count) + window - shift) // window if shift else torch.arange(count) // window
                     for count in size)
    maps = torch.randn(1, *size, 6)
    for row, column in ((0, 0), (1, 6), (4, 3), (9, 2)):
        other = maps.clone()
        other[0, row, column] = torch.randn(6)
        with torch.no_grad():
            moved = (block(other) - block(maps)).abs().amax(dim=-1)[0] > 1e-6
        expected = (rows == rows[row])[:, None] & (columns == columns[column])
        assert torch.equal(moved, expected), (row, column)


def test_on_whole_windows_both_forms_agree_up_to_the_last_stage():
    """There the map of the nominal image is one window, which timm does not shift."""
    native, padded = (small(windows, strides=(4, 8, 16, 32)) for windows in ("native", "padded"))
    padded.load_state_dict(native.state_dict())
    with torch.no_grad():
        whole, other = ([list(zip(native(image), padded(image))) for image in torch.rand(1, 1, 3, *size)][0]
                        for size in ((224, 448), (96, 160)))
    for ours, theirs in whole[:3]:
        torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(*whole[3], atol=1e-3)
    assert not any(torch.allclose(*pair, atol=1e-3) for pair in other)


def test_images_need_not_be_whole_patches():
    image = torch.rand(1, 3, 62, 93)
    padded = torch.zeros(1, 3, 64, 96)
    padded[..., :62, :93] = image
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(small()(image), small()(padded), strict=True))


def test_output_norms():
    plain, normed = small(), small(output_norm=True)
    image = torch.rand(2, 3, 64, 96)
    for norm in normed.norms:
        nn.init.normal_(norm.weight)
    with torch.no_grad():
        for ours, theirs, norm in zip(normed(image), plain(image), normed.norms, strict=True):
            torch.testing.assert_close(ours, norm(theirs.movedim(1, -1)).movedim(-1, 1))


def test_a_convolutional_backbone_may_have_output_norms():
    backbone = TimmBackbone("resnet18", (8, 16), output_norm=True).eval()
    with torch.no_grad():
        fine, _ = backbone(torch.rand(1, 3, 64, 96))
    assert fine.shape == (1, backbone.channels[0], 8, 12) and fine.mean(dim=1).abs().max() < 1e-4


def test_the_exported_graph_computes_the_same():
    backbone, images = small(strides=(4, 8), output_norm=True), torch.rand(2, 3, 64, 96)
    model = checked(trace(backbone, dict(images=images), ["fine", "coarse"]))
    ours = onnxruntime.InferenceSession(model.SerializeToString()).run(None, dict(images=images.numpy()))
    with torch.no_grad():
        for found, expected in zip(ours, backbone(images), strict=True):
            torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_unknown_windows_are_named():
    with pytest.raises(ValueError, match="'round'"):
        TimmBackbone(SWIN, windows="round")


def test_blocks_are_dropped_at_the_rate_asked_for():
    def rates(backbone):
        return [getattr(block.drop_path2, "drop_prob", 0.0) for name, stage in backbone.model.named_children()
                if name.startswith("layers") for block in stage.blocks]

    assert not any(rates(small()))
    rising = rates(small(drop_path=0.3))
    assert rising[0] == 0 and rising[-1] == pytest.approx(0.3) and rising == sorted(rising)
