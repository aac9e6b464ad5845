"""Ring and ray products: both forms against the sum they stand for, values and gradients."""

import pytest
import torch

from bevkit.ops.ring_ray import MAPS, DenseRingRay, SparseRingRay, ring_ray_matrices

SHAPE = (3, 5)


def cells_of(seed=0):
    """Cells [M N D W] of two rigs, some depths of a column in one cell, some nowhere."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-4, 15, (2, 3, 6, 4), generator=generator)


def operands(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(6, 6, 4, generator=generator, dtype=dtype).requires_grad_(),
            torch.randn(6, 7, 4, generator=generator, dtype=dtype).requires_grad_())


def by_hand(depth, features, cells, maps):
    """The sum over columns and depths, entry by entry."""
    rigs, cameras, depths, columns = cells.shape
    bev = torch.zeros(rigs, features.shape[1], SHAPE[0] * SHAPE[1], dtype=depth.dtype)
    for rig in range(rigs):
        ring = torch.zeros(depths, bev.shape[-1], dtype=depth.dtype)
        ray = torch.zeros(cameras, columns, bev.shape[-1], dtype=depth.dtype)
        for camera in range(cameras):
            for d in range(depths):
                for column in range(columns):
                    cell = cells[rig, camera, d, column]
                    if cell >= 0:
                        ring[d, cell] += 1
                        ray[camera, column, cell] += 1
        if maps == "binary":
            ring, ray = ring.clamp(max=1), ray.clamp(max=1)
        else:
            ring, ray = ring / ring.amax(0).clamp(min=1), ray / ray.amax((0, 1)).clamp(min=1)
        for camera in range(cameras):
            view = rig * cameras + camera
            weight = torch.einsum("dw,dl,wl->wl", depth[view], ring, ray[camera])
            bev[rig] += features[view] @ weight
    return bev.unflatten(2, SHAPE)


@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize("form", [DenseRingRay, SparseRingRay])
def test_sum_and_gradients(form, maps):
    cells, (depth, features) = cells_of(), operands()
    product = form(SHAPE, maps)
    bev, expected = product(depth, features, *product.plan(cells)), by_hand(depth, features, cells, maps)
    # The matrices are float32: a third is one only to eight digits.
    assert bev.shape == (2, 7, *SHAPE) and torch.allclose(bev, expected, atol=1e-6)
    weight = torch.randn(bev.shape, generator=torch.Generator().manual_seed(2), dtype=bev.dtype)
    for ours, theirs in zip(torch.autograd.grad(bev, (depth, features), weight),
                            torch.autograd.grad(expected, (depth, features), weight)):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_where_rings_and_rays_do_not_cross_the_product_is_exact():
    """One column: every cell it meets at one depth gets feature times depth, as from lift-splat."""
    cells = torch.tensor([3, 7, -1, 11]).view(1, 1, 4, 1)
    depth, features = torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1), torch.tensor([2.0]).view(1, 1, 1)
    for form in (DenseRingRay(SHAPE), SparseRingRay(SHAPE)):
        bev = form(depth, features, *form.plan(cells)).flatten()
        assert torch.allclose(bev[[3, 7, 11]], torch.tensor([0.2, 0.4, 0.8])) and bev.count_nonzero() == 3


def test_counted_entries_are_parts_of_the_largest():
    cells = torch.tensor([[2, 2, 5], [2, 4, 4]]).T.reshape(1, 1, 3, 2)  # two columns, three depths
    ring, ray = ring_ray_matrices(cells, 15, "counted")
    assert ring[0, :, 2].tolist() == [1.0, 0.5, 0.0] and ray[0, :, 2].tolist() == [1.0, 0.5]
    assert ring[0, :, 4].tolist() == [0.0, 1.0, 1.0] and ray[0, :, 4].tolist() == [0.0, 1.0]


def test_refuses_views_of_another_number_of_rigs():
    product = SparseRingRay(SHAPE)
    plan = product.plan(cells_of())
    with pytest.raises(ValueError, match="plan the same rigs"):
        product(torch.rand(5, 6, 4), torch.rand(5, 7, 4), *plan)
