"""PowerBEV's head on maps of any size."""

import pytest
import torch

from bevkit.models.future import PowerBEVHead
from bevkit.models.future.layers import ResidualBlock
from bevkit.structures import BEVGrid

GRID = BEVGrid(x=(-13, 13, 2), y=(-11, 11, 2))  # 11 x 13 cells: odd at every level


@pytest.fixture()
def head():
    torch.manual_seed(0)
    return PowerBEVHead(GRID, in_channels=5, frames=2, future=1, num_features=(2, 4, 4), latent_dim=4).eval()


def test_first_guess_is_background(head):
    with torch.no_grad():
        raw = head(torch.zeros(2, 5, *GRID.shape))
    assert raw.segmentation.shape == (2, 3, 2, *GRID.shape) and raw.flow.shape == (2, 3, 2, *GRID.shape)
    assert raw.segmentation.softmax(2)[:, :, 0].min() > 0.95


def test_loss_falls_when_the_truth_is_followed(head):
    targets = {"segmentation": torch.zeros(2, 3, *GRID.shape, dtype=torch.int64),
               "flow": torch.full((2, 3, 2, *GRID.shape), 255.0)}
    targets["segmentation"][:, :, 3:6, 4:8] = 1
    targets["flow"][:, :, :, 3:6, 4:8] = 0.5
    bev = targets["segmentation"][:, :1].float().expand(-1, 5, -1, -1) + torch.rand(2, 5, *GRID.shape)
    optimizer = torch.optim.Adam(head.train().parameters(), lr=1e-2)
    totals = []
    for _ in range(12):
        losses = head.loss(head(bev), targets)
        assert all(name.startswith("loss_") for name in losses)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.5 * totals[0]


def test_a_map_of_odd_size_is_halved_as_if_zeros_followed():
    block = ResidualBlock(3, 4, "down").eval()
    x = torch.randn(1, 3, 5, 7) - 3  # mostly negative, so that a zero in the pooled window shows
    with torch.no_grad():
        assert torch.allclose(block(x), block(torch.nn.functional.pad(x, (0, 1, 0, 1))), atol=1e-6)


def test_halving_agrees_in_onnx_runtime(tmp_path):
    """Its optimiser fuses a padding by zeros into the pooling behind it, where they count as minus infinity."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    block, x = ResidualBlock(3, 4, "down").eval(), torch.randn(1, 3, 5, 7) - 3
    torch.onnx.export(block, (x,), tmp_path / "block.onnx", dynamo=True, verbose=False)
    session = runtime.InferenceSession(str(tmp_path / "block.onnx"))
    (theirs,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        assert torch.allclose(block(x), torch.from_numpy(theirs), atol=1e-5)
