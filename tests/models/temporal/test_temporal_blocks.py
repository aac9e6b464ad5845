"""FIERY's temporal blocks: causal, and the same as convolutions over volumes of space and time."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bevkit.geometry.rigid import motion_matrix
from bevkit.importers.fiery import folded
from bevkit.models.temporal import AlignAndStack, SpatioTemporalFusion
from bevkit.models.temporal.temporal_blocks import TemporalBlock, mean_of_two, with_previous
from bevkit.structures import BEVGrid, EgoMotion

GRID = BEVGrid(x=(-20, 28, 2), y=(-15, 15, 2))  # 15 x 24 cells


def test_two_frames_in_the_channels_are_a_causal_convolution_over_time():
    volume = nn.Conv3d(3, 5, (2, 3, 3), padding=(0, 1, 1), bias=False)
    maps = torch.randn(2, 4, 3, 7, 6)  # [B T C Y X]
    theirs = volume(F.pad(maps.transpose(1, 2), (0, 0, 0, 0, 1, 0))).transpose(1, 2)
    kernel = folded(volume.weight.transpose(-1, -2))  # the importer also exchanges the axes of the map
    ours = F.conv2d(with_previous(maps).flatten(0, 1), kernel, padding=1).unflatten(0, (2, 4))
    torch.testing.assert_close(ours, theirs)


def test_the_mean_is_a_pooling_over_two_frames_and_the_whole_map():
    maps = torch.randn(2, 4, 3, 7, 6)
    pool = nn.AvgPool3d((2, 7, 6), (1, 7, 6), (1, 0, 0), count_include_pad=False)
    torch.testing.assert_close(mean_of_two(maps), pool(maps.transpose(1, 2)).transpose(1, 2)[:, :4])


def test_a_frame_sees_itself_and_the_one_before():
    block, maps = TemporalBlock(6, 4).eval(), torch.randn(1, 4, 6, 5, 8)
    for changed in range(4):
        other = maps.clone()
        other[:, changed] += 1
        with torch.no_grad():
            moved = (block(other) - block(maps)).abs().amax(dim=(0, 2, 3, 4)) > 1e-5
        assert moved.tolist() == [time in (changed, changed + 1) for time in range(1, 4)]


def test_outside_training_the_first_frame_is_left_out_and_the_others_are_the_same():
    block, maps = TemporalBlock(6, 4).eval(), torch.randn(2, 3, 6, 5, 8)
    with torch.no_grad():
        later = block(maps)
        block.training = True  # its batch norms stay at rest
        torch.testing.assert_close(later, block(maps)[:, 1:])


@pytest.mark.parametrize("past", [1, 2, 3])
def test_the_present_has_seen_all_of_the_past(past):
    fusion = SpatioTemporalFusion(GRID, 5, past=past, channels=7).eval()
    bev, maps = torch.randn(2, 5, *GRID.shape), torch.randn(2, past, 5, *GRID.shape, requires_grad=True)
    motion = motion_matrix(torch.tensor([1.0, 0.1, 0.0, 0.0, 0.0, 0.05], dtype=torch.float64))
    poses = [torch.eye(4, dtype=torch.float64)]
    for _ in range(past):
        poses.append(poses[-1] @ motion)
    motion = EgoMotion.of(torch.stack(poses).expand(2, -1, -1, -1))
    fused = fusion(bev, maps, *fusion.plan(motion))
    assert fused.shape == (2, fusion.channels, *GRID.shape)
    fused[0].square().sum().backward()
    assert (maps.grad[0].abs().amax(dim=(1, 2, 3)) > 0).all() and maps.grad[1].abs().max() == 0
    for ours, theirs in zip(fusion.plan(motion), AlignAndStack(GRID, 5, past).plan(motion), strict=True):
        assert torch.equal(ours, theirs)


def test_a_fusion_without_a_past_is_refused():
    with pytest.raises(ValueError, match="temporal=None"):
        SpatioTemporalFusion(GRID, 5, past=0)
