"""Lidar points where the devkit has them, and depth labels from them that no augmentation of the map can change."""

import json

import numpy as np
import pytest
import torch

from bevkit.datasets import BEVJitter, LidarDepthMap, NuScenesClips
from bevkit.datasets.lidar import nearest_depths, read_lidar
from tests.datasets.tables import write_tables


def test_nearest_point_of_every_patch():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 60, 2, generator=generator) * torch.tensor([60.0, 40.0]) - 6
    depth = torch.rand(2, 60, generator=generator) * 30 - 2
    found = nearest_depths(pixels, depth, (24, 48), 8)
    assert found.shape == (2, 3, 6) and (found > 0).any() and (found == 0).any()
    for camera in range(2):
        for row in range(3):
            for column in range(6):
                u, v = pixels[camera].unbind(-1)
                inside = (u >= 8 * column - 0.5) & (u < 8 * column + 7.5) & (v >= 8 * row - 0.5) & (v < 8 * row + 7.5)
                patch = depth[camera][inside & (depth[camera] > 0.1)]
                assert found[camera, row, column] == (patch.min() if len(patch) else 0)


def test_points_behind_the_camera_and_infinite_pixels_give_nothing():
    pixels = torch.tensor([[[4.0, 4.0], [float("inf"), 4.0], [float("nan"), 1.0]]])
    assert not nearest_depths(pixels, torch.tensor([[-3.0, 2.0, 0.0]]), (16, 16), 8).any()


def test_the_last_point_of_a_pixel_may_win():
    """Two points in one pixel, the farther one last, and a third in the pixel beside; then the same in reverse."""
    pixels, depth = torch.tensor([[[3.2, 4.1], [2.8, 3.9], [5.0, 4.0]]]), torch.tensor([[2.0, 9.0, 5.0]])
    assert nearest_depths(pixels, depth, (8, 8), 8) == 2.0
    assert nearest_depths(pixels, depth, (8, 8), 8, winner="last") == 5.0
    assert nearest_depths(pixels.flip(1), depth.flip(1), (8, 8), 8, winner="last") == 2.0
    # Points behind the camera and off the image win nothing.
    outside = torch.cat((pixels, torch.tensor([[[3.0, 4.0], [float("inf"), 4.0]]])), 1)
    depths = torch.cat((depth, torch.tensor([[-1.0, 1.0]])), 1)
    assert nearest_depths(outside, depths, (8, 8), 8, winner="last") == 5.0


def test_range_is_the_distance_from_the_camera(lidar_clips):
    options = dict(past=1, lidar=True, images=dict(size=(36, 60)))
    found = {}
    for distance in ("depth", "range"):
        data = NuScenesClips(lidar_clips, "v1.0-mini", **options,
                             pipeline=[dict(type="LidarDepthMap", stride=1, distance=distance)])
        found[distance] = data[0].targets["depth"][0]  # [N h w]
    rig, (camera, row, column) = data[0].present.rig, (found["depth"] > 0).nonzero(as_tuple=True)
    pixels = torch.stack((column, row, torch.ones_like(row)), -1).to(rig.intrinsics)
    rays = (torch.linalg.inv(rig.image_from_camera)[camera] @ pixels.unsqueeze(-1)).squeeze(-1)  # one metre deep
    expected = found["depth"][camera, row, column] * rays.norm(dim=-1).float()
    # A point stands up to half a pixel beside its pixel's centre.
    assert torch.allclose(found["range"][camera, row, column], expected, rtol=0.02)
    assert (expected > 1.05 * found["depth"][camera, row, column]).any()


def test_corner_pixels_lie_half_a_pixel_further():
    pixels, depth = torch.tensor([[[7.6, 0.0]]]), torch.tensor([[3.0]])
    assert nearest_depths(pixels, depth, (8, 16), 8).flatten().tolist() == [0.0, 3.0]
    assert nearest_depths(pixels - LidarDepthMap(8, pixel_origin="corner").corner, depth, (8, 16), 8
                          ).flatten().tolist() == [3.0, 0.0]
    with pytest.raises(ValueError, match="expected distance in .*'metres'"):
        LidarDepthMap(8, distance="metres")


def test_labels_of_a_real_keyframe_are_the_devkits_points(nuscenes_real, tmp_path):
    from nuscenes.nuscenes import NuScenes

    stride = 20
    data = NuScenesClips(nuscenes_real, "v1.0-mini", scenes=["scene-0061"], with_images=False, lidar=True,
                         cache_dir=tmp_path, pipeline=[LidarDepthMap(stride, min_depth=1.0)])
    clip = data[0]
    depth, frame = clip.targets["depth"][0], clip.present
    database = NuScenes("v1.0-mini", str(nuscenes_real), verbose=False)
    sample = database.get("sample", frame.meta["sample_token"])
    for camera, channel in enumerate(frame.meta["cameras"]):
        pixels, metres, _ = database.explorer.map_pointcloud_to_image(
            sample["data"]["LIDAR_TOP"], sample["data"][channel], min_dist=1.0)
        cells = np.floor((pixels[:2] + 0.5) / stride).astype(int)
        expected = np.full(depth.shape[1:], np.inf)
        np.minimum.at(expected, (cells[1], cells[0]), metres)
        expected[np.isinf(expected)] = 0
        # The devkit leaves out the outermost pixel, and works in float32: a point may change its patch.
        different = ~np.isclose(depth[camera].numpy(), expected, atol=1e-3)
        assert (expected > 0).sum() > 200 and different.mean() < 0.005, channel


@pytest.fixture
def lidar_clips(tmp_path):
    """Two cameras and a ring of lidar points around the ego."""
    root = write_tables(tmp_path / "data")
    generator = np.random.default_rng(0)
    for row in json.loads((root / "v1.0-mini" / "sample_data.json").read_text()):
        if "LIDAR_TOP" in row["filename"]:
            file = root / row["filename"]
            file.parent.mkdir(parents=True, exist_ok=True)
            values = generator.uniform(-20, 20, (500, 5)) * (1, 1, 0.1, 1, 1)
            values.astype(np.float32).tofile(file)
    return root


def test_augmentation_of_the_map_leaves_depth_alone(lidar_clips):
    options = dict(past=2, future=1, lidar=True, images=dict(size=(36, 60)))
    plain, jittered = (NuScenesClips(lidar_clips, "v1.0-mini", pipeline=[*steps, dict(type="LidarDepthMap", stride=12)],
                                     **options)
                       for steps in ((), (BEVJitter(rotate=30.0, scale=1.05, flip_x=1.0, flip_y=0.0),)))
    one, other = plain[1], jittered[1]
    assert one.targets["depth"].shape == (2, 2, 3, 5) and (one.targets["depth"] > 0).float().mean() > 0.5
    assert torch.allclose(one.targets["depth"], other.targets["depth"], atol=1e-3)
    assert not torch.allclose(one.present.points, other.present.points)
    assert one.frames[2].points is None


def test_points_are_given_in_the_ego_frame(lidar_clips):
    data = NuScenesClips(lidar_clips, "v1.0-mini", with_images=False, lidar=True)
    clip = data[0]
    points = read_lidar(lidar_clips / data.index.lidar_paths[0].decode())
    assert clip.present.points.dtype == torch.float32
    assert torch.allclose(clip.present.points, points + torch.tensor([1.0, 0.0, 1.5]))  # where the tables mount it


def test_targets_of_pipeline_and_coder_join(lidar_clips):
    class Count:
        def encode(self, clip):
            return {"count": torch.tensor(len(clip.present.boxes))}

    data = NuScenesClips(lidar_clips, "v1.0-mini", lidar=True, pipeline=[LidarDepthMap(12)], target_coder=Count(),
                         images=dict(size=(36, 60)))
    assert sorted(data[0].targets) == ["count", "depth"]


def test_refuses_what_is_not_there(lidar_clips):
    with pytest.raises(ValueError, match="set lidar=True"):
        NuScenesClips(lidar_clips, "v1.0-mini", pipeline=[LidarDepthMap(12)])[0]
    with pytest.raises(ValueError, match="multiples of the stride 7"):
        NuScenesClips(lidar_clips, "v1.0-mini", lidar=True, pipeline=[LidarDepthMap(7)])[0]
    file = next((lidar_clips / "samples" / "LIDAR_TOP").iterdir())
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match="damaged"):
        read_lidar(file)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="1 of 14 lidar files .* pass lidar=False"):
        NuScenesClips(lidar_clips, "v1.0-mini", lidar=True)
