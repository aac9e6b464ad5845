"""The head of Efficient-Instance-Prediction: two SegFormers, one says where vehicles are, one where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bevkit.models.future.instance_flow import InstanceFlowHead, InstanceFlowOutput
from bevkit.models.future.layers import ResidualBlock
from bevkit.models.future.segformer import AllMLPDecoder, SegFormerEncoder, initialise
from bevkit.registry import MODELS, built
from bevkit.structures.grid import BEVGrid


@MODELS.register_module()
class EfficientPredictionHead(InstanceFlowHead):
    """Predicts class and backward flow of every cell for the frames t-1 .. t+F (Antunes et al., ITSC 2024).

    The defaults are the size "Full". Every option of several numbers has one a stage.

    Args:
        grid: of the BEV map; handed to the coder.
        in_channels: C of the BEV map, all frames together.
        future: F, number of future frames.
        channels, depths, heads, mlp_ratios, patch_sizes, strides: of the stages of `SegFormerEncoder`.
        reductions: likewise, of the attention; the released weights have (8, 8, 4, 2, 1), the authors' later
            configuration (8, 4, 2, 1, 1).
        decoder_channels: width at which the stages are joined.
        classifier_channels: of the residual blocks behind it.
        classes: K; 0 is background.
        coder: module or config with ``decode``; needed by `predict` only.
        segmentation_loss, flow_loss: module or config; the defaults are the paper's.
        segmentation_weight, flow_weight: module or config of the learned weights between both losses.
        drop_path: probability with which the deepest block is left out in training.
        dropout: of what the residual blocks are given.
        background_first: begin with nearly every cell in background, as PowerBEV does; the authors begin anyhow.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, future: int = 4,
                 channels: Sequence[int] = (16, 32, 64, 160, 256), depths: Sequence[int] = (2, 2, 2, 2, 2),
                 heads: Sequence[int] = (1, 2, 4, 8, 8), reductions: Sequence[int] = (8, 8, 4, 2, 1),
                 mlp_ratios: Sequence[int] = (4, 4, 4, 4, 4), patch_sizes: Sequence[int] = (7, 3, 3, 3, 3),
                 strides: Sequence[int] = (2, 2, 2, 2, 2), decoder_channels: int = 256,
                 classifier_channels: Sequence[int] = (128, 128, 64, 64), classes: int = 2, coder: Any = None,
                 segmentation_loss: Any = None, flow_loss: Any = None, segmentation_weight: Any = None,
                 flow_weight: Any = None, drop_path: float = 0.1, dropout: float = 0.1,
                 background_first: bool = True) -> None:
        super().__init__()
        stages = dict(channels=channels, depths=depths, heads=heads, reductions=reductions, mlp_ratios=mlp_ratios,
                      patch_sizes=patch_sizes, strides=strides)
        _expect_stages(stages, grid.shape)
        self.coder = built(coder, grid=grid)
        self.frames, self.reductions = future + 2, tuple(reductions)

        def branch(numbers: int) -> SegFormerBranch:
            return SegFormerBranch(SegFormerEncoder(in_channels, **stages, drop_path=drop_path),
                                   AllMLPDecoder(channels, decoder_channels), classifier_channels,
                                   numbers * self.frames, strides[0], dropout)

        self.segmentation_branch, self.flow_branch = branch(classes), branch(2)
        if background_first:
            bias = self.segmentation_branch.classifier[-1].bias  # [(F+2)*K]
            nn.init.zeros_(bias)
            nn.init.constant_(bias[::classes], 4.6)  # sigmoid of 4.6 = 0.99
        self.build_losses(segmentation_loss, flow_loss, segmentation_weight, flow_weight)

    def forward(self, bev: Tensor) -> InstanceFlowOutput:
        return InstanceFlowOutput(self.segmentation_branch(bev).unflatten(1, (self.frames, -1)),
                                  self.flow_branch(bev).unflatten(1, (self.frames, -1)))


class SegFormerBranch(nn.Module):
    """Turns a map [B C Y X] into one of K numbers a cell, at the same size: a SegFormer and residual blocks.

    Args:
        encoder, decoder: of SegFormer.
        channels: of the residual blocks.
        out_channels: K.
        scale: how much coarser than the input the decoder's map is: the stride of the first stage.
        dropout: of the decoder's map.
    """

    def __init__(self, encoder: SegFormerEncoder, decoder: AllMLPDecoder, channels: Sequence[int], out_channels: int,
                 scale: int, dropout: float) -> None:
        super().__init__()
        self.encoder, self.decoder, self.dropout = encoder, decoder, nn.Dropout(dropout)
        initialise(encoder)
        initialise(decoder)
        widths = (decoder.fuse.out_channels, *channels)
        self.classifier = nn.Sequential(*[ResidualBlock(a, b) for a, b in zip(widths, widths[1:])],
                                        nn.ConvTranspose2d(widths[-1], out_channels, scale, scale))

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[-2:]
        x = self.classifier(self.dropout(self.decoder(self.encoder(x))))
        # A size that the first stride does not divide was rounded up, with new cells at the high edges.
        return x if x.shape[-2:] == (rows, columns) else x[..., :rows, :columns]


def _expect_stages(stages: dict[str, Sequence[int]], shape: tuple[int, int]) -> None:
    """Raises where stages are not equally many, or a map is smaller than the windows of its attention."""
    counts = {name: len(values) for name, values in stages.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"EfficientPredictionHead: expected one number a stage in every option, got {counts}")
    size = min(shape)
    for number, (stride, reduction) in enumerate(zip(stages["strides"], stages["reductions"])):
        size = -(-size // stride)
        if size < reduction:
            raise ValueError(f"EfficientPredictionHead: expected a map of at least {reduction} cells a side in stage "
                             f"{number}, for its reduction, got {size} of a grid of {shape}; set smaller reductions")
