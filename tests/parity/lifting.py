"""What the parity tests of the lift-splat detectors share: rigs, modules and weights from their reference files."""

from typing import Any

import torch
from torch import Tensor, nn

from bevkit.importers.base import Translation
from bevkit.models.view_transformers import LiftSplat
from bevkit.models.view_transformers.depth_net import camera_numbers
from bevkit.structures import BEVGrid, CameraRig


def rig_of(inputs: dict[str, Tensor], image_size: list[int], augmented: bool = True) -> CameraRig:
    """The rig [B T ..] of a BEVDepth file, with the augmentation of the map inside of its poses or before it."""
    ida, poses = inputs["ida_mats"], inputs["sensor2ego_mats"]
    image_aug = torch.eye(3).repeat(*ida.shape[:-2], 1, 1)
    image_aug[..., :2, :2], image_aug[..., :2, 2] = ida[..., :2, :2], ida[..., :2, 3]
    rig = CameraRig(inputs["intrin_mats"][..., :3, :3], image_aug, poses, tuple(image_size))
    return rig.moved(inputs["bda_mat"][:, None]) if augmented else rig


def grid_of(config: dict[str, Any]) -> BEVGrid:
    return BEVGrid(x=config["x_bound"], y=config["y_bound"], z=config["z_bound"])


def view_options(config: dict[str, Any]) -> dict[str, Any]:
    """What LiftSplat and MatrixVT are built with for a BEVDepth file, with the numerics of the authors."""
    net = config["depth_net_conf"]
    return dict(grid=grid_of(config), in_channels=net["in_channels"], channels=config["output_channels"],
                depth=config["d_bound"], image_size=config["final_dim"], stride=config["downsample_factor"],
                frustum="corner", indexing="truncate",
                depth_net=dict(type="CameraAwareDepthNet", mid_channels=net["mid_channels"],
                               blocks=config["depth_net"]["basic_blocks"]))


def with_numbers(view: nn.Module, plan: tuple[Tensor, ...], numbers: Tensor) -> tuple[Tensor, ...]:
    """A plan that describes the cameras as the authors do: before the augmentation of the map, which stands apart."""
    assert numbers.shape == plan[-1].shape and view.depth_net.plan_length == 1
    return (*plan[:-1], numbers)


def authors_numbers(inputs: dict[str, Tensor], image_size: list[int]) -> Tensor:
    """The authors' 27 numbers [B N 27] of the key frame, which they read for every sweep."""
    return camera_numbers(rig_of(inputs, image_size, augmented=False)[:, 0], inputs["bda_mat"])


def load(part: nn.Module, translation: Translation) -> None:
    """Loads translated weights; every entry of both sides must find its partner."""
    assert translation.unknown == []
    result = part.load_state_dict(translation.state, strict=False)
    assert result.unexpected_keys == [] and result.missing_keys == []


def close(ours: Tensor, theirs: Tensor, tolerance: dict[str, Any], name: str) -> bool:
    """Compares within the file's tolerance for an output."""
    own = tolerance.get("outputs", {}).get(name, tolerance)
    return torch.allclose(ours, theirs.to(ours.dtype), atol=own["atol"], rtol=own["rtol"])


def authors_points(view: LiftSplat, rig: CameraRig, bda: Tensor) -> Tensor:
    """The frustum's points [M N D H W 3] in float32 and the authors' order: undo image_aug, unproject, move, augment.

    Args:
        rig: [M ..], before the augmentation bda [M 4 4].
    """
    u, v = (axis.float() for axis in view.pixels())
    d = view.depths.float()
    size = (len(d), len(v), len(u))
    frustum = torch.stack((u.expand(size), v[:, None].expand(size), d[:, None, None].expand(size),
                           torch.ones(size)), dim=-1)  # [D H W 4]
    def square(matrix: Tensor) -> Tensor:
        whole = torch.eye(4).repeat(*matrix.shape[:-2], 1, 1)
        whole[..., :matrix.shape[-2], :matrix.shape[-1]] = matrix
        return whole[:, :, None, None, None]

    aug = square(rig.image_aug[..., :2, :2])
    aug[..., :2, 3] = rig.image_aug[:, :, None, None, None, :2, 2]
    points = aug.inverse() @ frustum[..., None]
    points = torch.cat((points[..., :2, :] * points[..., 2:3, :], points[..., 2:, :]), dim=-2)
    combine = square(rig.ego_from_camera @ square(rig.intrinsics).squeeze((2, 3, 4)).inverse())
    points = bda[:, None, None, None, None] @ (combine @ points)
    return points[..., :3, 0]
