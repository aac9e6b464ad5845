"""The vehicle's plans, in numpy, are those of the toolkit, number by number."""

import json
import math

import numpy as np
import plan as vehicle
import pytest
import torch
from plan_motion import temporal_inputs

from bevkit.export.graph import named, random_clip
from bevkit.export.manifest import settings
from bevkit.geometry import rigid
from bevkit.models.architectures.base import single
from bevkit.structures import EgoMotion
from tests.export.tiny import CAMERAS, IMAGE_SIZE, TINY, tiny_model


def manifest_of(model) -> dict:
    """The part of the manifest that plans read, without an export."""
    twin = model.exportable()
    clip = random_clip(model.grid, CAMERAS, IMAGE_SIZE, 1)
    view = twin.view_plan(clip.rig.flatten(), clip.global_from_ego[:, 0])
    return json.loads(json.dumps(dict(
        view=dict(settings(twin.view_transformer, view), image_size=IMAGE_SIZE),
        temporal=settings(twin.temporal), stream=dict(instants=model.instants), level_ego=model.level_ego,
        grid=dict(x=model.grid.x, y=model.grid.y, z=model.grid.z, shape=model.grid.shape))))


def shaken_rig(clip, seed: int):
    """The clip's rig, each camera turned and moved a little, its image rescaled and shifted."""
    noise = torch.Generator().manual_seed(seed)
    angles = 0.08 * torch.randn(CAMERAS, 6, generator=noise, dtype=torch.float64)
    rig = clip.rig.flatten()[0]
    moved = rigid.motion_matrix(angles).float() @ rig.ego_from_camera
    aug = rig.image_aug.clone()
    aug[:, 0, 0] = aug[:, 1, 1] = 0.9
    aug[:, :2, 2] = torch.tensor([3.0, -2.0])
    return type(rig)(rig.intrinsics, aug, moved, rig.image_size)


@pytest.mark.parametrize("frustum, indexing", [("center", "floor"), ("corner", "truncate")])
@pytest.mark.parametrize("seed", [0, 1])
def test_view_plan_is_the_toolkits(frustum, indexing, seed):
    view = dict(TINY["view_transformer"], frustum=frustum, indexing=indexing, export_capacity=3.0)
    grid = dict(TINY["grid"], x=(-12.0, 12.0, 2.0), y=(-10.0, 10.0, 1.0))
    model = tiny_model(view_transformer=view, grid=grid)
    rig = shaken_rig(random_clip(model.grid, CAMERAS, IMAGE_SIZE, 1), seed)
    expected = named("view_", model.exportable().view_transformer.plan(rig[None]))
    got = vehicle.view_inputs(manifest_of(model), rig.image_from_camera.numpy(), rig.ego_from_camera.numpy())
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].dtype == np.int32
        np.testing.assert_array_equal(got[name], value.numpy())
    assert len(np.unique(got["view_groups"])) > 1  # some cells are crowded, so every table says something


def test_view_plan_of_a_level_ego_turns_with_the_vehicle():
    model = tiny_model(level_ego=True)
    clip = random_clip(model.grid, CAMERAS, IMAGE_SIZE, 1)
    pose = rigid.motion_matrix(torch.tensor([100.0, -40.0, 2.0, 0.05, -0.03, 1.2], dtype=torch.float64))
    expected = model.exportable().view_plan(clip.rig.flatten(), pose[None])
    rig = clip.rig.flatten()[0]
    arguments = (rig.image_from_camera.numpy(), rig.ego_from_camera.numpy())
    got = vehicle.view_inputs(manifest_of(model), *arguments, pose.numpy())
    # A point on the edge of two cells may fall on either side, because a rotation is rounded on the way.
    assert (got["view_taps"] == expected.taps.numpy()).mean() > 0.99
    with pytest.raises(ValueError, match="global_from_ego"):
        vehicle.view_inputs(manifest_of(model), *arguments)


def test_a_rig_that_does_not_fit_the_tables_is_refused():
    model = tiny_model(view_transformer=dict(TINY["view_transformer"], export_capacity=1.0))
    clip = random_clip(model.grid, CAMERAS, IMAGE_SIZE, 1)
    rolled = rigid.motion_matrix(torch.tensor([0, 0, 0, 0.6, 0.6, 0], dtype=torch.float64)).float()
    rig = clip.rig.flatten()[0]
    with pytest.raises(ValueError, match="export_capacity"):
        vehicle.view_inputs(manifest_of(model), rig.image_from_camera.numpy(),
                            (rolled @ rig.ego_from_camera).numpy())


@pytest.mark.parametrize("warp", ["exact", "fiery", "fiptr"])
def test_temporal_plan_is_the_toolkits(warp):
    model = tiny_model(temporal=dict(type="AlignAndStack", past=2, warp=warp))
    steps = torch.tensor([[0, 0, 0, 0, 0, 2.9], [1.2, 0.1, 0.02, 0.01, -0.02, 0.1], [2.5, 0.4, 0.0, -0.01, 0.01, 0.35]],
                         dtype=torch.float64)
    poses = rigid.motion_matrix(steps[:1]) @ rigid.motion_matrix(steps)  # [3 4 4]
    poses[:, :3, 3] += torch.tensor([411.0, 1180.0, 0.0], dtype=torch.float64)
    expected = named("temporal_", model.temporal_plan(EgoMotion.of(poses[None])))
    got = temporal_inputs(manifest_of(model), poses.numpy())
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name].dtype == np.float32
        np.testing.assert_allclose(got[name], value.numpy(), rtol=1e-6, atol=1e-7)


HEAD = dict(type="CenterPointHead", shared_channels=4, branch_channels=4)
LIFT, AWARE = TINY["view_transformer"], dict(type="CameraAwareDepthNet", mid_channels=8)
MATRICES = dict(LIFT, type="MatrixVT", hidden=8, depth_net=dict(type="PlainDepthNet"))
LOOKING = dict(type="BEVFormer", layers=1, levels=1, cameras=CAMERAS, heads=2, ffn_channels=16)
BACKWARD = dict(LIFT, type="ForwardBackward", heads=2, depth_net=AWARE)
ROOM = (0.9, CAMERAS)
OTHERS = {
    "BEVDepth": dict(LIFT, depth_net=AWARE),
    "depth aggregation": dict(LIFT, depth_net=AWARE, aggregate_depth=True),
    "MatrixVT": dict(MATRICES, depth_net=AWARE),
    "MatrixVT's authors": dict(MATRICES, maps="binary", center_cell="emptied", frustum="corner", indexing="truncate"),
    "BEVFormer": dict(LOOKING, export_capacity=ROOM),
    "BEVFormer's authors": dict(LOOKING, export_capacity=ROOM, pixel_origin="corner", rotate_center=(3, 4)),
    "FB-BEV": dict(BACKWARD, export_sight=ROOM),
    "FB-BEV's authors": dict(BACKWARD, pixel_origin="corner", self_attention="background", blind_camera="first_query"),
}
HIGH = dict(TINY["grid"], x=(-12.0, 12.0, 2.0), y=(-10.0, 10.0, 1.0), z=(-4.0, 4.0, 2.0))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_view_plans_of_the_other_transformers_are_the_toolkits(name, seed):
    model = tiny_model(view_transformer=OTHERS[name], grid=HIGH, temporal=None, head=HEAD)
    rig = shaken_rig(random_clip(model.grid, CAMERAS, IMAGE_SIZE, 1), seed)
    manifest, arguments = manifest_of(model), (rig.image_from_camera.numpy(), rig.ego_from_camera.numpy())
    expected = named("view_", single(model.exportable().view_transformer.plan(rig[None])))
    got = vehicle.view_inputs(manifest, *arguments, intrinsics=rig.intrinsics.numpy())
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert (got[name].dtype, got[name].shape) == (value.numpy().dtype, value.shape), name
        # A point on the edge of two cells may fall on either side, because a mean is rounded on the way.
        near = np.isclose(got[name], value.numpy(), rtol=1e-4, atol=1e-4)
        assert near.mean() > (0.998 if name in ("view_ring", "view_ray") else 0.99999), name
        assert len(np.unique(got[name])) > 1, name
    if manifest["view"].get("camera_aware"):
        with pytest.raises(ValueError, match="intrinsics"):
            vehicle.view_inputs(manifest, *arguments)


def test_a_rig_that_sees_too_much_is_refused():
    model = tiny_model(view_transformer=dict(LOOKING, export_capacity=ROOM), grid=HIGH, temporal=None, head=HEAD)
    rig = random_clip(model.grid, CAMERAS, IMAGE_SIZE, 1).rig.flatten()[0]
    manifest = manifest_of(model)
    manifest["view"]["seen"]["room"] = 3
    with pytest.raises(ValueError, match="at most 3 cells a camera"):
        vehicle.view_inputs(manifest, rig.image_from_camera.numpy(), rig.ego_from_camera.numpy())


@pytest.mark.parametrize("rotate_center", [None, (3.0, 5.0)])
@pytest.mark.parametrize("temporal", [None, dict(type="AlignAndStack", past=2)])
@pytest.mark.parametrize("fresh", [False, True])
def test_motion_plan_is_the_toolkits(rotate_center, temporal, fresh):
    view = dict(LOOKING, export_capacity=ROOM, rotate_center=rotate_center)
    model = tiny_model(view_transformer=view, grid=HIGH, temporal=temporal, head=HEAD)
    steps = torch.tensor([[0, 0, 0, 0, 0, 2.9], [1.2, 0.1, 0.02, 0.01, -0.02, 0.1], [2.5, 0.4, 0.0, -0.01, 0.01, 0.35]],
                         dtype=torch.float64)[-1 - model.past:]
    poses = rigid.motion_matrix(steps)
    poses[:, :3, 3] += torch.tensor([411.0, 1180.0, 0.0], dtype=torch.float64)
    expected = named("temporal_", model.temporal_plan(EgoMotion.of(poses[None], fresh=fresh)))
    got = temporal_inputs(manifest_of(model), poses.numpy(), fresh=fresh)
    assert got.keys() == expected.keys() and got["temporal_motion_known"].tolist() == [0.0 if fresh else 1.0]
    for name, value in expected.items():
        assert got[name].dtype == np.float32 and got[name].shape == value.shape, name
        np.testing.assert_allclose(got[name], value.numpy(), rtol=1e-6, atol=1e-6, err_msg=name)


FUSIONS = {
    "BEVDet4D": dict(type="AlignAndStack", past=3, ego_motion=False, warp="low_edge", order="newest_first"),
    "VideoBEV": dict(type="RecurrentMemory", time_channels=4),
    "FB-BEV": dict(type="HistoryStack", past=3, low_edge=True),
    "FB-BEV, voxels": dict(type="HistoryStack", past=2, heights=2),
}


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("fresh", [False, True])
def test_plans_of_the_other_fusions_are_the_toolkits(name, fresh):
    model = tiny_model(grid=HIGH, temporal=FUSIONS[name], head=HEAD)
    steps = torch.tensor([[0, 0, 0, 0, 0, 2.9], [1.2, 0.1, 0.02, 0.01, -0.02, 0.1], [2.5, 0.4, 0.0, -0.01, 0.01, 0.35],
                          [4.0, 0.6, 0.1, 0.02, 0.0, 0.5]], dtype=torch.float64)[-1 - model.instants:]
    poses = rigid.motion_matrix(steps)
    poses[:, :3, 3] += torch.tensor([411.0, 1180.0, 0.0], dtype=torch.float64)
    times = torch.tensor([8.0, 8.5, 9.5, 10.0], dtype=torch.float64)[-len(poses):]
    expected = named("temporal_", model.temporal_plan(EgoMotion.of(poses[None], times[None], fresh)))
    got = temporal_inputs(manifest_of(model), poses.numpy(), times.numpy(), fresh)
    assert got.keys() == expected.keys() and got["temporal_known"].tolist() == [0.0 if fresh else 1.0]
    for name, value in expected.items():
        assert got[name].dtype == np.float32 and got[name].shape == value.shape, name
        np.testing.assert_allclose(got[name], value.numpy(), rtol=1e-6, atol=1e-6, err_msg=name)


def test_wrong_number_of_poses_is_refused():
    with pytest.raises(ValueError, match=r"\[3 4 4\]"):
        temporal_inputs(manifest_of(tiny_model()), np.stack([np.eye(4)] * 2))


def test_level_keeps_place_and_heading():
    pose = rigid.motion_matrix(torch.tensor([3.0, 4.0, 5.0, 0.1, 0.05, 2.0], dtype=torch.float64))
    np.testing.assert_allclose(vehicle.level(pose.numpy()), rigid.level(pose).numpy(), atol=1e-12)
    assert math.isclose(vehicle.level(pose.numpy())[2, 2], 1.0)
