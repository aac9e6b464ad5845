"""Swin transformer blocks with the windows that detectors give them, on maps of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ShiftedWindowBlock(nn.Module):
    """A block of a Swin transformer (Liu et al., ICCV 2021, section 3.2) that pads a map to whole windows, then shifts.

    timm's own block shifts before it pads, so that far sides of a map may share a window unmasked, and has no shift
    where the map of its nominal image is one window. Otherwise, on maps of whole windows, both agree. Weights trained
    as detectors (mmdetection, FipTR) have seen this one.

    Args:
        block: a block of timm, whose layers are taken over under their names.
        window: side of the windows in cells.
        shift: cells by which the windows are shifted, 0 for none.
    """

    def __init__(self, block: nn.Module, window: int, shift: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.drop_path1 = block.norm1, block.attn, block.drop_path1
        self.norm2, self.mlp, self.drop_path2 = block.norm2, block.mlp, block.drop_path2
        self.window, self.shift = window, shift

    def forward(self, x: Tensor) -> Tensor:
        """Args: x [M H W C]."""
        x = x + self.drop_path1(self._attended(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))

    def _attended(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -columns % self.window, 0, -rows % self.window))  # [M H' W' C]
        size = x.shape[1:3]
        if self.shift:
            x = x.roll((-self.shift, -self.shift), dims=(1, 2))
        x = self.attn(self._windows(x), mask=self._mask(size, x) if self.shift else None)  # [M*n window^2 C]
        x = self._map(x, size)
        if self.shift:
            x = x.roll((self.shift, self.shift), dims=(1, 2))
        return x[:, :rows, :columns]

    def _windows(self, x: Tensor) -> Tensor:
        """Cuts a map [M H' W' C] into windows [M*n window^2 C]."""
        x = x.unflatten(2, (-1, self.window)).unflatten(1, (-1, self.window))  # [M H'/w w W'/w w C]
        return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def _map(self, windows: Tensor, size: torch.Size) -> Tensor:
        """Undoes `_windows`."""
        counts = (-1, size[0] // self.window, size[1] // self.window)
        x = windows.unflatten(1, (self.window, self.window)).unflatten(0, counts)  # [M H'/w W'/w w w C]
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _mask(self, size: torch.Size, like: Tensor) -> Tensor:
        """Keeps apart in a window what the shift has brought there from the far side: [n window^2 window^2]."""
        def part(count: int) -> Tensor:
            place = torch.arange(count, device=like.device)
            return (place >= count - self.window).long() + (place >= count - self.shift).long()

        region = 3 * part(size[0])[:, None] + part(size[1])  # [H' W']
        region = self._windows(region[None, :, :, None]).squeeze(-1)  # [n window^2]
        apart = region.unsqueeze(1) != region.unsqueeze(2)
        return torch.where(apart, -100.0, 0.0).to(like.dtype)


def pad_before_shift(model: nn.Module) -> None:
    """Exchanges the blocks of a Swin transformer of timm; every second one of a stage is shifted by half a window.

    Images are padded to whole patches too.
    """
    model.patch_embed.dynamic_img_pad = True
    stages = [part for part in model.children() if hasattr(part, "blocks")]
    for stage in stages:
        for index, block in enumerate(stage.blocks):
            window = block.attn.window_size[0]
            stage.blocks[index] = ShiftedWindowBlock(block, window, window // 2 if index % 2 else 0)
