"""Truth <-> occupancy of the present, for single-frame models."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from bevkit.models.coders.instance_flow import VEHICLE
from bevkit.models.coders.instance_maps import LabelProtocol, build_protocol
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid, FutureInstances


class Segmentation(Protocol):
    """Raw outputs of the present: class logits [B 1 K Y X]."""

    @property
    def segmentation(self) -> Tensor: ...


@MODELS.register_module()
class SegmentationCoder:
    """Vehicles as occupied cells of the present; whatever touches becomes one instance.

    Args:
        grid: of the maps.
        protocol: which vehicles are drawn where, as in `InstanceFlowCoder`. PowerBEV's static pre-training draws hidden
            vehicles too: ``dict(type="PowerBEVMaps", drop_invisible=False)``.
    """

    def __init__(self, grid: BEVGrid, protocol: str | dict | LabelProtocol = "powerbev") -> None:
        self.grid = grid
        self.protocol = build_protocol(protocol)

    def encode(self, clip: BEVClip) -> dict[str, Tensor]:
        """Draws the present of a clip: segmentation and instance, each [1 Y X] int64."""
        ids = self.protocol(clip, self.grid).in_present()[clip.past - 1: clip.past]
        return dict(segmentation=(ids > 0).long(), instance=ids)

    def decode(self, raw: Segmentation) -> list[FutureInstances]:
        """Numbers the connected parts (over edges and corners) of the occupied cells: ids [1 Y X] a sample."""
        logits = raw.segmentation.detach().float()
        occupied = (logits.argmax(dim=2) == VEHICLE).byte().cpu().numpy()  # [B 1 Y X]
        ids = np.stack([cv2.connectedComponents(sample[0])[1] for sample in occupied])  # [B Y X]
        return [FutureInstances(sample, probability) for sample, probability in zip(
            torch.from_numpy(ids).to(logits.device, torch.int64).unsqueeze(1), logits.softmax(dim=2)[:, :, VEHICLE])]
