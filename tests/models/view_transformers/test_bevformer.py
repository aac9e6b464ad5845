"""BEVFormer: batches, the past in the right place, the beginning of a scene."""

import pytest
import torch

from bevkit.export.graph import ring_rig
from bevkit.geometry.rigid import inverse, rigid_from, rotation_about_z
from bevkit.geometry.warp import affine_theta, warp_affine
from bevkit.models.view_transformers import BEVFormer
from bevkit.structures import BEVGrid, CameraRig, EgoMotion

GRID = BEVGrid(x=(-12.0, 12.0, 1.0), y=(-8.0, 8.0, 2.0), z=(-5.0, 3.0, 8.0))
SIZE, CAMERAS, CHANNELS = (32, 64), 4, 8
LEVELS = [(4, 8), (2, 4)]


def build(**options):
    torch.manual_seed(0)
    view = BEVFormer(GRID, CHANNELS, stride=8, layers=2, levels=2, cameras=CAMERAS, heads=2, ffn_channels=16,
                     **options).eval()
    for parameter in view.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return view


def pose(x, y, yaw):
    angle = torch.tensor(yaw, dtype=torch.float64)
    return rigid_from(rotation_about_z(angle), torch.tensor([x, y, 0.0], dtype=torch.float64))


def rigs(count):
    """Rigs that differ: each a little turned."""
    rig = ring_rig(CAMERAS, SIZE)[0]
    return [rig.moved(pose(0.1 * index, 0, 0.3 * index).float()[None]) for index in range(count)]


def inputs(count, generator=None):
    generator = generator or torch.Generator().manual_seed(1)
    features = tuple(torch.randn(count * CAMERAS, CHANNELS, *size, generator=generator) for size in LEVELS)
    past = torch.randn(count, 1, CHANNELS, *GRID.shape, generator=generator)
    poses = torch.stack([torch.stack((pose(3.0, 1.0, 0.2), pose(4.0 + index, 1.0, 0.2 - 0.1 * index)))
                         for index in range(count)])
    return features, past, poses


def run(view, rig, features, past, poses, fresh):
    with torch.no_grad():
        return view(features, *view.plan(rig), past=past, motion=view.motion_plan(EgoMotion.of(poses, fresh=fresh))).bev


def test_a_batch_gives_what_its_elements_give_alone():
    view, every = build(), rigs(3)
    features, past, poses = inputs(3)
    fresh = torch.tensor([False, True, False])
    joined = CameraRig(*(torch.cat([getattr(rig, name) for rig in every])
                         for name in ("intrinsics", "image_aug", "ego_from_camera")), SIZE)
    together = run(view, joined, features, past, poses, fresh)
    for index, rig in enumerate(every):
        own = tuple(level[index * CAMERAS:(index + 1) * CAMERAS] for level in features)
        part = slice(index, index + 1)
        alone = run(view, rig, own, past[part], poses[part], fresh[part])
        assert torch.allclose(together[part], alone, atol=1e-5)


def test_no_number_of_the_past_reaches_a_fresh_scene():
    view, (rig,), (features, past, poses) = build(), rigs(1), inputs(1)
    fresh = torch.tensor([True])
    first = run(view, rig, features, past, poses, fresh)
    assert torch.equal(first, run(view, rig, features, torch.full_like(past, torch.nan), poses, fresh))
    assert not torch.equal(first, run(view, rig, features, past, poses, ~fresh))


@pytest.mark.parametrize("where", [(0.0, 0.0, 0.4), (2.0, -1.0, 0.0), (1.5, 3.0, -0.7)])
def test_turn_and_shift_find_the_same_place_of_the_world(where):
    """A smooth map of the world, drawn in the past frame, is read by turn, then shift, as one motion would read it."""
    past, now = pose(5.0, -2.0, 1.0), pose(5.0, -2.0, 1.0) @ pose(*where)
    grid = BEVGrid(x=(-20, 20, 0.25), y=(-16, 16, 0.5))
    view = build()
    view.grid = grid
    motion = view.motion_plan(EgoMotion.of(torch.stack((past, now))[None]))
    y, x = torch.meshgrid(grid.centers("y").float(), grid.centers("x").float(), indexing="ij")
    drawn = torch.stack((x, y))[None]  # every cell of the past says where it is, in metres of the past frame
    # Read with bilinear weights, so that nothing is lost to whole cells.
    turned = warp_affine(drawn, motion.theta)
    rows, columns = grid.shape
    shift = torch.tensor([[[1.0, 0, 2 * float(motion.shift[0, 0])], [0, 1, 2 * float(motion.shift[0, 1])]]])
    read = warp_affine(turned, shift)
    past_from_now = inverse(past) @ now
    whole = warp_affine(drawn, affine_theta(past_from_now[None].float(), grid.cells_from_metric_matrix(), grid.shape))
    middle = (slice(None), slice(None), slice(rows // 3, -rows // 3), slice(columns // 3, -columns // 3))
    assert torch.allclose(read[middle], whole[middle], atol=0.02)


def test_the_authors_turn_is_right_around_the_middle_of_a_square_map():
    grid = BEVGrid(x=(-8, 8, 1.0), y=(-8, 8, 1.0))
    poses = torch.stack((pose(0, 0, 0.3), pose(0, 0, 0.8)))[None]
    thetas = []
    for center in (None, (8, 8), (100, 100)):
        view = build(rotate_center=center)
        view.grid = grid
        thetas.append(view.motion_plan(EgoMotion.of(poses)).theta)
    assert torch.allclose(thetas[0], thetas[1], atol=1e-6)
    assert not torch.allclose(thetas[0], thetas[2], atol=1e-2)


def test_the_exportable_form_has_fixed_shapes_and_the_same_values():
    view, (rig, other), (features, past, poses) = build(), rigs(2), inputs(1)
    fresh = torch.tensor([False])
    twin = view.exportable()
    assert torch.allclose(run(twin, rig, features, past, poses, fresh), run(view, rig, features, past, poses, fresh),
                          atol=1e-5)
    assert [part.shape for part in twin.plan(rig)] == [part.shape for part in twin.plan(other)]
    assert len(view.motion_plan(EgoMotion.of(poses, fresh=fresh))) == view.motion_inputs


def test_refuses_what_does_not_fit():
    view, (features, past, poses) = build(), inputs(1)
    with pytest.raises(ValueError, match="set cameras=6"):
        view.plan(ring_rig(6, SIZE)[0])
    with pytest.raises(ValueError, match="features: expected 2 levels"):
        run(view, rigs(1)[0], features[:1], past, poses, torch.tensor([False]))
    with pytest.raises(ValueError, match="pixel_origin"):
        build(pixel_origin="middle")


def test_gradients_reach_every_weight():
    view, (rig,), (features, past, poses) = build(), rigs(1), inputs(1)
    motion = view.motion_plan(EgoMotion.of(poses))
    view(features, *view.plan(rig), past=past, motion=motion).bev.square().sum().backward()
    assert [name for name, value in view.named_parameters() if value.grad is None or not value.grad.any()] == []
