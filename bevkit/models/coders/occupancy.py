"""Truth <-> occupancy of the present, for heads that tell vehicles from background but not from one another."""

from __future__ import annotations

from torch import Tensor

from bevkit.models.coders.grouping import is_vehicle, vehicle_probability
from bevkit.models.coders.instance_maps import LabelProtocol, build_protocol
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid, FutureInstances


@MODELS.register_module()
class OccupancyCoder:
    """Vehicles of the present as one mask. Only the IoU of its results means something; VPQ wants instances.

    Args:
        grid: of the maps.
        protocol: which vehicles are drawn, as in `InstanceFlowCoder`.
    """

    def __init__(self, grid: BEVGrid, protocol: str | dict | LabelProtocol = "powerbev") -> None:
        self.grid = grid
        self.protocol = build_protocol(protocol)

    def encode(self, clip: BEVClip) -> dict[str, Tensor]:
        """Draws the present: segmentation [1 Y X] int64 of 0 and 1, instance [1 Y X] int64."""
        present = self.protocol(clip, self.grid).in_present()[clip.past - 1: clip.past]  # [1 Y X]
        return dict(segmentation=(present > 0).long(), instance=present)

    def decode(self, raw: tuple[Tensor, ...]) -> list[FutureInstances]:
        """Reads class logits [B 1 K Y X]; every occupied cell gets the id 1."""
        logits = raw[0].detach().float()
        ids = is_vehicle(logits).long()  # [B 1 Y X]
        return [FutureInstances(*sample) for sample in zip(ids, vehicle_probability(logits))]
