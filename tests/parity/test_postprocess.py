"""Instance association equals the authors' on their reference outputs."""

from types import SimpleNamespace

import pytest
import torch

from bevkit.models.coders import InstanceFlowCoder
from bevkit.models.coders.id_maps import trajectories
from bevkit.structures import BEVGrid

POWERBEV = ["pb_post_long", "pb_post_short", "pb_post_rect"]


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


@pytest.mark.parametrize("name", POWERBEV)
def test_powerbev_association(golden, name):
    data = golden(f"instance/{name}.npz")
    coder, raw = powerbev_case(data)
    assert coder.nms_kernel == data["meta"]["config"]["nms_kernel"]
    probability = raw.segmentation.softmax(2)[0, 0, data["meta"]["config"]["vehicles_id"]]
    assert torch.equal(coder.find_centers(probability), data["centers_frame0_b0"])
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
