"""Labels drawn from nuScenes tables equal the authors', by both protocols."""

import json

import pytest
import torch

from bevkit.geometry import rigid
from bevkit.geometry.warp import affine_theta_fiery
from bevkit.models.coders import FieryMaps, InstanceCenterCoder, InstanceFlowCoder, PowerBEVMaps
from bevkit.models.coders.id_maps import backward_flow, centerness, forward_flow, offsets_to_centers
from bevkit.models.coders.instance_maps import drawing_poses, warp_maps
from bevkit.structures import BEVClip, BEVFrame, BEVGrid, Boxes3D, CameraRig

POWERBEV = ["pb_labels_long", "pb_labels_short"]
LABELS = [*POWERBEV, "fiery_labels"]


def matrix(row: dict) -> torch.Tensor:
    """global_from_ego, ego_from_sensor or global_from_box [4 4] of a row with rotation (w, x, y, z) and translation."""
    values = {key: torch.tensor(row[key], dtype=torch.float64) for key in ("rotation", "translation")}
    return rigid.rigid_from(rigid.rotation_from_quaternion(values["rotation"]), values["translation"])


def boxes_of(rows: list[dict], ego_from_global: torch.Tensor, tracks: dict[str, int]) -> Boxes3D:
    boxes = torch.stack([ego_from_global @ matrix(row) for row in rows])
    count = len(rows)
    whole = torch.zeros(count, dtype=torch.int64)
    return Boxes3D(
        centers=boxes[:, :3, 3], sizes=torch.tensor([row["size"] for row in rows], dtype=torch.float64)[:, [1, 0, 2]],
        yaws=rigid.yaw_of(boxes), velocities=torch.zeros(count, 2, dtype=torch.float64), labels=whole,
        track_ids=torch.tensor([tracks.setdefault(row["instance_token"], len(tracks) + 100) for row in rows]),
        visibility=torch.tensor([int(row["visibility_token"]) for row in rows]), sensor_points=whole, attributes=whole,
        vehicle=torch.tensor(["vehicle" in row["category_name"] for row in rows]))


def rig_of(tables: dict, sample: dict, config: dict, ego_from_global: torch.Tensor) -> CameraRig:
    intrinsics, extrinsics = [], []
    for camera in config["cameras"]:
        data = tables["sample_data"][sample["data"][camera]]
        mount = tables["calibrated_sensor"][data["calibrated_sensor_token"]]
        intrinsics.append(torch.tensor(mount["camera_intrinsic"], dtype=torch.float64))
        extrinsics.append(ego_from_global @ matrix(tables["ego_pose"][data["ego_pose_token"]]) @ matrix(mount))
    scale, (height, width) = config["resize_scale"], config["image_size"]
    left = int(max(0, (config["original_image_size"][1] * scale - width) / 2))
    image_aug = torch.tensor([[scale, 0, -left], [0, scale, -config["top_crop"]], [0, 0, 1]], dtype=torch.float64)
    return CameraRig(torch.stack(intrinsics), image_aug.expand(len(intrinsics), 3, 3), torch.stack(extrinsics),
                     (height, width))


def clip_of(data: dict) -> BEVClip:
    """A clip from the tables of a reference file, each frame in its true ego frame."""
    config, tables, tracks = data["meta"]["config"], json.loads(data["tables_json"]), {}
    frames = []
    first = config["first_sample_index"]
    for sample in tables["sample"][first: first + config["sequence_length"]]:
        lidar = tables["sample_data"][sample["data"]["LIDAR_TOP"]]
        pose = matrix(tables["ego_pose"][lidar["ego_pose_token"]])
        rows = [tables["sample_annotation"][token] for token in sample["anns"]]
        ego_from_global = rigid.inverse(pose)
        frames.append(BEVFrame(pose, sample["timestamp"] * 1e-6, boxes_of(rows, ego_from_global, tracks),
                               rig=rig_of(tables, sample, config, ego_from_global)))
    return BEVClip(tuple(frames), past=config["time_receptive_field"])


def grid_of(config: dict) -> BEVGrid:
    return BEVGrid(x=config["x_bound"], y=config["y_bound"], z=config["z_bound"])


def turned(maps: torch.Tensor) -> torch.Tensor:
    """Authors' maps [.. X Y] to ours [.. Y X]."""
    return maps.transpose(-1, -2)


@pytest.mark.parametrize("name", POWERBEV)
def test_powerbev_protocol(golden, name):
    data = golden(f"instance/{name}.pt")
    config = data["meta"]["config"]
    protocol = PowerBEVMaps(drop_invisible=config["filter_invisible_vehicles"],
                            freeze_within=config["freeze_threshold_m"])
    grid, clip = grid_of(config), clip_of(data)
    maps = protocol(clip, grid)
    assert maps.to_present is None
    assert torch.equal(maps.ids, turned(data["instance"]).long())
    assert torch.equal(maps.ids > 0, turned(data["segmentation"][:, 0]).bool())
    flow = turned(data["flow"]).float().flip(1)  # authors' channels: (column, row) = (y, x)
    assert torch.equal(backward_flow(maps.ids), flow)
    targets = InstanceFlowCoder(grid, protocol).encode(clip)
    start = clip.past - 2
    assert torch.equal(targets["flow"], flow[start:]) and targets["flow"].dtype == torch.float32
    assert torch.equal(targets["segmentation"], maps.ids[start:].clamp(max=1))
    assert torch.equal(targets["instance"], maps.ids[start + 1:])
    if "offset" in data:
        assert torch.equal(offsets_to_centers(maps.ids), turned(data["offset"]).float())
        torch.testing.assert_close(centerness(maps.ids, config["sigma"]), turned(data["centerness"]).float(),
                                   rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", LABELS)
def test_poses_and_calibration(golden, name):
    data = golden(f"instance/{name}.pt")
    clip = clip_of(data)
    expected = data.get("frame", data)
    poses = clip.global_from_ego
    level_from_ego = rigid.inverse(drawing_poses(clip, level_ego=True)) @ poses
    rig = CameraRig.stack([frame.rig for frame in clip.frames])
    torch.testing.assert_close(rig.image_from_camera.float(), expected["intrinsics"], rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(rig.moved(level_from_ego).ego_from_camera.float(), expected["extrinsics"],
                               rtol=1e-6, atol=1e-5)
    motion = rigid.motion_vector(rigid.inverse(poses[1:]) @ poses[:-1]).float()
    # The authors multiply poses in float32, hundreds of metres from the origin.
    precision = 4 * torch.finfo(torch.float32).eps * float(poses.abs().max())
    torch.testing.assert_close(motion, expected["future_egomotion"][: len(motion)], rtol=0, atol=precision)


def authors_plans(motions: torch.Tensor, past: int, grid: BEVGrid) -> tuple[torch.Tensor, torch.Tensor]:
    """Plans to the present and to the previous frame from the authors' float32 motion vectors [S 6]."""
    previous_from_next = rigid.inverse(rigid.motion_matrix(motions[:-1]))
    to_present = [torch.eye(4)] * past
    for matrix_ in previous_from_next[past - 1:]:
        to_present.append(to_present[-1] @ matrix_)
    extent = (grid.x[1], grid.y[1])
    return affine_theta_fiery(torch.stack(to_present), extent), affine_theta_fiery(previous_from_next, extent)


def test_fiery_protocol(golden):
    data = golden("instance/fiery_labels.pt")
    config = data["meta"]["config"]
    protocol = FieryMaps(drop_invisible=config["filter_invisible_vehicles"])
    grid, clip = grid_of(config), clip_of(data)
    drawn, frame = protocol(clip, grid), data["frame"]
    assert torch.equal(drawn.ids, turned(frame["instance"]).long())
    to_present, to_previous = authors_plans(frame["future_egomotion"], clip.past, grid)
    now = clip.past - 1
    torch.testing.assert_close(drawn.to_present[now:].float(), to_present[now:], rtol=0, atol=1e-4)
    torch.testing.assert_close(drawn.to_previous.float(), to_previous, rtol=0, atol=1e-4)

    assert torch.equal(offsets_to_centers(drawn.ids), turned(frame["offset"]).float())  # (row, column) = (x, y): ours
    flow = forward_flow(drawn.ids, warp_maps(drawn.ids[1:], to_previous))
    assert torch.equal(flow, turned(frame["flow"]).float())
    torch.testing.assert_close(centerness(drawn.ids, config["sigma"]), turned(frame["centerness"]),
                               rtol=1e-5, atol=1e-7)

    expected = {name: turned(value[0]).float() for name, value in data["warped"].items()}
    expected["segmentation"] = expected["segmentation"][:, 0]
    exact = drawn._replace(to_present=to_present, to_previous=to_previous)
    for maps, tolerated in [(exact, 0.0), (drawn, 1e-3)]:  # float32 motions move a cell in a thousand across a tie
        targets = InstanceCenterCoder(grid, lambda *_, maps=maps: maps, sigma=config["sigma"]).encode(clip)
        assert targets.keys() == expected.keys()
        for name, value in targets.items():
            different = ~torch.isclose(value.float(), expected[name], rtol=1e-5, atol=1e-6)
            assert different.float().mean() <= tolerated, name
