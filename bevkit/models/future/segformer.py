"""SegFormer (Xie et al., NeurIPS 2021) with any number of stages, for BEV maps.

Within it a map has its channels last, [B Y X C]: what is linear or normalised takes it as it lies, and so does a
convolution, to which it is a map in channels-last memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth


class OverlapPatchEmbedding(nn.Module):
    """Makes a map smaller by its stride, each new cell from a patch that overlaps its neighbours' (section 3.1)."""

    def __init__(self, in_channels: int, channels: int, patch_size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, patch_size, stride, padding=patch_size // 2)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(_convolved(self.conv, x))


class ReducedAttention(nn.Module):
    """Lets every cell look at the whole map, of which windows of r x r cells were made one (section 3.1).

    Cells behind the last whole window at the high edges are looked at by no one, as in the paper's network.

    Args:
        channels, heads: channels are a multiple of the heads.
        reduction: r; 1 leaves the map as it is.
    """

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"ReducedAttention: expected channels that are a multiple of the {heads} heads, got "
                             f"{channels}")
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(channels, channels) for _ in range(3))
        self.reduce = nn.Conv2d(channels, channels, reduction, reduction) if reduction > 1 else None
        self.reduce_norm = nn.LayerNorm(channels) if reduction > 1 else None
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        if self.reduce is not None and self.reduce_norm is not None:
            seen = self.reduce_norm(_convolved(self.reduce, x))  # [B Y/r X/r C]
        query, key, value = (self._by_head(y) for y in (self.query(x), self.key(seen), self.value(seen)))
        read = F.scaled_dot_product_attention(query, key, value)  # [B G Y*X C/G]
        return self.output(read.transpose(1, 2).reshape(x.shape))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B G Y*X C/G]


class MixFFN(nn.Module):
    """A feed-forward network with a depthwise 3x3 convolution, by which cells know where they are (section 3.1)."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, hidden_channels)
        self.depthwise = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1, groups=hidden_channels)
        self.project = nn.Linear(hidden_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.gelu(_convolved(self.depthwise, self.expand(x))))


class SegFormerBlock(nn.Module):
    """Attention and feed-forward network, each behind a norm, beside a shortcut, and left out at random in training."""

    def __init__(self, channels: int, heads: int, reduction: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = ReducedAttention(channels, heads, reduction)
        self.ffn = MixFFN(channels, channels * mlp_ratio)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attention(self.attention_norm(x)))
        return x + self.drop_path(self.ffn(self.ffn_norm(x)))


class SegFormerStage(nn.Module):
    """Halves a map [B Y X C] (or as the stride says) and runs blocks on it."""

    def __init__(self, in_channels: int, channels: int, patch_size: int, stride: int,
                 blocks: Sequence[SegFormerBlock]) -> None:
        super().__init__()
        self.embedding = OverlapPatchEmbedding(in_channels, channels, patch_size, stride)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.blocks(self.embedding(x)))


class AllMLPDecoder(nn.Module):
    """Joins maps of all stages at the size of the finest (section 3.2).

    The paper brings every map to C channels, resizes it, and mixes all of them, stacked, by a 1x1 convolution. Each
    map's part of that convolution is applied here before resizing, as one linear map with what brings it to C channels:
    what acts on the channels of a cell and what averages cells may change places. That is the same but for rounding,
    and a thirtieth of the products.

    Args:
        in_channels: of each map, finest first.
        channels: C.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Linear(width, channels) for width in in_channels)
        self.fuse = nn.Conv2d(channels * len(in_channels), channels, 1, bias=False)  # coarsest first
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Turns maps [B Y_i X_i C_i], finest first, into [B C Y_0 X_0]."""
        size = maps[0].shape[1:3]
        mixers = self.fuse.weight.flatten(1).unflatten(1, (len(maps), -1))  # [C L C], coarsest first
        joined = None
        for index, (x, level) in enumerate(zip(maps, self.levels)):
            mixer = mixers[:, -1 - index]
            part = F.linear(x, mixer @ level.weight, mixer @ level.bias).permute(0, 3, 1, 2)  # [B C Y_i X_i]
            if joined is not None:
                part = joined + F.interpolate(part, size=size, mode="bilinear", align_corners=False)
            joined = part
        return F.relu(self.norm(joined))


class SegFormerEncoder(nn.Sequential):
    """Stages one behind the other; returns the maps of all of them [B Y_i X_i C_i], finest first.

    Args:
        in_channels: of the input map.
        channels, depths, heads, reductions, mlp_ratios, patch_sizes, strides: of each stage: C, number of blocks,
            heads and reduction of the attention, width of the feed-forward network over C, patches and their stride.
        drop_path: probability with which the last block is left out in training; 0 for the first, linear between.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], depths: Sequence[int], heads: Sequence[int],
                 reductions: Sequence[int], mlp_ratios: Sequence[int], patch_sizes: Sequence[int],
                 strides: Sequence[int], drop_path: float) -> None:
        drops = (drop_path * block / max(sum(depths) - 1, 1) for block in range(sum(depths)))
        stages = []
        for before, width, depth, groups, reduction, ratio, patch_size, stride in zip(
                (in_channels, *channels), channels, depths, heads, reductions, mlp_ratios, patch_sizes, strides):
            blocks = [SegFormerBlock(width, groups, reduction, ratio, next(drops)) for _ in range(depth)]
            stages.append(SegFormerStage(before, width, patch_size, stride, blocks))
        super().__init__(*stages)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = []
        x = x.permute(0, 2, 3, 1)  # [B Y X C]
        for stage in self:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


def initialise(module: nn.Module) -> None:
    """Sets weights to noise of 0.02 and biases to zero, as transformers start."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _convolved(conv: nn.Module, x: Tensor) -> Tensor:
    """Convolves a map whose channels are last [B Y X C]."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
