"""MatrixVT against the authors': maps, prime extraction, and the map of the whole."""

import pytest
import torch
from torch import nn

from bevkit.importers.matrixvt import translate_matrixvt
from bevkit.models.view_transformers import MatrixVT
from bevkit.ops.ring_ray import ring_ray_matrices
from tests.parity.lifting import authors_numbers, close, load, rig_of, view_options, with_numbers


@pytest.fixture(scope="module")
def truth(golden):
    return golden("detection/matrixvt.pt")


def build(truth, product="auto"):
    config = truth["meta"]["config"]
    view = MatrixVT(**view_options(config), hidden=config["horiconv_mid_channels"], maps="binary",
                    center_cell="emptied", product=product)
    view.depth_squeeze = type(view.depth_squeeze)(config["output_channels"], config["depth_reducer_mid_channels"])
    holder = nn.Module()
    holder.view_transformer = view
    load(holder, translate_matrixvt(truth["state_dict"], holder.state_dict()))
    return view.eval()


def rig(truth, augmented=True):
    return rig_of(truth["inputs"], truth["meta"]["config"]["final_dim"], augmented)[:, 0]


def test_rings_and_rays(truth):
    view, grid = build(truth), None
    grid = view.grid
    cells = view.cells(rig(truth))
    ring, ray = ring_ray_matrices(cells, grid.cells, "binary")
    assert torch.equal(ring.byte(), truth["outputs"]["ring"]) and torch.equal(ray.byte(), truth["outputs"]["ray"])


def test_prime_extraction(truth):
    view, outputs, tolerance = build(truth), truth["outputs"], truth["meta"]["tolerance"]
    features = truth["inputs"]["img_feats"][:, 0].flatten(0, 1)
    numbers = authors_numbers(truth["inputs"], truth["meta"]["config"]["final_dim"])
    with torch.no_grad():
        maps = view.depth_net(features, numbers)
        depth, context = maps[:, : len(view.depths)].softmax(1), maps[:, len(view.depths):]
        reduced, prime = view.depth_squeeze(context, depth), view.feature_squeeze(context)
    for name, ours in dict(depth_logits_and_context=maps, depth_prob=depth, reduced_depth=reduced,
                           prime_feature=prime).items():
        assert close(ours, outputs[name], tolerance, name), name


@pytest.mark.parametrize("product", ["dense", "sparse", "auto", "exportable"])
def test_map(truth, product):
    view = build(truth).exportable() if product == "exportable" else build(truth, product)
    plan = with_numbers(view, view.plan(rig(truth)), authors_numbers(truth["inputs"],
                                                                     truth["meta"]["config"]["final_dim"]))
    with torch.no_grad():
        output = view((truth["inputs"]["img_feats"][:, 0].flatten(0, 1),), *plan)
    assert close(output.bev, truth["outputs"]["bev"], truth["meta"]["tolerance"], "bev")
    assert close(output.depth, truth["outputs"]["depth_prob"], truth["meta"]["tolerance"], "depth_prob")
