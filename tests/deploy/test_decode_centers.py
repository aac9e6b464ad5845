"""The vehicle's decoding of centres, offsets and forward flow gives the maps of its twin in the toolkit."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from bevkit.export.manifest import settings
from bevkit.models.coders import InstanceCenterCoder
from bevkit.structures import BEVGrid
from tests.parity.test_postprocess import FIERY, fiery_case

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
sys.path.insert(0, str(DEPLOY))
vehicle = __import__("decode_centers")

GRID = BEVGrid(x=(-20.0, 20.0, 1.0), y=(-12.0, 12.0, 1.0))


def check(coder: InstanceCenterCoder, raw: SimpleNamespace) -> int:
    found = 0
    for sample, result in enumerate(coder.decode(raw)):
        outputs = {name: value[sample].numpy() for name, value in vars(raw).items()}
        ids = vehicle.decode_centers(outputs, settings(coder))
        assert ids.dtype == np.int64 and np.array_equal(ids, result.ids.numpy())
        found = max(found, int(ids.max()))
    return found


@pytest.mark.parametrize("name", FIERY)
def test_reference_outputs(golden, name):
    assert check(*fiery_case(golden(f"instance/{name}.npz"))) > 1


def random_outputs(frames: int, flow_scale: float = 2.0) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    values = {name: torch.randn(4, frames, channels, *GRID.shape, generator=generator)
              for name, channels in (("segmentation", 2), ("center", 1), ("offset", 2), ("flow", 2))}
    values["center"] = values["center"].sigmoid()
    values["offset"] *= 3
    values["flow"] *= flow_scale
    raw = SimpleNamespace(**values)
    raw.segmentation[1, frames // 2, 1] -= 99  # nothing there
    raw.segmentation[2, 0, 1] -= 99  # nobody at first
    raw.center[3] = 0  # no centres
    return raw


@pytest.mark.parametrize("max_centers", [100, 12])
@pytest.mark.parametrize("flow_scale, reuse_ids", [(2.0, False), (2.0, True), (0.0, False)])
def test_random_outputs(max_centers, flow_scale, reuse_ids):
    coder = InstanceCenterCoder(GRID, nms_kernel=5, max_centers=max_centers, center_threshold=0.5, reuse_ids=reuse_ids)
    assert check(coder, random_outputs(4, flow_scale)) > max_centers / 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_flow_that_is_no_number_leads_nowhere(value):
    raw = random_outputs(4)
    raw.flow[:, :2, :, 4:9] = value
    assert check(InstanceCenterCoder(GRID, nms_kernel=5, center_threshold=0.5), raw) > 50
    with pytest.raises(ValueError, match="expected finite costs"):
        vehicle.assign(np.array([[1.0, value], [2.0, 3.0]]))


def test_cells_that_point_far_away_find_the_same_centre():
    """Of two centres almost equally far the root of the distance decides by its last digit."""
    grid = BEVGrid(x=(-50.0, 50.0, 0.5), y=(-50.0, 50.0, 0.5))
    generator = torch.Generator().manual_seed(0)
    raw = SimpleNamespace(segmentation=torch.tensor([-1.0, 1.0]).view(1, 1, 2, 1, 1).expand(4, 2, 2, *grid.shape),
                          center=torch.rand(4, 2, 1, *grid.shape, generator=generator),
                          offset=300 * torch.randn(4, 2, 2, *grid.shape, generator=generator).half().float(),
                          flow=torch.zeros(4, 2, 2, *grid.shape))
    assert check(InstanceCenterCoder(grid), raw) > 100


def test_an_id_means_one_instance():
    """Behind a frame without instances, which breaks every link, all are new."""
    raw = random_outputs(4)
    ids = InstanceCenterCoder(GRID, nms_kernel=5, center_threshold=0.5).decode(raw)[1].ids  # nothing in frame 2
    before, after = (set(ids[part].unique().tolist()) - {0} for part in (slice(0, 2), slice(3, 4)))
    assert before and after and not before & after
    reused = InstanceCenterCoder(GRID, nms_kernel=5, center_threshold=0.5, reuse_ids=True).decode(raw)[1].ids
    assert reused[3].max() == len(after) and torch.equal(reused > 0, ids > 0)


def test_equal_distances_are_matched_alike():
    """Blocks that stand still between two others are as near to the one as to the other."""
    raw = random_outputs(2)
    for value in vars(raw).values():
        value.zero_()
    raw.segmentation[:, :, 0] = 1
    for frame, places in enumerate((((4, 4), (4, 8), (8, 4), (8, 8)), ((4, 6), (6, 4), (6, 8), (8, 6)))):
        for y, x in places:
            raw.segmentation[:, frame, 1, y, x] = 2
            raw.center[:, frame, 0, y, x] = 0.9
    assert check(InstanceCenterCoder(GRID), raw) == 4


def test_a_single_frame_has_nothing_to_be_linked_to():
    raw = random_outputs(1)
    del raw.flow
    assert check(InstanceCenterCoder(GRID, nms_kernel=5), raw) > 5


@pytest.mark.parametrize("kind", ["random", "few values", "all equal", "distances"])
def test_assignment_is_the_one_of_scipy(kind):
    noise = np.random.default_rng(0)
    for _ in range(200):
        shape = noise.integers(1, 10, 2)
        cost = {"random": noise.random(shape), "few values": noise.integers(0, 4, shape).astype(float),
                "all equal": np.ones(shape), "distances": np.hypot(*noise.integers(0, 5, (2, *shape)))}[kind]
        for ours, theirs in zip(vehicle.assign(cost), linear_sum_assignment(cost), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_needs_neither_torch_nor_bevkit():
    code = f"import sys; sys.path.insert(0, {str(DEPLOY)!r}); import decode_centers; " \
           "assert not {'torch', 'bevkit', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_refusals():
    with pytest.raises(ValueError, match="one sample"):
        vehicle.decode_centers({name: np.zeros((1, 3, 2, 4, 4)) for name in ("segmentation", "center", "offset")}, {})
