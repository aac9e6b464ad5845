"""ForwardBackward: depth at anchors, the foreground's say, the authors' quirks, the exportable form."""

import pytest
import torch
import torch.nn.functional as F

from bevkit.export.graph import ring_rig
from bevkit.models.layers.seen_queries import EveryQuery
from bevkit.models.view_transformers import ForwardBackward
from bevkit.models.view_transformers.forward_backward import depth_at, with_blind
from bevkit.models.view_transformers.pillars import look_at, pillar_points
from bevkit.structures import BEVGrid

GRID = BEVGrid(x=(-12.0, 12.0, 1.0), y=(-8.0, 8.0, 2.0), z=(-3.0, 3.0, 2.0))
SIZE, CAMERAS, CHANNELS, STRIDE = (32, 64), 4, 8, 8


def build(**options):
    torch.manual_seed(0)
    view = ForwardBackward(GRID, 6, CHANNELS, (1.0, 13.0, 1.5), SIZE, STRIDE, heads=2, **options).eval()
    for parameter in view.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return view


@pytest.fixture
def rig():
    return ring_rig(CAMERAS, SIZE)[0]


@pytest.fixture
def features():
    return (torch.randn(CAMERAS, 6, SIZE[0] // STRIDE, SIZE[1] // STRIDE, generator=torch.Generator().manual_seed(1)),)


def run(view, rig, features):
    with torch.no_grad():
        return view(features, *view.plan(rig))


def test_depth_is_read_in_the_bin_of_the_anchor_alone(rig):
    """Against reading all bins and choosing one."""
    view = build()
    pillars = look_at(rig, pillar_points(GRID, GRID.centers("z")))
    bins = len(view.lift.depths)
    depth = torch.rand(CAMERAS, bins, *view.lift.feature_size, dtype=torch.float64)
    read = depth_at(depth, view.depth_places(pillars).double().flatten(0, 1))
    grid = (2 * pillars.places.double() - 1).flatten(0, 1)
    every = F.grid_sample(depth, grid, align_corners=False)  # [V D Q Z]
    chosen = ((pillars.depth - 1.0) / 1.5).floor().clamp(0, bins - 1).long().flatten(0, 1).unsqueeze(1)
    assert torch.allclose(read, every.gather(1, chosen).squeeze(1), atol=1e-4)
    assert read[pillars.visible.flatten(0, 1)].min() > 0 and (read == 0).any()


def test_without_foreground_no_camera_is_asked(rig):
    view = build()
    places = torch.cat((look_at(rig, pillar_points(GRID, GRID.centers("z"))).places,) * 2, dim=-1)
    visible = look_at(rig, pillar_points(GRID, GRID.centers("z"))).visible.any(dim=-1)
    plan = view.queries.plan(places, visible)
    sight = view.queries.sight(*plan[1:])
    coarse, depth = torch.randn(1, CHANNELS, *GRID.shape), torch.rand(CAMERAS, 8, 4, 8)
    results = {}
    for name, wanted in (("none", 0.0), ("all", 1.0)):
        results[name] = [view.refine(coarse, torch.full((CAMERAS, CHANNELS, 4, 8), context), depth,
                                     plan.places.flatten(0, 1), sight, torch.full((1, GRID.cells), wanted))
                         for context in (0.0, 5.0)]
    assert torch.equal(*results["none"]) and not torch.allclose(*results["all"])


def test_a_blind_camera_updates_its_first_cell_uncounted():
    visible = torch.tensor([[[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]]]).bool()  # [1 3 4]
    form = EveryQuery()
    sight = form.sight(form.plan(torch.zeros(1, 3, 4, 1, 2), visible).share)
    share = with_blind(sight, torch.tensor([[1.0, 1.0, 0.0, 0.0]])).share[0]
    assert share.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_readd_adds_the_forward_map_and_outputs_have_their_shapes(rig, features):
    with_it, without = run(build(), rig, features), run(build(readd=False), rig, features)
    assert with_it.depth.shape == (CAMERAS, 8, 4, 8) and with_it.foreground.shape == (1, 1, *GRID.shape)
    view = build()
    plan = view.lift.plan(rig)
    coarse = view.lift(features, *plan).bev / GRID.heights
    assert torch.allclose(with_it.bev - without.bev, coarse, atol=1e-5)
    assert run(build(threshold=None), rig, features).foreground is None


@pytest.mark.parametrize("options", [{}, dict(self_attention="background", blind_camera="first_query"),
                                     dict(depth_net=dict(type="CameraAwareDepthNet", mid_channels=8,
                                                         deformable=False))], ids=["plain", "authors", "cameras"])
def test_the_exportable_form_agrees(rig, features, options):
    view = build(**options)
    assert torch.allclose(run(view, rig, features).bev, run(view.exportable(), rig, features).bev, atol=1e-4)


def test_the_authors_quirks_change_the_map(rig, features):
    plain = run(build(threshold=0.5), rig, features).bev
    assert not torch.allclose(plain, run(build(threshold=0.5, self_attention="background"), rig, features).bev)
    with pytest.raises(ValueError, match="blind_camera"):
        build(blind_camera="last_query")
