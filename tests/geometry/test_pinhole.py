"""Pinhole cameras: where known points land, and what counts as seen."""

import torch

from bevkit.geometry import pinhole

CAMERA = torch.tensor([[100.0, 0, 50], [0, 100, 30], [0, 0, 1]])


def test_known_points() -> None:
    points = torch.tensor([[0.0, 0, 10], [1.0, 0, 10], [0.0, -1, 5]])  # x right, y down, z forward
    pixels, depth = pinhole.project(CAMERA, points)
    assert pixels.tolist() == [[50.0, 30.0], [60.0, 30.0], [50.0, 10.0]]
    assert depth.tolist() == [10.0, 10.0, 5.0]


def test_points_behind_have_no_depth_and_are_not_seen() -> None:
    pixels, depth = pinhole.project(CAMERA, torch.tensor([[0.0, 0, -3], [0.0, 0, 0]]))
    assert pixels.isfinite().all() and (depth <= 1e-5).all()
    assert not pinhole.inside(pixels, depth, (60, 100)).any()


def test_an_image_ends_half_a_pixel_outside_its_centres() -> None:
    pixels = torch.tensor([[-0.5, -0.5], [-0.6, 0.0], [99.4, 59.4], [99.5, 0.0], [0.0, 59.5]])
    assert pinhole.inside(pixels, torch.ones(5), (60, 100)).tolist() == [True, False, True, False, False]
    assert not pinhole.inside(torch.zeros(1, 2), torch.tensor([0.1]), (60, 100)).any()


def test_gradients_pass_through_a_projection() -> None:
    points = torch.tensor([[1.0, 2, 8]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: pinhole.project(CAMERA.double(), p), (points,))
