"""The head of Efficient-Instance-Prediction: maps of any size, the paper's decoder, sizes, what it refuses."""

import pytest
import torch
import torch.nn.functional as F

import bevkit.models  # noqa: F401  fills the registry
from bevkit.engine.build import build_model
from bevkit.engine.config import load_config
from bevkit.models.future import EfficientPredictionHead
from bevkit.models.future.segformer import AllMLPDecoder, ReducedAttention, SegFormerEncoder
from bevkit.structures import BEVGrid
from tests.conftest import ROOT

GRID = BEVGrid(x=(-13, 13, 2), y=(-11, 11, 2))  # 11 x 13 cells: odd at every level
STAGES = dict(channels=(4, 8, 8), depths=(2, 1, 1), heads=(1, 2, 4), reductions=(4, 2, 1), mlp_ratios=(4, 2, 2),
              patch_sizes=(7, 3, 3), strides=(2, 2, 2))


def build(**changes) -> EfficientPredictionHead:
    torch.manual_seed(0)
    options = dict(STAGES, decoder_channels=16, classifier_channels=(8, 4), drop_path=0.0, dropout=0.0) | changes
    return EfficientPredictionHead(GRID, in_channels=5, future=1, **options)


def test_first_guess_is_background():
    with torch.no_grad():
        raw = build().eval()(torch.zeros(2, 5, *GRID.shape))
    assert raw.segmentation.shape == (2, 3, 2, *GRID.shape) and raw.flow.shape == (2, 3, 2, *GRID.shape)
    assert raw.segmentation.softmax(2)[:, :, 0].min() > 0.95
    assert not (build(background_first=False).segmentation_branch.classifier[-1].bias == 4.6).any()


def test_loss_falls_when_the_truth_is_followed():
    head = build()
    targets = {"segmentation": torch.zeros(2, 3, *GRID.shape, dtype=torch.int64),
               "flow": torch.full((2, 3, 2, *GRID.shape), 255.0)}
    targets["segmentation"][:, :, 3:6, 4:8] = 1
    targets["flow"][:, :, :, 3:6, 4:8] = 0.5
    bev = targets["segmentation"][:, :1].float().expand(-1, 5, -1, -1) + torch.rand(2, 5, *GRID.shape)
    optimizer = torch.optim.Adam(head.train().parameters(), lr=1e-2)
    totals = []
    for _ in range(12):
        losses = head.loss(head(bev), targets)
        assert all(name.startswith("loss_") for name in losses)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.5 * totals[0]


@torch.no_grad()
def test_exchanged_axes_exchange_the_outputs():
    """Nothing in the head knows rows from columns, but for its kernels."""
    head = build().eval()
    turned = EfficientPredictionHead(BEVGrid(x=GRID.y, y=GRID.x), 5, 1, **STAGES, decoder_channels=16,
                                     classifier_channels=(8, 4)).eval()
    turned.load_state_dict({name: value.transpose(-1, -2) if value.dim() == 4 else value
                            for name, value in head.state_dict().items()})
    bev = torch.randn(2, 5, *GRID.shape)
    for ours, theirs in zip(head(bev), turned(bev.transpose(-1, -2))):
        torch.testing.assert_close(ours, theirs.transpose(-1, -2), rtol=1e-4, atol=1e-5)


def test_half_precision_stays_close_and_learns():
    head, bev = build().train(), torch.randn(2, 5, *GRID.shape)
    exact = head(bev)
    with torch.autocast("cpu", torch.bfloat16):
        rough = head(bev)
    for ours, theirs in zip(rough, exact):
        assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max()
    targets = {"segmentation": torch.ones(2, 3, *GRID.shape, dtype=torch.int64), "flow": torch.ones_like(exact.flow)}
    sum(head.loss(rough, targets).values()).backward()
    weights = dict(head.named_parameters())
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in weights.values())
    assert weights["flow_branch.decoder.fuse.weight"].grad.abs().max() > 0


@torch.no_grad()
def test_samples_of_a_batch_do_not_see_one_another():
    head, bev = build().eval(), torch.randn(3, 5, *GRID.shape)
    for together, alone in zip(head(bev), head(bev[1:2])):
        torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_decoder_is_the_papers_in_another_order():
    """Every map to C channels, resized, stacked with the coarsest first, mixed; values and gradients."""
    torch.manual_seed(0)
    decoder = AllMLPDecoder((4, 6, 8), 10).double().eval()
    maps = [torch.randn(2, *size, channels, dtype=torch.float64)
            for size, channels in (((9, 7), 4), ((5, 4), 6), ((3, 2), 8))]
    wide = [F.interpolate(level(x).permute(0, 3, 1, 2), size=(9, 7), mode="bilinear", align_corners=False)
            for level, x in zip(decoder.levels, maps, strict=True)]
    expected = decoder.norm(decoder.fuse(torch.cat(wide[::-1], dim=1))).relu()
    found = decoder(maps)
    torch.testing.assert_close(found, expected)
    weights = [*decoder.parameters()]
    for ours, theirs in zip(torch.autograd.grad(found.square().sum(), weights),
                            torch.autograd.grad(expected.square().sum(), weights), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_reduced_attention_is_softmax_over_windows():
    torch.manual_seed(0)
    attention, x = ReducedAttention(6, 2, reduction=2).double(), torch.randn(1, 5, 7, 6, dtype=torch.float64)
    windows = attention.reduce(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)  # 2 x 3 whole windows
    seen = attention.reduce_norm(windows)
    queries, keys, values = attention.query(x.flatten(1, 2)), attention.key(seen), attention.value(seen)
    read = [torch.softmax(queries[..., half] @ keys[..., half].transpose(1, 2) / 3 ** 0.5, -1) @ values[..., half]
            for half in (slice(0, 3), slice(3, 6))]
    assert windows.shape[1] == 6
    torch.testing.assert_close(attention(x), attention.output(torch.cat(read, -1)).view_as(x))


def test_deeper_blocks_are_left_out_more_often():
    encoder = SegFormerEncoder(5, **STAGES, drop_path=0.3)
    drops = [block.drop_path.p for stage in encoder for block in stage.blocks]
    assert drops == pytest.approx([0.0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize(("name", "published"), [("efficient_short", 13_464_193), ("efficient_tiny_short", 7_425_553)])
def test_configs_have_the_published_number_of_parameters(name, published):
    with torch.device("meta"):
        model = build_model(load_config(str(ROOT / "configs" / "prediction" / f"{name}.py")))
    frozen = 48 * 28 * 60 * 3 + 9  # the authors count frustum and grid
    weights = [weight for key, weight in model.named_parameters() if not key.endswith("log_variance")]
    assert sum(weight.numel() for weight in weights) + frozen == published


def test_rate_falls_to_zero_as_published():
    from mmengine.optim.scheduler import PolyLR

    config = load_config(str(ROOT / "configs" / "prediction" / "efficient_short.py"))
    (options,) = config.param_scheduler
    rate = config.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    schedule = PolyLR(optimizer, **{name: value for name, value in options.items() if name != "type"})
    for epoch in range(config.train_cfg.max_epochs):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate * (1 - epoch / 31))
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(("changes", "words"), [
    (dict(reductions=(8, 2, 1)), "at least 8 cells a side in stage 0.*got 6"),
    (dict(depths=(1, 1)), "one number a stage.*'depths': 2"),
    (dict(heads=(3, 2, 4)), "multiple of the 3 heads"),
])
def test_refuses(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)


def test_targets_of_another_length_are_refused():
    head = build()
    raw = head(torch.zeros(1, 5, *GRID.shape))
    with pytest.raises(ValueError, match="EfficientPredictionHead: expected targets of 3 frames.*got 2"):
        head.loss(raw, {"segmentation": torch.zeros(1, 2, *GRID.shape, dtype=torch.int64)})
