"""HoP's predictor of a past map computes what the authors' does."""

import pytest
import torch
from torch import nn

from bevkit.importers.hop import translate_hop
from bevkit.models.auxiliaries.historical_object import BiTemporalPredictor
from tests.parity.detection import close


@pytest.fixture(params=["hop_bitemporal.pt", "hop_bitemporal_noquery.pt"])
def truth(request, golden):
    return golden(f"detection/{request.param}")


def maps_of(truth, golden) -> torch.Tensor:
    source = truth["meta"]["config"].get("inputs_from")
    inputs = truth["inputs"] if source is None else golden(f"detection/{source.split()[0]}")["inputs"]
    return torch.stack(inputs["bev_feats"], dim=1)  # [B F C Y X]


def test_a_past_map_is_guessed_as_the_authors_guess_it(truth, golden):
    config = truth["meta"]["config"]
    near, far = config["decoder_short"], config["decoder_long"]
    holder = nn.Module()
    holder.auxiliaries = nn.ModuleList([nn.Module()])
    predictor = holder.auxiliaries[0].predictor = BiTemporalPredictor(
        config["in_channels"], config["out_channels"], (config["bev_h"], config["bev_w"]), config["num_frames"],
        config["embed_dims"], config["num_short"], config["reduction"], (near["num_heads"], far["num_heads"]),
        (near["ffn_channels"], far["ffn_channels"]), near["num_layers"], config["with_query"]).eval()
    state = {f"history_decoder.{name}": value for name, value in truth["state_dict"].items()}
    translation = translate_hop(state, holder.state_dict())
    assert not translation.unknown and not translation.dropped
    holder.load_state_dict(translation.state)
    maps = maps_of(truth, golden)
    with torch.no_grad():
        short, long = predictor.decode(maps)
        ours = {"short": short, "long": long, "bev": predictor(maps)}
    for name, expected in truth["outputs"].items():
        assert close(ours[name], expected, truth["meta"], name), name
