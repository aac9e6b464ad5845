"""The vehicle's decoding of queries and their masks gives the maps of its twin in the toolkit."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bevkit.export.manifest import settings
from bevkit.models.coders import InstanceQueryCoder
from bevkit.models.coders.instance_queries import lay_over
from bevkit.structures import BEVGrid

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
sys.path.insert(0, str(DEPLOY))
vehicle = __import__("decode_queries")

GRID = BEVGrid(x=(-7.0, 7.0, 1.0), y=(-4.5, 4.5, 1.0))


def check(coder: InstanceQueryCoder, raw: SimpleNamespace) -> list[int]:
    """Holds both to the same maps; returns how many instances each sample has."""
    found = []
    for sample, result in enumerate(coder.decode(raw)):
        probability, query = (maps[sample].numpy() for maps in lay_over(raw))
        ids = vehicle.decode_queries(probability, query, coder.threshold)
        assert ids.dtype == np.int64 and np.array_equal(ids, result.ids.numpy())
        found.append(int(ids.max()))
    return found


def random_outputs(batch: int = 3, frames: int = 3) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(scores=3 * torch.randn(2, batch, 30, 7, generator=generator),
                           masks=4 * torch.randn(batch, 30, frames, *GRID.shape, generator=generator) - 6,
                           flow=torch.randn(batch, frames - 1, 2, *GRID.shape, generator=generator))


def test_reference_outputs(golden):
    data = golden("instance/fiptr_decode.pt")
    masks = data["all_seg_masks"]
    raw = SimpleNamespace(scores=data["all_cls_scores"], masks=masks,
                          flow=torch.zeros(len(masks), masks.shape[2] - 1, 2, *masks.shape[3:]))
    assert check(InstanceQueryCoder(GRID, threshold=data["mask_threshold"]), raw)[0] == data["instance"].max() > 1


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6])
def test_random_outputs(threshold):
    raw = random_outputs()
    raw.scores[:, 1] -= 99  # no sure query
    raw.masks[2, :, 1:] -= 99  # nothing there any more
    found = check(InstanceQueryCoder(GRID, threshold=threshold), raw)
    assert found[0] > 3 and found[1] == 0 and found[2] > 1


def test_a_stream_decodes_by_its_manifest():
    stream = __import__("stream")
    raw, coder = random_outputs(batch=1), InstanceQueryCoder(GRID)
    outputs = dict(zip(("probability", "query"), (maps.numpy() for maps in lay_over(raw))))
    ids = stream.decoded(outputs, dict(decode=settings(coder)))
    assert np.array_equal(ids, coder.decode(raw)[0].ids.numpy()) and ids.max() > 3


def test_needs_neither_torch_nor_bevkit():
    code = f"import sys; sys.path.insert(0, {str(DEPLOY)!r}); import decode_queries; " \
           "assert not {'torch', 'bevkit', 'scipy', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_refusals():
    with pytest.raises(ValueError, match="one sample"):
        vehicle.decode_queries(np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 4, 4)), 0.3)
