"""LiftSplat with the camera-aware depth net against BEVDepth's view transform, with and without depth aggregation."""

import pytest
import torch

from bevkit.importers.bevdepth import translate_bevdepth
from bevkit.models.view_transformers import LiftSplat
from tests.parity.lifting import authors_numbers, authors_points, close, load, rig_of, view_options, with_numbers


class Detector(torch.nn.Module):
    """Holds a view transformer under its name in DenseBEV."""

    def __init__(self, view):
        super().__init__()
        self.view_transformer = view


def build(truth):
    config = truth["meta"]["config"]
    view = LiftSplat(**view_options(config), aggregate_depth=config["use_da"])
    detector = Detector(view)
    load(detector, translate_bevdepth(truth["state_dict"], detector.state_dict()))
    return view.eval()


def run(view, truth, sweep, exportable=False):
    """Lifts one sweep: its own poses, the key frame's camera numbers."""
    inputs, config = truth["inputs"], truth["meta"]["config"]
    rig = rig_of(inputs, config["final_dim"])[:, sweep]
    view = view.exportable() if exportable else view
    plan = with_numbers(view, view.plan(rig), authors_numbers(inputs, config["final_dim"]))
    with torch.no_grad():
        return view((inputs["img_feats"][:, sweep].flatten(0, 1),), *plan), plan


def same_but_for_edges(view, truth, sweep, bev, expected):
    """Compares maps in the cells that no point reaches whose cell the rounding of float32 decides."""
    inputs, config = truth["inputs"], truth["meta"]["config"]
    mine = view.cells(view.points(rig_of(inputs, config["final_dim"])[:, sweep]))
    theirs = view.cells(authors_points(view, rig_of(inputs, config["final_dim"], augmented=False)[:, sweep],
                                       inputs["bda_mat"]))
    moved = mine != theirs
    assert moved.sum() <= 1e-4 * moved.numel()
    for one, other, index in zip(bev.flatten(2), expected.flatten(2), range(len(bev))):
        touched = torch.cat((mine[index][moved[index]], theirs[index][moved[index]]))
        keep = ~torch.isin(torch.arange(one.shape[-1]), touched)
        assert close(one[:, keep], other[:, keep], truth["meta"]["tolerance"], "bev_key")


@pytest.fixture(scope="module")
def truth(golden):
    return golden("detection/bevdepth_lss.pt")


def test_geometry(truth):
    view, inputs, config = build(truth), truth["inputs"], truth["meta"]["config"]
    step = config["geom_key_xyz_stride_dhw"]
    points = view.points(rig_of(inputs, config["final_dim"])[:, 0])
    part = points[:, :, ::step[0], ::step[1], ::step[2]]
    assert close(part, truth["outputs"]["geom_key_xyz"], truth["meta"]["tolerance"], "geom_key_xyz")


def test_every_point_falls_into_the_authors_cell(truth):
    """Indices are equal where points are computed in the authors' precision and order."""
    view, inputs, config = build(truth), truth["inputs"], truth["meta"]["config"]
    points = authors_points(view, rig_of(inputs, config["final_dim"], augmented=False)[:, 0], inputs["bda_mat"])
    x, y, z = truth["outputs"]["geom_int_key"].int().unbind(-1)
    columns, rows, heights = config["bev_cells_xyz"]
    on_grid = (x >= 0) & (x < columns) & (y >= 0) & (y < rows) & (z >= 0) & (z < heights)
    assert torch.equal(view.cells(points), torch.where(on_grid, y * columns + x, -1))


def test_depth_net(truth):
    view, outputs, tolerance = build(truth), truth["outputs"], truth["meta"]["tolerance"]
    inputs = truth["inputs"]
    numbers = authors_numbers(inputs, truth["meta"]["config"]["final_dim"])
    with torch.no_grad():
        maps = view.depth_net(inputs["img_feats"][:, 0].flatten(0, 1), numbers)
    assert close(maps, outputs["depth_logits_and_context"], tolerance, "depth_logits_and_context")
    output, _ = run(view, truth, 0)
    assert close(output.depth, outputs["depth_prob_key"], tolerance, "depth_prob_key")


@pytest.mark.parametrize("exportable", [False, True])
def test_maps_of_all_sweeps(truth, exportable):
    view, outputs, config = build(truth), truth["outputs"], truth["meta"]["config"]
    expected = outputs["bev_2sweeps"].unflatten(1, (config["num_sweeps"], -1))
    assert torch.equal(expected[:, 0], outputs["bev_key"])
    for sweep in range(config["num_sweeps"]):
        bev = run(view, truth, sweep, exportable)[0].bev
        same_but_for_edges(view, truth, sweep, bev, expected[:, sweep])


@pytest.mark.parametrize("exportable", [False, True])
def test_depth_aggregation(golden, exportable):
    truth = golden("detection/bevdepth_lss_da.pt")
    view = build(truth)
    view.export_capacity = 8.0
    same_but_for_edges(view, truth, 0, run(view, truth, 0, exportable)[0].bev, truth["outputs"]["bev_key"])
