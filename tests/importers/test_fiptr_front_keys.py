"""Every entry of a full-size FipTR before its head finds its place, and none of the model is left without."""

import re

import pytest
import torch
from torch import nn

from bevkit.importers.fiptr_front import merging_rows, translate_fiptr_front
from bevkit.models.image import ImageEncoder, TimmBackbone
from bevkit.models.temporal import SpatioTemporalFusion
from bevkit.models.view_transformers import LiftSplat
from bevkit.structures import BEVGrid

HEAD = "pts_bbox_head."
GEOMETRY = r"transformer\.frustum|.+\.relative_position_index"


def front_of(config):
    """Everything before the head, under its names in DenseBEV."""
    grid = BEVGrid(x=config["xbound"], y=config["ybound"], z=config["zbound"])
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", (16, 32), windows="padded", output_norm=True,
                            model_options=dict(embed_dim=config["swin_embed_dims"], depths=config["swin_depths"],
                                               num_heads=config["swin_num_heads"],
                                               window_size=config["swin_window_size"]))
    encoder = ImageEncoder(backbone, dict(type="UpsampleConcat", out_channels=config["lss_in_channels"],
                                          align_corners=True))
    view = LiftSplat(grid, encoder.channels[0], config["lss_out_channels"], config["dbound"], config["image_size"],
                     encoder.strides[0], frustum="corner", indexing="truncate")
    temporal = SpatioTemporalFusion(grid, view.channels, config["receptive_field"] - 1, view.channels, warp="fiptr",
                                    pool_window=config["temporal_input_shape"], residual=True)
    return nn.ModuleDict(dict(image_encoder=encoder, view_transformer=view, temporal=temporal))


@pytest.fixture(scope="module")
def full_size(golden):
    """Key list, model without memory behind it, and entries of the listed shapes, likewise."""
    listed = golden("instance/keys_fiptr_tiny.json")
    with torch.device("meta"):
        model = front_of(listed["meta"]["config"])
        state = {key: torch.empty(shape) for key, shape in listed["keys"].items() if not key.startswith(HEAD)}
    return model, state


def test_every_key_is_used(full_size):
    model, state = full_size
    wanted = model.state_dict()
    translation = translate_fiptr_front(state, wanted)
    assert translation.unknown == []
    assert set(translation.dropped) == {key for key in state if re.fullmatch(GEOMETRY, key)}
    assert set(wanted) == set(translation.state)
    for key, value in translation.state.items():
        assert value.shape == wanted[key].shape, key
    assert len(translation.state) == len(state) - len(translation.dropped)  # no two entries share a place


def test_the_options_are_the_models(full_size):
    model, state = full_size
    for key, wanted in translate_fiptr_front(state, model.state_dict()).options.items():
        if key.startswith("images."):
            continue  # of the data
        part = model
        for word in key.split("."):
            part = part[word] if isinstance(part, nn.ModuleDict) else getattr(part, word)
        assert part == wanted, key


def test_merged_patches_keep_their_weights():
    """A patch merging is a convolution: mmdetection lays its inputs out as `nn.Unfold` does, timm by columns."""
    maps, weight = torch.randn(2, 3, 4, 6), torch.randn(5, 12)  # [M C H W], [C' 4C]
    theirs = torch.einsum("oi,mil->mol", weight, nn.Unfold(2, stride=2)(maps))
    patches = maps.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 5, 3, 1).flatten(3)  # column, row, C
    ours = torch.einsum("oi,mhwi->mohw", merging_rows(weight), patches).flatten(2)
    torch.testing.assert_close(ours, theirs)
