"""From images to the features a view transformer lifts."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bevkit.registry import MODELS, built


@MODELS.register_module()
class ImageEncoder(nn.Module):
    """Turns normalised images [M 3 h w] into features [M C H W], finest first: a backbone, then maybe a neck.

    Args:
        backbone: module or config with ``channels`` and ``strides``.
        neck: module or config; a config is built with the backbone's ``in_channels`` and ``in_strides``.
    """

    def __init__(self, backbone: nn.Module | dict[str, Any], neck: nn.Module | dict[str, Any] | None = None) -> None:
        super().__init__()
        self.backbone = built(backbone)
        self.neck = built(neck, in_channels=self.backbone.channels, in_strides=self.backbone.strides)
        last = self.backbone if self.neck is None else self.neck
        self.channels: tuple[int, ...] = tuple(last.channels)
        self.strides: tuple[int, ...] = tuple(last.strides)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.backbone(images)
        return features if self.neck is None else self.neck(features)
