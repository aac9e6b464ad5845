"""multi_view_sampling: stacked views against the cameras as a third axis, in values and gradients."""

import pytest
import torch

from bevkit.ops.deformable_attention import deformable_attention
from bevkit.ops.multi_view_sampling import (
    multi_view_sampling,
    multi_view_sampling_reference,
    sample_maps,
    sample_rows,
    stack_maps,
    stack_views,
    stacked_places,
)

SIZES = [(6, 9), (3, 5), (2, 2)]


def operands(cameras: int, seed: int = 0):
    """Places lie inside, on borders, a little and far outside of the images."""
    random = torch.Generator().manual_seed(seed)
    features = [torch.randn(2, cameras, 6, *size, generator=random, dtype=torch.float64) for size in SIZES]
    view = torch.randint(cameras, (2, 40, 3), generator=random)
    place = torch.rand(2, 40, 3, 2, generator=random, dtype=torch.float64) * 1.8 - 0.4
    place[:, 0], place[:, 1], place[:, 2], place[:, 3] = 1e-4, 1.0001, 1e6, -1e6
    weights = torch.rand(2, 40, 3, len(SIZES), generator=random, dtype=torch.float64)
    return [tensor.requires_grad_() for tensor in features], view, place.requires_grad_(), weights.requires_grad_()


def maps_of(features):
    """The stacked maps of each scale."""
    maps, shapes = stack_maps(features, 3)
    levels = maps.flatten(0, 1).split([height * width for height, width in shapes], dim=2)
    return [level.unflatten(2, shape) for level, shape in zip(levels, shapes)]


@pytest.mark.parametrize("cameras", [1, 2, 6])
def test_all_forms_agree(cameras):
    features, view, place, weights = operands(cameras)
    values, shapes = stack_views(features, 3)
    places = stacked_places(shapes, cameras, view, place)
    theirs = multi_view_sampling_reference(features, view, place, weights)
    slope, tensors = torch.randn_like(theirs), (*features, place, weights)
    wanted = torch.autograd.grad(theirs, tensors, slope)
    for ours in (multi_view_sampling(values, shapes, cameras, view, place, weights),
                 sample_rows(values, shapes, places, weights), deformable_attention(values, shapes, places, weights),
                 sample_maps(maps_of(features), cameras, view, place, weights.unsqueeze(1)).squeeze(1)):
        assert ours.shape == (2, 40, 6)
        torch.testing.assert_close(ours, theirs)
        for mine, reference in zip(torch.autograd.grad(ours, tensors, slope, retain_graph=True), wanted):
            torch.testing.assert_close(mine, reference)


def test_samples_are_weighed_in_several_ways_at_once():
    features, view, place, weights = operands(3)
    ways = torch.stack((weights, weights.flip(1), 2 * weights), dim=1)  # [M R Q G L]
    found = sample_maps(maps_of(features), 3, view, place, ways)
    for got, way in zip(found.unbind(dim=1), ways.unbind(dim=1), strict=True):
        torch.testing.assert_close(got, multi_view_sampling_reference(features, view, place, way))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_a_place_that_is_no_number_reads_nothing(groups):
    features = [torch.ones(1, 2, 6, 4, 6)]
    place = torch.full((1, 5, groups, 2), torch.nan)
    view = torch.zeros(1, 5, groups, dtype=torch.int64)
    found = multi_view_sampling(*stack_views(features, groups), 2, view, place, torch.ones(1, 5, groups, 1))
    assert not found.any()


def test_a_point_reads_its_own_camera():
    features = [torch.arange(3.0).view(1, 3, 1, 1, 1).expand(1, 3, 1, *size).contiguous() + 1 for size in SIZES]
    view = torch.tensor([[[0], [1], [2], [1]]])
    place = torch.tensor([[0.5, 0.5], [0.0, 0.0], [1.0, 1.0], [0.5, 2.5]]).view(1, 4, 1, 2)
    found = multi_view_sampling(*stack_views(features, 1), 3, view, place, torch.full((1, 4, 1, 3), 1 / 3))
    torch.testing.assert_close(found.flatten(), torch.tensor([1.0, 2.0, 3.0, 0.0]))  # the last one is below its image
