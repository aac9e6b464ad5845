"""What the FipTR parity tests share: the head with the authors' weights, and their codes and classes in our order."""

from typing import Any

import torch
from torch import Tensor, nn

from bevkit.importers.boxes import new_code_rows
from bevkit.importers.fiptr_head import FIPTR_CLASSES, from_fiptr_classes, translate_fiptr_head
from bevkit.models.bev_encoders import ResidualFPN
from bevkit.models.future import FipTRHead
from bevkit.structures import BEVGrid
from bevkit.structures.classes import CLASSES
from tests.parity.powerbev import floats


def grid_of(config: dict[str, Any]) -> BEVGrid:
    """A grid of the file's number of cells; how long they are plays no part."""
    return BEVGrid(x=(0, config["bev_w"], 1), y=(0, config["bev_h"], 1))


def build(config: dict[str, Any], **options: Any) -> nn.ModuleDict:
    """The network on the BEV plane and the head for a reference file's config, with the numerics of the authors."""
    channels, stages = config["embed_dims"], config["bev_encoder_channels"]
    assert config["num_levels"] == 1 and config["with_box_refine"] and config["temporal_mlp_layers"] == 3
    assert config["flow_branch_channels"] == [channels // 4, 2] and config["frames"] == config["future_frame"] + 1
    grid = grid_of(config)
    encoder = ResidualFPN(grid, config["in_channels"], stages, config["bev_encoder_blocks"], [2] * len(stages),
                          channels, block="bottleneck")
    head = FipTRHead(grid, channels, config["future_frame"], config["num_query"], config["decoder_layers"],
                     config["future_layer"], config["num_heads"], config["num_points"],
                     config["feedforward_channels"], config["num_classes"], config["num_reg_fcs"], dropout=0.0,
                     **{"bounds": config["pc_range"], "keep_position": True, **options})
    return nn.ModuleDict(dict(bev_encoder=encoder, head=head))


def loaded(data: dict[str, Any], **options: Any) -> nn.ModuleDict:
    """`build` with the authors' weights through the importer; every entry of both sides must find its partner."""
    model = build(data["meta"]["config"], **options)
    translation = translate_fiptr_head(floats(data["state_dict"]), model.state_dict())
    assert translation.unknown == [] and set(translation.dropped) <= {"code_weights"}
    model.load_state_dict(translation.state)
    return model.eval()


def our_codes(codes: Tensor) -> Tensor:
    """Turns the authors' box codes [.. 10] to ours."""
    return new_code_rows(codes.movedim(-1, 0)).movedim(0, -1)


def our_scores(scores: Tensor) -> Tensor:
    """Turns the authors' class logits [.. K] to our order."""
    return from_fiptr_classes(scores.movedim(-1, 0)).movedim(0, -1)


def our_names(count: int) -> list[str]:
    """The names of the K classes in our order."""
    return [name for name in CLASSES if name in FIPTR_CLASSES[:count]]


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the authors' largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    theirs = theirs.float()
    return float((ours.detach() - theirs).abs().max() / theirs.abs().max().clamp(min=torch.finfo().tiny))
