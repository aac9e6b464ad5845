"""What turns image features into a depth distribution and a context feature for every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from bevkit.models.layers import ASPP, ChannelGate, DeformableConv2d
from bevkit.registry import MODELS
from bevkit.structures import CameraRig

CAMERA_NUMBERS = 27


@MODELS.register_module()
class PlainDepthNet(nn.Conv2d):
    """One 1x1 convolution (Lift-Splat, Philion & Fidler 2020): features [V C_in H W] to [V D+C H W], depth first.

    Args:
        in_channels: of the features.
        depths: D, depth logits.
        channels: C, context channels.
    """

    plan_length = 0

    def __init__(self, in_channels: int, depths: int, channels: int) -> None:
        super().__init__(in_channels, depths + channels, kernel_size=1)

    def plan(self, _rig: CameraRig) -> tuple[Tensor, ...]:
        return ()


@MODELS.register_module()
class CameraAwareDepthNet(nn.Module):
    """Judges depth with the camera in mind: a far thing in a long lens looks like a near one in a short lens.

    BEVDepth's DepthNet (Li et al., AAAI 2023, section 4.2): 27 numbers of the camera gate the channels of the features
    (`ChannelGate`), once for context and once for depth; depth then passes residual blocks, a spatial pyramid and a
    deformable convolution. Features [V C_in H W] to [V D+C H W], depth logits first.

    Args:
        in_channels: of the features.
        depths: D, depth logits.
        channels: C, context channels.
        mid_channels: of the layers between.
        blocks: residual blocks.
        pyramid: with `ASPP`.
        deformable: with a deformable convolution of 4 groups; `DeformableConv2d` says how it is exported.
    """

    plan_length = 1

    def __init__(self, in_channels: int, depths: int, channels: int, mid_channels: int = 512, blocks: int = 3,
                 pyramid: bool = True, deformable: bool = True) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(in_channels, mid_channels, 3, padding=1), nn.BatchNorm2d(mid_channels),
                                    nn.ReLU(inplace=True))
        self.camera_norm = nn.BatchNorm1d(CAMERA_NUMBERS)
        self.context_gate = ChannelGate(CAMERA_NUMBERS, mid_channels)
        self.context = nn.Conv2d(mid_channels, channels, 1)
        self.depth_gate = ChannelGate(CAMERA_NUMBERS, mid_channels)
        self.blocks = nn.Sequential(*[BasicBlock(mid_channels, mid_channels) for _ in range(blocks)])
        self.pyramid = ASPP(mid_channels) if pyramid else nn.Identity()
        self.deformable = DeformableConv2d(mid_channels, mid_channels, groups=4) if deformable else nn.Identity()
        self.depth = nn.Conv2d(mid_channels, depths, 1)

    def plan(self, rig: CameraRig) -> tuple[Tensor, ...]:
        """Returns the numbers of M rigs: [M N 27]."""
        return (camera_numbers(rig),)

    def forward(self, features: Tensor, cameras: Tensor) -> Tensor:
        """Args: features [V C_in H W], cameras [M N 27] with V = M*N."""
        numbers = self.camera_norm(cameras.flatten(0, 1))  # [V 27]
        features = self.reduce(features)
        context = self.context(self.context_gate(features, numbers))  # [V C H W]
        depth = self.blocks(self.depth_gate(features, numbers))
        depth = self.depth(self.deformable(self.pyramid(depth)))  # [V D H W]
        return torch.cat((depth, context), dim=1)


def camera_numbers(rig: CameraRig, augmentation: Tensor | None = None) -> Tensor:
    """Returns the 27 numbers [* N 27] (float32) by which BEVDepth and its heirs describe a camera.

    fx, fy, cx, cy of the raw image; the first two rows of the image augmentation; the five numbers xx, xy, yx, yy, zz
    of the augmentation of the map; the first three rows of ego_from_camera.

    A rig holds the augmentation of the map inside of its poses, as everything downstream wants it, so those five
    numbers are the identity's unless they are given.

    Args:
        rig: leading axes [*], poses before the augmentation where that is given.
        augmentation: [* 3 3] or [* 4 4] of the ego frame.
    """
    eye = torch.eye(3).to(rig.ego_from_camera).expand(*rig.ego_from_camera.shape[:-2], 3, 3)
    turn = eye if augmentation is None else augmentation[..., None, :3, :3].expand_as(eye)
    k, aug = rig.intrinsics, rig.image_aug
    numbers = (k[..., 0, 0], k[..., 1, 1], k[..., 0, 2], k[..., 1, 2],
               *aug[..., 0, :].unbind(-1), *aug[..., 1, :].unbind(-1),
               turn[..., 0, 0], turn[..., 0, 1], turn[..., 1, 0], turn[..., 1, 1], turn[..., 2, 2])
    return torch.cat((torch.stack(numbers, dim=-1), rig.ego_from_camera[..., :3, :].flatten(-2)), dim=-1).float()


def split_maps(maps: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Splits the output of a depth net [V D+C H W]: distribution over depths [V D H W], the same exact, context.

    The exact one is float32 also under mixed precision: near 0 and 1 the loss of a depth has gradients that a
    distribution rounded to bfloat16 turns into noise.
    """
    context = maps[:, bins:]
    exact = maps[:, :bins].softmax(dim=1, dtype=torch.promote_types(maps.dtype, torch.float32))
    return exact.to(context.dtype), exact, context
