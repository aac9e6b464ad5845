"""Every entry of FipTR's head at its published size finds its place, and what the weights need is said."""

import pytest
import torch
from torch import nn

from bevkit.importers.base import fit
from bevkit.importers.fiptr_head import FIPTR_CLASSES, from_fiptr_classes, translate_fiptr_head
from bevkit.models.bev_encoders import ResidualFPN
from bevkit.models.future import FipTRHead
from bevkit.structures import BEVGrid
from bevkit.structures.classes import CLASSES, VEHICLES
from tests.parity.fiptr import loaded

HEAD = "pts_bbox_head."


@pytest.fixture(scope="module")
def full_size(golden) -> tuple[dict, nn.ModuleDict]:
    """The authors' entries of the listed shapes, without memory behind them, and a model likewise."""
    listed = golden("instance/keys_fiptr_tiny.json")
    config = listed["meta"]["config"]
    channels = config["in_channels"]
    grid = BEVGrid(x=config["xbound"], y=config["ybound"], z=config["zbound"])
    with torch.device("meta"):
        encoder = ResidualFPN(grid, channels, (2 * channels, 4 * channels, 8 * channels),
                              channels=config["embed_dims"], block="bottleneck")
        head = FipTRHead(grid, encoder.channels, config["future_frame"], config["num_query"],
                         config["decoder_layers"], config["future_layer"],
                         ffn_channels=config["feedforward_channels"], classes=config["num_classes"])
        state = {key: torch.empty(shape) for key, shape in listed["keys"].items() if key.startswith(HEAD)}
    return state, nn.ModuleDict(dict(bev_encoder=encoder, head=head))


@pytest.mark.parametrize("prefix", [HEAD, ""])
def test_every_key_is_used(full_size, prefix):
    state, model = full_size
    translation = translate_fiptr_head({prefix + key.removeprefix(HEAD): value for key, value in state.items()},
                                       model.state_dict())
    wanted = model.state_dict()
    assert translation.unknown == [] and set(translation.dropped) == {prefix + "code_weights"}
    assert set(wanted) == set(translation.state) and len(wanted) == len(state) - 1  # no two entries share a place
    for key, value in translation.state.items():
        assert value.shape == wanted[key].shape, key


def test_what_is_not_the_heads_stays_for_others(full_size):
    state, model = full_size
    others = {"img_backbone.stages.0.x": torch.zeros(1), "temporal_model.y": torch.zeros(1)}
    assert translate_fiptr_head(state | others, model.state_dict()).unknown == list(others)


def test_the_authors_numerics_are_named(golden):
    data = golden("instance/fiptr_head.pt")
    model = loaded(data, bounds=None, keep_position=False)
    report = fit(translate_fiptr_head(data["state_dict"], model.state_dict()), model, "fiptr", "memory")
    assert report.complete and set(report.unmet) == {"head.bounds", "head.keep_position"}
    model = loaded(data, bounds=report.options["head.bounds"])
    assert fit(translate_fiptr_head(data["state_dict"], model.state_dict()), model, "fiptr", "memory").unmet == {}


@pytest.mark.parametrize("count", [7, 10])
def test_classes_come_in_our_order(count):
    ours = from_fiptr_classes(torch.arange(count))
    names = [FIPTR_CLASSES[index] for index in ours]
    assert names == [name for name in (VEHICLES if count == 7 else CLASSES)]
