"""FipTR's network on the BEV plane and head against the authors' tensors, part by part and as a whole."""

import pytest
import torch

from bevkit.models.layers.map_embedding import map_places
from tests.parity.fiptr import loaded, our_codes, our_scores, relative_error

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def reference(golden):
    data = golden("instance/fiptr_head.pt")
    return data, loaded(data)


@torch.no_grad()
def test_network_on_the_map(reference):
    data, model = reference
    assert relative_error(model["bev_encoder"](data["bev_in"].float()), data["bev_encoded"]) < TOLERANCE


@torch.no_grad()
def test_head(reference):
    data, model = reference
    model["head"].decoder.train()  # answers of every layer; it has no dropout here
    raw = model["head"](model["bev_encoder"](data["bev_in"].float()))
    model["head"].decoder.eval()
    assert relative_error(raw.scores, our_scores(data["all_cls_scores"])) < TOLERANCE
    assert relative_error(raw.boxes, our_codes(data["all_bbox_preds"])) < TOLERANCE
    assert relative_error(raw.masks, data["all_seg_masks"]) < TOLERANCE
    assert relative_error(raw.flow, data["predict_flows"]) < TOLERANCE


@torch.no_grad()
def test_last_map(reference):
    data, model = reference
    maps, _ = model["head"].future_maps(data["bev_encoded"])
    assert relative_error(maps[-1].flatten(2).permute(2, 0, 1), data["bev_embed_last"]) < TOLERANCE


def layer_inputs(data):
    rows = data["layer_prev"].float().transpose(0, 1)  # [B Y*X C]
    shape = tuple(data["layer_flow"].shape[-2:])
    position, flow = (data[name].flatten(2).transpose(1, 2) for name in ("layer_bev_pos", "layer_flow"))
    return data["layer_query"].float()[None], position, flow, rows, shape


@torch.no_grad()
def test_one_layer_from_map_to_map(reference):
    data, model = reference
    layer = model["head"].future_layers[0][0]
    cells, position, flow, rows, shape = layer_inputs(data)
    places = map_places(shape, rows)[None]
    assert relative_error(model["head"].position()[None], position) == 0
    assert relative_error(places, data["layer_ref_2d"].squeeze(2)) < TOLERANCE
    assert relative_error(layer(cells, position, flow, rows, shape, places), data["layer_out"]) < TOLERANCE
    found = layer.read(cells + position, torch.zeros_like(position), rows, shape, places, hint=flow)
    assert relative_error(found, data["layer_attn_out"]) < TOLERANCE
    offsets = layer.read.sampling(cells + position, flow)[0].unflatten(-1, (-1, 2))
    assert relative_error(offsets.mean(dim=2), data["layer_sample_mean"]) < TOLERANCE


@torch.no_grad()
def test_position_in_what_is_passed_on_is_an_option_that_shows(reference):
    data, _ = reference
    cells, position, flow, rows, shape = layer_inputs(data)
    layer = loaded(data, keep_position=False)["head"].future_layers[0][0]
    passed_on = layer(cells, position, flow, rows, shape, map_places(shape, rows)[None])
    assert relative_error(passed_on, data["layer_out"]) > 0.1
