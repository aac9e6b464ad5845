"""From a batch as loaded to a batch as the network wants it: on its device, images normalised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor

from bevkit.registry import MODELS
from bevkit.structures import BEVBatch


@MODELS.register_module()
class BEVPreprocessor(BaseDataPreprocessor):
    """Moves a BEVBatch to the model's device and normalises its images.

    Args:
        mean, std: of the RGB channels in 0..255; the default is ImageNet's.
    """

    def __init__(self, mean: tuple[float, float, float] = (123.675, 116.28, 103.53),
                 std: tuple[float, float, float] = (58.395, 57.12, 57.375)) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        batch: BEVBatch = data["batch"].to(self.mean.device, non_blocking=True)
        return {**data, "batch": replace(batch, images=(batch.images.float() - self.mean) / self.std)}
