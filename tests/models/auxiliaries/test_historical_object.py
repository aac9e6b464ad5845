"""Historical object prediction: what it reads, what it costs, and that a model without it is the same model."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from bevkit.datasets import PastTargets
from bevkit.geometry import rigid
from bevkit.models.auxiliaries import HistoricalObjectLoss
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid
from bevkit.structures.frame import collate_clips
from tests.models.test_pairs import BASE, PAST, drive

HISTORY = dict(type="HistoricalObjectLoss", frames=PAST - 1, channels=16, heads=(2, 2), ffn_channels=(16, 8), layers=1,
               head=dict(type="CenterPointHead", shared_channels=8, branch_channels=8,
                         coder=dict(type="CenterPointCoder")))


def model_with(*auxiliaries):
    torch.manual_seed(0)
    return MODELS.build(dict(copy.deepcopy(BASE), auxiliaries=list(auxiliaries)))


def batch_for(model):
    grid = dict(x=model.grid.x, y=model.grid.y, z=model.grid.z)
    targets = PastTargets(dict(type="CenterPointCoder"), grid)
    clips = [targets(drive(seed), np.random.default_rng(0)) for seed in (0, 1)]
    clips = [replace(clip, targets={**clip.targets, **model.head.coder.encode(clip)}) for clip in clips]
    return model.data_preprocessor(collate_clips(clips))["batch"]


def test_it_teaches_the_maps_of_all_frames():
    model = model_with(HISTORY)
    losses = model(batch_for(model), mode="loss")
    history = sum(value for name, value in losses.items() if name.startswith("history."))
    history.backward()
    for part in ("image_encoder.backbone", "view_transformer", "auxiliaries.0.predictor", "auxiliaries.0.head"):
        gradients = [weight.grad for weight in model.get_submodule(part).parameters() if weight.grad is not None]
        assert any((gradient != 0).any() for gradient in gradients), part
    assert model.head.shared[0].weight.grad is None, "the head of the present has a loss of its own"


def test_a_model_in_use_is_the_same_without_it():
    bare, taught = model_with().eval(), model_with(HISTORY).eval()
    weights = {name: value for name, value in taught.state_dict().items() if not name.startswith("auxiliaries.")}
    assert weights.keys() == bare.state_dict().keys()
    bare.load_state_dict(weights)
    batch = batch_for(bare)
    with torch.no_grad():
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(bare(batch), taught(batch), strict=True))


def test_maps_of_what_stands_still_lie_on_one_another():
    grid = BEVGrid(x=(-16.0, 16.0, 1.0), y=(-16.0, 16.0, 1.0))
    loss = HistoricalObjectLoss(grid, 1, HISTORY["head"], frames=2, channels=4, reduction=1, heads=(1, 1))
    poses = rigid.motion_matrix(torch.tensor([[0, 0, 0, 0, 0, 0.0], [2, 0, 0, 0, 0, 0.0], [4, 1, 0, 0, 0, 0.3]],
                                             dtype=torch.float64))
    place = torch.tensor([[7.0, 3.0, 0.0]], dtype=torch.float64)
    there = torch.stack([rigid.transform(rigid.inverse(pose), place)[0, :2] for pose in poses])  # [3 2]
    x, y = grid.centers("x"), grid.centers("y")
    square = (x - there[:, 0, None, None]) ** 2 + (y[:, None] - there[:, 1, None, None]) ** 2
    maps = torch.exp(-square / 4).float()[None, :, None]  # [1 3 1 Y X]
    newest, oldest = loss.neighbours(maps, poses[None])[0, :, 0]
    assert torch.equal(newest, maps[0, 2, 0]) and (oldest - newest).abs().max() < 0.1
    assert (maps[0, 0, 0] - newest).abs().max() > 0.5  # the ego did move


def test_what_is_missing_is_named():
    model = model_with(HISTORY)
    batch = batch_for(model)
    without = replace(batch, targets={name: value for name, value in batch.targets.items() if "past_" not in name})
    with pytest.raises(ValueError, match="PastTargets"):
        model(without, mode="loss")
    with pytest.raises(ValueError, match="frames=2"):
        wrong = model_with(dict(HISTORY, frames=4))
        wrong(batch, mode="loss")
    with pytest.raises(ValueError, match="past=5"):
        PastTargets(dict(type="CenterPointCoder"), BASE["grid"], back=4)(drive(0), np.random.default_rng(0))


def test_targets_are_those_of_the_past_in_the_present_frame():
    clip = drive(0)
    found = PastTargets(dict(type="CenterPointCoder"), BASE["grid"])(clip, np.random.default_rng(0)).targets
    coder = MODELS.build(dict(type="CenterPointCoder"), default_args=dict(grid=BEVGrid(**BASE["grid"])))
    still = coder.encode(clip)  # both cars stand still: then and now they are in the same places
    assert {name.removeprefix("past_") for name in found} == still.keys()
    assert torch.equal(found["past_cells"], still["cells"])
    torch.testing.assert_close(found["past_codes"], still["codes"], rtol=1e-4, atol=1e-4, equal_nan=True)
