"""Deformable convolution: every kernel tap looks where the features themselves tell it to (Dai et al., ICCV 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d


class DeformableConv2d(nn.Module):
    """A convolution of stride 1 without bias whose taps are shifted by offsets that a plain convolution predicts.

    Runs torchvision's operator. ONNX has an operator for it that TensorRT does not build, so while a graph is exported
    the taps are read by 4-D GridSample (`deformable_conv_reference`), which every runtime has.

    Args:
        in_channels, channels: of the maps [V C H W].
        kernel: odd size of the square kernel.
        groups: of the convolution; all share the offsets.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int = 3, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(channels, in_channels // groups, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        self.offset = nn.Conv2d(in_channels, 2 * kernel * kernel, kernel, padding=kernel // 2)
        nn.init.zeros_(self.offset.weight)  # begins as a plain convolution
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        offsets = self.offset(maps)
        if torch.compiler.is_exporting():
            return deformable_conv_reference(maps, offsets, self.weight, self.groups)
        return deform_conv2d(maps, offsets, self.weight, padding=self.weight.shape[-1] // 2)


def deformable_conv_reference(maps: Tensor, offsets: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Convolves maps [V C H W] with kernels [O C/groups K K], tap k of a pixel shifted by offsets [V 2*K*K H W].

    Channels 2k and 2k+1 of the offsets are the shifts (rows, columns) of tap k in pixels; zeros come from outside.
    Standard operators only: one bilinear sampling of all taps, then a grouped 1x1 convolution.
    """
    views, channels, rows, columns = maps.shape
    kernel = weight.shape[-1]
    steps = torch.arange(kernel, dtype=offsets.dtype, device=offsets.device) - kernel // 2
    y = torch.arange(rows, dtype=offsets.dtype, device=offsets.device)[:, None] + offsets[:, 0::2].unflatten(
        1, (kernel, kernel)) + steps[:, None, None, None]  # [V K K H W]
    x = torch.arange(columns, dtype=offsets.dtype, device=offsets.device) + offsets[:, 1::2].unflatten(
        1, (kernel, kernel)) + steps[:, None, None]  # [V K K H W]
    grid = torch.stack(((2 * x + 1) / columns - 1, (2 * y + 1) / rows - 1), dim=-1)  # [V K K H W 2]
    taps = F.grid_sample(maps, grid.reshape(views, kernel * kernel * rows, columns, 2), mode="bilinear",
                         padding_mode="zeros", align_corners=False)  # [V C K*K*H W]
    taps = taps.reshape(views, channels * kernel * kernel, rows, columns)  # channel-major, then tap
    return F.conv2d(taps, weight.reshape(len(weight), -1, 1, 1), groups=groups)
