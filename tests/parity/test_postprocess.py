"""Instance association equals the authors' on their reference outputs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bevkit.models.coders import InstanceCenterCoder, InstanceFlowCoder
from bevkit.models.coders.grouping import find_centers
from bevkit.models.coders.id_maps import trajectories
from bevkit.structures import BEVGrid

POWERBEV = ["pb_post_long", "pb_post_short", "pb_post_rect"]
FIERY = ["fiery_post_long", "fiery_post_rect"]


def grid_of(config: dict) -> BEVGrid:
    x, y = config["spatial_extent"]
    return BEVGrid(x=(-x, x, config["cell_size"]), y=(-y, y, config["cell_size"]))


def powerbev_case(data: dict) -> tuple[InstanceFlowCoder, SimpleNamespace]:
    """Authors' maps are [X Y] with flow channels (column, row) = (y, x)."""
    config = data["meta"]["config"]
    coder = InstanceFlowCoder(grid_of(config), center_threshold=config["center_threshold"],
                              max_centers=config["max_centers"])
    return coder, SimpleNamespace(segmentation=data["segmentation"].float().transpose(-1, -2),
                                  flow=data["instance_flow"].float().transpose(-1, -2).flip(2))


def renamed(ids: torch.Tensor) -> torch.Tensor:
    """Numbers instances in the order in which they appear in maps [S Y X]."""
    values, first = np.unique(ids.numpy(), return_index=True)
    names = np.zeros(int(values.max()) + 1, dtype=np.int64)
    names[values[np.argsort(first)]] = np.arange(len(values))
    return torch.from_numpy(names)[ids]


@pytest.mark.parametrize("name", POWERBEV)
def test_powerbev_association(golden, name):
    data = golden(f"instance/{name}.npz")
    coder, raw = powerbev_case(data)
    assert coder.nms_kernel == data["meta"]["config"]["nms_kernel"]
    probability = raw.segmentation.softmax(2)[0, 0, data["meta"]["config"]["vehicles_id"]]
    centers = find_centers(probability, coder.center_threshold, coder.nms_kernel, coder.max_centers)
    assert torch.equal(centers, data["centers_frame0_b0"])
    truth = data["instance_ids"].long().transpose(-1, -2)
    for result, expected in zip(coder.decode(raw), truth, strict=True):
        assert torch.equal(result.ids, expected[1:])
        assert result.probability.shape == result.ids.shape and result.flow.shape[1] == 2


@pytest.mark.parametrize("name", ["long", "short"])
def test_powerbev_trajectories(golden, name):
    coder, raw = powerbev_case(golden(f"instance/pb_post_{name}.npz"))
    centers = golden(f"instance/pb_post_{name}_matched_centers.pt")
    expected = {key: value.flip(-1) for key, value in centers.items() if isinstance(key, int)}  # ours: (column, row)
    found = trajectories(coder.decode(raw)[0].ids)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        path = found[key][~found[key].isnan().any(-1)]
        torch.testing.assert_close(path.float(), value, rtol=0, atol=1e-4)


def fiery_case(data: dict) -> tuple[InstanceCenterCoder, SimpleNamespace]:
    """Authors' maps are [X Y]; their vectors are (row, column) = (x, y), as ours."""
    config = data["meta"]["config"]
    coder = InstanceCenterCoder(BEVGrid(x=(0.0, config["bev_rows"], 1.0), y=(0.0, config["bev_cols"], 1.0)),
                                center_threshold=config["conf_threshold"], nms_kernel=config["nms_kernel_size"],
                                max_centers=config["max_n_instance_centers"], match_within=config["matching_threshold"],
                                reuse_ids=True)
    return coder, SimpleNamespace(**{ours: data[theirs].float().transpose(-1, -2) for ours, theirs in [
        ("segmentation", "segmentation"), ("center", "instance_center"), ("offset", "instance_offset"),
        ("flow", "instance_flow")]})


@pytest.mark.parametrize("name", FIERY)
def test_fiery_association(golden, name):
    data = golden(f"instance/{name}.npz")
    coder, raw = fiery_case(data)
    for result, per_frame, expected in zip(coder.decode(raw), data["instance_ids_per_frame"], data["instance_ids"],
                                           strict=True):
        # Several new ids of one frame come in the order of a Python set from the authors.
        assert torch.equal(renamed(result.ids), renamed(expected.long().transpose(-1, -2)))
        assert torch.equal(result.ids > 0, per_frame.transpose(-1, -2) > 0)
