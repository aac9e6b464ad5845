"""The decoding that runs in the vehicle, without PyTorch, gives the maps of its twin in the toolkit."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bevkit.models.coders import InstanceFlowCoder
from bevkit.structures import BEVGrid
from tests.parity.test_postprocess import POWERBEV, powerbev_case

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
sys.path.insert(0, str(DEPLOY))
vehicle = __import__("decode")


def check(coder: InstanceFlowCoder, raw: SimpleNamespace) -> int:
    found = 0
    for sample, result in enumerate(coder.decode(raw)):
        ids = vehicle.decode(raw.segmentation[sample].numpy(), raw.flow[sample].numpy(),
                             vehicle.nms_kernel_size(coder.grid.x[1]))
        assert ids.dtype == np.int64 and np.array_equal(ids, result.ids.numpy())
        found = max(found, int(ids.max()))
    return found


@pytest.mark.parametrize("name", POWERBEV)
def test_reference_outputs(golden, name):
    assert check(*powerbev_case(golden(f"instance/{name}.npz"))) > 1


@pytest.mark.parametrize("grid", [BEVGrid(x=(-50.0, 50.0, 1.0), y=(-30.0, 30.0, 1.0)),
                                  BEVGrid(x=(-20.0, 20.0, 0.5), y=(-20.0, 20.0, 0.5))])
def test_random_outputs(grid):
    generator = torch.Generator().manual_seed(0)
    segmentation = torch.randn(3, 5, 2, *grid.shape, generator=generator) * 3
    segmentation[1, :, 1] -= 99  # nothing there
    segmentation[2, 0, 1] -= 99  # no centres
    flow = torch.randn(3, 5, 2, *grid.shape, generator=generator) * 6
    flow[0, 3] = flow[0, 3].mul(2).round() / 2  # ties between cells
    flow[2, 2, 0] = float("nan")
    assert check(InstanceFlowCoder(grid), SimpleNamespace(segmentation=segmentation, flow=flow)) > 5


def test_outputs_that_rounding_tells_apart():
    """What untrained weights return: the same nearly everywhere, so that maxima are a matter of the last digit."""
    grid, generator = BEVGrid(x=(-50.0, 50.0, 1.0), y=(-50.0, 50.0, 1.0)), torch.Generator().manual_seed(0)
    segmentation = 0.3 + torch.tensor([0.0, 0.11])[:, None, None] + torch.randn(
        2, 5, 2, *grid.shape, generator=generator) * 1e-7
    assert check(InstanceFlowCoder(grid), SimpleNamespace(
        segmentation=segmentation, flow=torch.randn(2, 5, 2, *grid.shape, generator=generator))) > 5


def test_needs_neither_torch_nor_bevkit():
    code = f"import sys; sys.path.insert(0, {str(DEPLOY)!r}); import decode; " \
           "assert not {'torch', 'bevkit', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_refusals():
    with pytest.raises(ValueError, match="use 23"):
        vehicle.decode(np.zeros((3, 2, 4, 4)), np.zeros((3, 2, 4, 4)), 22)
    with pytest.raises(ValueError, match="one sample"):
        vehicle.decode(np.zeros((1, 3, 2, 4, 4)), np.zeros((1, 3, 2, 4, 4)), 7)
