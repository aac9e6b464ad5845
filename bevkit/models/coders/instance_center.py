"""Truth <-> occupancy, centres, offsets and forward flow (FIERY, ICCV 2021, sections 3.4 and 3.5)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from bevkit.models.coders.grouping import (
    VEHICLE,
    expect_window,
    find_centers,
    group_cells,
    is_vehicle,
    vehicle_probability,
)
from bevkit.models.coders.id_maps import IGNORE, centerness, forward_flow, instance_centers, offsets_to_centers
from bevkit.models.coders.instance_maps import LabelProtocol, build_protocol, warp_maps
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid, FutureInstances

FAR = 1e6  # cells; no instance is matched over so many


class CentersAndFlow(Protocol):
    """Raw outputs for the frames t .. t+F: class logits [B F+1 K Y X], centerness [B F+1 1 Y X] in 0..1, offset to the
    own centre and flow to the next frame [B F+1 2 Y X] in cells (x, y); no flow is read where no frame follows."""

    @property
    def segmentation(self) -> Tensor: ...

    @property
    def center(self) -> Tensor: ...

    @property
    def offset(self) -> Tensor: ...

    @property
    def flow(self) -> Tensor: ...


class FlawlessCenters(NamedTuple):
    """Raw outputs of a network that makes no error."""

    segmentation: Tensor
    center: Tensor
    offset: Tensor
    flow: Tensor


@MODELS.register_module()
class InstanceCenterCoder:
    """Instances as occupancy, a bump around each centre, vectors to the centre, and the motion to the next frame.

    Args:
        grid: of the maps.
        protocol: which vehicles are drawn where, as in `InstanceFlowCoder`.
        sigma: width of the bumps in cells.
        center_threshold: height above which a cell can be a centre.
        nms_kernel: side in cells of the window in which one centre survives, odd.
        max_centers: centres beyond this number are dropped, those farthest ahead first.
        match_within: cells between the expected and the found centre within which an instance keeps its id.
        reuse_ids: number the instances anew in a frame behind one without any, as the authors do; ids already taken
            may then mean others.
    """

    def __init__(self, grid: BEVGrid, protocol: str | dict | LabelProtocol = "fiery", sigma: float = 3.0,
                 center_threshold: float = 0.1, nms_kernel: int = 3, max_centers: int = 100,
                 match_within: float = 3.0, reuse_ids: bool = False) -> None:
        expect_window(nms_kernel)
        self.grid = grid
        self.protocol = build_protocol(protocol)
        self.sigma = sigma
        self.center_threshold = center_threshold
        self.nms_kernel = nms_kernel
        self.max_centers = max_centers
        self.match_within = match_within
        self.reuse_ids = reuse_ids

    def encode(self, clip: BEVClip) -> dict[str, Tensor]:
        """Draws the truth of the frames t .. t+F of a clip.

        Returns:
            segmentation, instance [F+1 Y X] int64; centerness [F+1 1 Y X], offset, flow [F+1 2 Y X] float32
            (255 = ignore; where a warp to the present looks beyond the map, 0).
        """
        maps = self.protocol(clip, self.grid)
        now = clip.past - 1
        ids = maps.ids[now:]  # each in the frame it was drawn in, where vectors are taken
        to_present, to_previous = (None if plan is None else plan[now:] for plan in (maps.to_present, maps.to_previous))
        instance = warp_maps(ids, to_present)
        return dict(segmentation=(instance > 0).long(), instance=instance,
                    centerness=warp_maps(centerness(ids, self.sigma), to_present),
                    offset=warp_maps(offsets_to_centers(ids), to_present),
                    flow=warp_maps(forward_flow(ids, warp_maps(ids[1:], to_previous)), to_present))

    def decode(self, raw: CentersAndFlow) -> list[FutureInstances]:
        """Groups the cells of each frame around its centres, then links the frames: nearest centres after the flow."""
        logits, center, offset = (value.detach().float() for value in (raw.segmentation, raw.center, raw.offset))
        flow = raw.flow.detach().float() if logits.shape[1] > 1 else offset  # a single frame is linked to nothing
        probability, occupied = vehicle_probability(logits), is_vehicle(logits)  # [B F+1 Y X]
        results = []
        for sample, heat in enumerate(center[:, :, 0]):
            centers = [find_centers(frame, self.center_threshold, self.nms_kernel, self.max_centers) for frame in heat]
            ids = torch.stack([group_cells(*frame) for frame in zip(centers, offset[sample], occupied[sample])])
            results.append(FutureInstances(self._linked(ids, flow[sample]), probability[sample]))
        return results

    def flawless(self, targets: dict[str, Tensor]) -> FlawlessCenters:
        """Returns raw outputs [B F+1 ..] of a network without error, from the batched targets of `encode`."""
        occupied = torch.where(targets["segmentation"] == VEHICLE, 4.0, -4.0)
        offset, flow = (torch.where(targets[name] == IGNORE, 0.0, targets[name]) for name in ("offset", "flow"))
        return FlawlessCenters(torch.stack((torch.zeros_like(occupied), occupied), dim=2), targets["centerness"],
                               offset, flow)

    def _linked(self, ids: Tensor, flow: Tensor) -> Tensor:
        """Carries ids from frame to frame of maps [S Y X] numbered frame by frame; who is unmatched gets a new id."""
        linked, largest = [ids[0]], int(ids[0].max())
        for step in range(1, len(ids)):
            before, now = linked[-1], ids[step]
            expected, sizes = _centers_after(before, flow[step - 1])
            known = torch.nonzero(sizes[1:]).flatten() + 1
            centers = instance_centers(now[None])[0][0, 1:]  # [n 2]
            if not len(centers) or self.reuse_ids and not len(known):
                linked.append(now)
                continue
            apart = (expected[known][:, None] - centers).cpu().numpy()  # [n n' 2]; not cdist: its rounding depends on n
            distance = np.sqrt(apart[..., 0] * apart[..., 0] + apart[..., 1] * apart[..., 1])  # NumPy's root is exact
            distance = np.where(np.isfinite(distance), distance, FAR)  # a flow that is no number leads nowhere
            pairs = [(int(known[i]), j + 1) for i, j in zip(*linear_sum_assignment(distance))
                     if distance[i, j] < self.match_within]
            names = torch.zeros(len(centers) + 1, dtype=torch.int64)
            for old, new in pairs:
                names[new] = old
            fresh = names[1:] == 0
            names[1:][fresh] = largest + torch.arange(1, int(fresh.sum()) + 1)
            largest += int(fresh.sum())
            linked.append(names.to(now.device)[now])
        return torch.stack(linked)


def _centers_after(ids: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean places [I+1 2] that the cells of instances [Y X] flow to, and how many cells each has [I+1]."""
    centers, sizes = instance_centers(ids[None])
    moves = torch.stack([torch.bincount(ids.flatten(), axis.flatten().double(), minlength=sizes.shape[1])
                         for axis in flow], dim=-1)  # [I+1 2]
    return centers[0] + moves / sizes[0].unsqueeze(-1), sizes[0]
