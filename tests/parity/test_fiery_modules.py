"""The modules of FIERY's and BEVerse's motion heads, one by one, and their losses."""

import pytest
import torch
from torch import nn

import bevkit.models  # noqa: F401  fills the registry
from bevkit.geometry.warp import warp_flow
from bevkit.models.future import ConvGRUPredictor, FieryHead, FieryOutput, FlowWarpPredictor, LatentDistribution
from bevkit.models.future.predictors import unroll
from bevkit.models.losses import MaskedRegression, TopKCrossEntropy
from bevkit.models.temporal.temporal_blocks import TemporalBlock
from bevkit.registry import MODELS
from tests.parity.fiery import distribution_config, load_translated
from tests.parity.powerbev import ANY_GRID, named_part, no_grad_call, prefixed, relative_error, turned

NORMS = {1: "l1", 1.5: "smooth_l1", 2: "squared"}


@pytest.fixture(scope="module")
def reference(golden):
    data = golden("instance/fiery_temporal_future.pt")
    return data, data["meta"]["config"]


def tolerance_of(theirs, exact=2e-5):
    return 1e-3 if theirs.dtype == torch.float16 else exact


def test_temporal_blocks(reference):
    data, config = reference
    widths = [config["temporal_in_channels"], *[config["start_out_channels"]] * (config["receptive_field"] - 1)]
    blocks = nn.Sequential(*[TemporalBlock(*pair) for pair in zip(widths, widths[1:])])
    load_translated(named_part("temporal", named_part("blocks", blocks)),
                    prefixed("temporal_model.", data["temporal_sd"]))
    ours = no_grad_call(blocks, turned(data["temporal_in"].float()))
    assert relative_error(turned(ours), data["temporal_out"]) < 2e-5


def test_future_prediction(reference):
    data, config = reference
    predictor = ConvGRUPredictor(config["future_in_channels"], config["latent_dim"], config["n_gru_blocks"],
                                 config["n_res_layers"])
    load_translated(named_part("head", named_part("predictor", predictor)),
                    prefixed("future_prediction.", data["future_sd"]))
    latent, bev = turned(data["future_in"].float()), turned(data["future_hidden"].float())
    first = no_grad_call(Unrolled(predictor.units[0]), latent, bev)
    assert relative_error(turned(first), data["gru0_out"].float()) < tolerance_of(data["gru0_out"])
    assert relative_error(turned(no_grad_call(predictor, latent, bev)),
                          data["future_out"].float()) < tolerance_of(data["future_out"])


class Unrolled(nn.Module):
    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, frames, state):
        return unroll(self.unit, frames, state)


def test_distribution(reference):
    data, config = reference
    part = MODELS.build(distribution_config(config), default_args=dict(
        in_channels=config["distribution_in_channels"], latent_dim=config["latent_dim"]))
    load_translated(named_part("head", named_part("present_distribution", part)),
                    prefixed("present_distribution.", data["dist_sd"]))
    ours = no_grad_call(part, turned(data["dist_in"].float()).squeeze(1))
    for values, name in zip(ours, ("dist_mu", "dist_log_sigma")):
        assert relative_error(values[..., 0, 0], data[name].squeeze(1)) < 2e-5, name


def test_beverse_future_prediction(golden):
    data = golden("instance/beverse_motion.pt")
    config = data["meta"]["config"]
    predictor = FlowWarpPredictor(config["in_channels"], config["latent_dim"], config["n_gru_blocks"],
                                  config["detach_state"])
    load_translated(named_part("head", named_part("predictor", predictor)),
                    prefixed("future_prediction.", data["future_sd"]), beverse=True)
    latent = data["sample"].float().unsqueeze(1).expand(-1, config["n_future"], -1, -1, -1)
    assert relative_error(no_grad_call(predictor, latent, data["hidden"].float()), data["out"]) < 1e-5
    warped = warp_flow(data["hidden"].float(), data["flow"].float(), mode="bilinear")
    assert relative_error(warped, data["warp_with_flow"]) < 1e-5


def test_beverse_spatial_distribution(golden):
    data = golden("instance/beverse_motion.pt")
    config = data["meta"]["config"]
    part = LatentDistribution(config["in_channels"], config["latent_dim"], stages=2, spatial=True,
                              log_sigma_limits=(config["min_log_sigma"], config["max_log_sigma"]))
    load_translated(named_part("head", named_part("future_distribution", part)),
                    prefixed("pts_bbox_head.future_distribution.", data["dist_sd"]), beverse=True)
    ours = no_grad_call(part, data["dist_in"].float().squeeze(1))
    assert relative_error(ours.mean, data["mu"]) < 1e-5
    assert relative_error(ours.log_sigma, data["log_sigma"]) < 1e-5


def test_losses(golden):
    data = golden("instance/fiery_losses.pt")
    config, output, labels = data["meta"]["config"], data["output"], data["labels"]
    discount, ignore = config["future_discount"], config["ignore_index"]

    def regression(norm):
        return MaskedRegression(NORMS[norm], discount, ignore)

    head = FieryHead(ANY_GRID, 4, future=config["frames"] - 1, latent_dim=config["latent_dim"],
                     segmentation_loss=TopKCrossEntropy(config["class_weights"], config["top_k_ratio"]
                                                        if config["use_top_k"] else 1.0, discount, ignore),
                     center_loss=regression(config["centre_norm"]), offset_loss=regression(config["offset_norm"]),
                     flow_loss=regression(config["flow_norm"]), kl_weight=config["probabilistic_weight"])
    for ours, theirs in (("segmentation", "segmentation"), ("center", "centerness"), ("offset", "offset"),
                         ("flow", "flow")):
        nn.init.constant_(getattr(head, f"{ours}_weight").log_variance, config[f"{theirs}_weight"])
    mean, log_sigma = (torch.cat([output[f"{which}_{name}"] for which in ("present", "future")], dim=1)[..., None, None]
                       for name in ("mu", "log_sigma"))
    raw = FieryOutput(output["segmentation"], output["instance_center"], output["instance_offset"],
                      output["instance_flow"], mean, log_sigma)
    losses = head.loss(raw, labels | dict(segmentation=labels["segmentation"].squeeze(2)))

    names = {"loss_segmentation": "segmentation", "loss_segmentation_uncertainty": "segmentation_uncertainty",
             "loss_center": "instance_center", "loss_center_uncertainty": "centerness_uncertainty",
             "loss_offset": "instance_offset", "loss_offset_uncertainty": "offset_uncertainty",
             "loss_flow": "instance_flow", "loss_flow_uncertainty": "flow_uncertainty", "loss_kl": "probabilistic"}
    assert set(names.values()) == set(data["weighted"]) and set(names) == set(losses)
    for ours, theirs in names.items():
        assert losses[ours].item() == pytest.approx(data["weighted"][theirs].item(), rel=1e-6), ours
    assert sum(losses.values()).item() == pytest.approx(data["total"].item(), rel=1e-6)
    raw_losses = {"segmentation": head.segmentation_loss(raw.segmentation, labels["segmentation"].squeeze(2)),
                  "instance_center": head.center_loss(raw.center, labels["centerness"]),
                  "instance_offset": head.offset_loss(raw.offset, labels["offset"]),
                  "instance_flow": head.flow_loss(raw.flow, labels["flow"]),
                  "probabilistic": losses["loss_kl"] / config["probabilistic_weight"]}
    for name, theirs in data["raw"].items():
        assert raw_losses[name].item() == pytest.approx(theirs.item(), rel=1e-6), name
