"""Anchors over cells: where they stand and where they appear."""

import torch

from bevkit.export.graph import ring_rig
from bevkit.models.view_transformers.pillars import look_at, pillar_points, spread_heights
from bevkit.structures import BEVGrid

GRID = BEVGrid(x=(-8, 8, 2.0), y=(-6, 6, 2.0), z=(-5.0, 3.0, 2.0))


def test_pillars_stand_over_the_centres_row_by_row():
    points = pillar_points(GRID, GRID.centers("z"))
    assert points.shape == (48, 4, 3)
    assert points[0, 0].tolist() == [-7, -5, -4] and points[1, 3].tolist() == [-5, -5, 2]
    assert points[8, 0].tolist() == [-7, -3, -4]
    expected = torch.tensor([-4.5, -4.5 + 7 / 3, -4.5 + 14 / 3, 2.5], dtype=torch.float64)
    assert torch.allclose(spread_heights(GRID, 4), expected)


def test_they_appear_where_the_rig_projects_them():
    rig, points = ring_rig(5, (48, 80))[0], pillar_points(GRID, GRID.centers("z"))
    pillars = look_at(rig, points)
    pixels, depth, visible = (part.unflatten(2, (48, 4)) for part in rig.project(points.flatten(0, 1).float()[None]))
    seen = pillars.visible & (depth > 0.1)  # `project` wants a tenth of a metre
    assert torch.equal(seen, visible) and seen.any(dim=1).float().mean() > 0.2
    expected = (pixels + 0.5) / torch.tensor([80, 48])
    assert torch.allclose(pillars.places[visible], expected[visible], atol=1e-4)
    assert torch.allclose(pillars.depth, depth, atol=1e-4)
    assert pillars.places.abs().max() <= 9


def test_the_corner_origin_is_half_a_pixel_off_and_a_margin_hides_the_edge():
    rig, points = ring_rig(5, (48, 80))[0], pillar_points(GRID, GRID.centers("z"))
    centre, corner = look_at(rig, points), look_at(rig, points, "corner")
    both = centre.visible & corner.visible
    half = torch.tensor([0.5 / 80, 0.5 / 48])
    assert torch.allclose(centre.places[both] - corner.places[both], half.expand(int(both.sum()), 2), atol=1e-5)
    assert look_at(rig, points, margin=0.2).visible.sum() < centre.visible.sum()
