"""Truth <-> occupancy and backward flow (PowerBEV, IJCAI 2023, sections 3.2 and 3.4)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bevkit.models.coders.grouping import (
    VEHICLE,
    expect_window,
    find_centers,
    group_cells,
    is_vehicle,
    vehicle_probability,
)
from bevkit.models.coders.id_maps import IGNORE, backward_flow, offsets_to_centers
from bevkit.models.coders.instance_maps import LabelProtocol, build_protocol
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid, FutureInstances


class SegmentationAndFlow(Protocol):
    """Raw outputs for the frames t-1 .. t+F: class logits [B F+2 K Y X] and backward flow [B F+2 2 Y X] in cells."""

    @property
    def segmentation(self) -> Tensor: ...

    @property
    def flow(self) -> Tensor: ...


class FlawlessOutput(NamedTuple):
    """Raw outputs that decode to the truth."""

    segmentation: Tensor
    flow: Tensor


def nms_kernel_size(grid: BEVGrid) -> int:
    """Returns the side in cells of the window in which one centre survives: round(350 / x_max), made odd.

    The authors' rule: 3.5 m where a cell is a hundredth of x_max, as on their grids; an even window would have no
    middle cell.
    """
    if grid.x[1] <= 0:
        raise ValueError(f"nms_kernel: expected a grid that reaches forward, got x={grid.x}; say how many cells a side "
                         "the coder's window has, nms_kernel=")
    size = round(350 / grid.x[1])
    return size + 1 - size % 2


@MODELS.register_module()
class InstanceFlowCoder:
    """Instances as occupancy per frame and a flow from every cell to the centre of its instance a frame earlier.

    Args:
        grid: of the maps.
        protocol: which vehicles are drawn where: ``powerbev``, ``fiery``, ``native``, or a config of such a protocol
            (`bevkit.models.coders.instance_maps`). Scores of different protocols must not be compared.
        center_threshold: vehicle probability above which a cell can be a centre.
        nms_kernel: side of the window in which one centre survives, odd; `nms_kernel_size` by default.
        max_centers: centres beyond this number are dropped, those farthest ahead first.
    """

    def __init__(self, grid: BEVGrid, protocol: str | dict | LabelProtocol = "powerbev", center_threshold: float = 0.1,
                 nms_kernel: int | None = None, max_centers: int = 100) -> None:
        if nms_kernel is None:
            nms_kernel = nms_kernel_size(grid)
        expect_window(nms_kernel)
        self.grid = grid
        self.protocol = build_protocol(protocol)
        self.center_threshold = center_threshold
        self.nms_kernel = nms_kernel
        self.max_centers = max_centers

    def encode(self, clip: BEVClip) -> dict[str, Tensor]:
        """Draws the truth of a clip.

        Returns:
            segmentation [F+2 Y X] int64 and flow [F+2 2 Y X] float32 (255 = ignore) of the frames t-1 .. t+F, and
            instance [F+1 Y X] int64 of the present and future ones. A clip of a single input frame has no t-1.
        """
        ids = self.protocol(clip, self.grid).in_present()  # [T+F Y X]
        first = max(clip.past - 2, 0)
        return dict(segmentation=(ids[first:] > 0).long(), flow=backward_flow(ids)[first:],
                    instance=ids[clip.past - 1:])

    def decode(self, raw: SegmentationAndFlow) -> list[FutureInstances]:
        """Finds the instances of the frame before the present and follows them through the flow.

        Centres are local maxima of the vehicle probability at t-1. Cells of the present join the centre that they
        point at; a cell of a later frame takes the id that it points at in the frame before.
        """
        logits, flow = raw.segmentation.detach().float(), raw.flow.detach().float()
        probability = vehicle_probability(logits)  # [B F+2 Y X]
        occupied = is_vehicle(logits)  # [B F+2 Y X]
        centers = [find_centers(sample, self.center_threshold, self.nms_kernel, self.max_centers)
                   for sample in probability[:, 0]]  # [B][K 2]
        ids = [torch.stack([group_cells(*sample) for sample in zip(centers, flow[:, 1], occupied[:, 1])])]  # [B Y X]
        for step in range(2, flow.shape[1]):
            ids.append(follow(ids[-1], flow[:, step]) * occupied[:, step])
        return [FutureInstances(*sample) for sample in zip(torch.stack(ids, dim=1), probability[:, 1:], flow[:, 1:])]

    def flawless(self, targets: dict[str, Tensor]) -> FlawlessOutput:
        """Returns raw outputs [B F+2 ..] that decode to the truth, from the batched targets of `encode`.

        Who is new in the present gets a centre at t-1 all the same, under its place in the present. Who is new in a
        future frame cannot be told by a backward flow; what `decode` makes of it shows what this costs.
        """
        present, occupied, flow = targets["instance"][:, 0], targets["segmentation"] == VEHICLE, targets["flow"].clone()
        new = present * (flow[:, 1, 0] == IGNORE)  # [B Y X]
        flow[:, 1] = torch.where(new.unsqueeze(1) > 0, offsets_to_centers(new), flow[:, 1])
        logits = torch.where(occupied, 2.0, -4.0)  # [B F+2 Y X]
        for sample in range(len(logits)):
            _mark(logits[sample, 0], *_pointed_at(flow[sample, 1], present[sample] > 0))
        flow[flow == IGNORE] = 0
        return FlawlessOutput(torch.stack((torch.zeros_like(logits), logits), dim=2), flow)


def follow(ids: Tensor, flow: Tensor) -> Tensor:
    """Returns for every cell the id that stands where it points at in the map of a frame earlier; 0 off the map.

    Indexing where `warp_flow` samples: ties between cells then fall alike (half to even) on every device.

    Args: ids [B Y X] int64, flow [B 2 Y X] in cells.
    """
    rows, columns = ids.shape[-2:]
    x = (torch.arange(columns, device=ids.device) + flow[:, 0]).round().nan_to_num(nan=-1.0)  # [B Y X]
    y = (torch.arange(rows, device=ids.device)[:, None] + flow[:, 1]).round().nan_to_num(nan=-1.0)  # [B Y X]
    on_map = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    cell = y.clamp(0, rows - 1).long() * columns + x.clamp(0, columns - 1).long()
    return ids.flatten(1).gather(1, cell.flatten(1)).view_as(ids) * on_map


def _pointed_at(flow: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the (column, row) cells that the flow [2 Y X] of the masked cells leads to."""
    row, column = torch.nonzero(mask, as_tuple=True)
    return (column + flow[0, row, column]).long(), (row + flow[1, row, column]).long()


def _mark(logits: Tensor, column: Tensor, row: Tensor) -> None:
    """Raises a map [Y X] of logits towards the centres (column, row), each [P], so that few other maxima remain."""
    if len(column):
        y, x = torch.nonzero(logits > 0, as_tuple=True)
        cells, places = torch.stack((x, y), dim=-1), torch.stack((column, row), dim=-1).unique(dim=0)
        away = torch.cdist(cells.double(), places.double()).amin(dim=1)
        logits[y, x] += 4 / (1 + away.to(logits.dtype))
        logits[row, column] = 6.0
