"""CenterPoint's head (CVPR 2021) on a BEV map, as BEVDepth, MatrixVT, BEVDet and FB-BEV use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bevkit.models.coders.center_point import CenterPointCoder
from bevkit.models.losses.common import at_least_float32, mean_count
from bevkit.models.losses.focal import gaussian_focal
from bevkit.registry import MODELS, built
from bevkit.structures.grid import BEVGrid
from bevkit.structures.results import Detections3D

# The numbers of a box and how many maps each takes; their order is that of the coder's codes.
ATTRIBUTES = {"offset": 2, "height": 1, "size": 3, "heading": 2, "velocity": 2}
CODE_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5)  # BEVDepth's


class CenterPointOutput(NamedTuple):
    """Of K classes in G tasks, classes task by task.

    heatmap: [B K Y X] class logits; a peak is a centre.
    offset: [B G 2 Y X] from the low edge of the cell to the centre (x, y) in cells.
    height: [B G 1 Y X] z of the gravity centre, metres.
    size: [B G 3 Y X] log of length, width, height in metres.
    heading: [B G 2 Y X] sine and cosine of the yaw.
    velocity: [B G 2 Y X] m/s along x and y.
    """

    heatmap: Tensor
    offset: Tensor
    height: Tensor
    size: Tensor
    heading: Tensor
    velocity: Tensor


def branch(in_channels: int, mid_channels: int, out_channels: int) -> nn.Sequential:
    """A 3x3 convolution with norm, then a 3x3 convolution to the wanted number of maps."""
    return nn.Sequential(nn.Conv2d(in_channels, mid_channels, 3, padding=1, bias=False), nn.BatchNorm2d(mid_channels),
                         nn.ReLU(inplace=True), nn.Conv2d(mid_channels, out_channels, 3, padding=1))


@MODELS.register_module()
class CenterPointHead(nn.Module):
    """Finds the centres of boxes as peaks of heat maps and reads the rest of each box from the cell of its centre.

    Args:
        grid: of the BEV map; handed to the coder.
        in_channels: C.
        shared_channels, branch_channels: width of the layer all tasks share, and of each branch.
        coder: object or config of a `CenterPointCoder`, which names the classes of each task.
        heatmap_weight, box_weight: of the focal and of the L1 loss.
        code_weights: ten factors of the L1 loss: offset, height, size, heading, velocity.
        side_channels: of a map that the velocity branches read beside the shared one: how much time has passed
            (VideoBEV).
        loss_by_attribute: report the loss of each task and number of a box by itself (BEVDet dev2.1); the sum is the
            same.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, shared_channels: int = 64, branch_channels: int = 64,
                 coder: Any = None, heatmap_weight: float = 1.0, box_weight: float = 0.25,
                 code_weights: Sequence[float] = CODE_WEIGHTS, side_channels: int = 0,
                 loss_by_attribute: bool = False) -> None:
        super().__init__()
        if len(code_weights) != sum(ATTRIBUTES.values()):
            raise ValueError(f"code_weights: expected {sum(ATTRIBUTES.values())} numbers, got {len(code_weights)}")
        self.coder = built(coder, grid=grid) or CenterPointCoder(grid)
        self.tasks: tuple[tuple[str, ...], ...] = self.coder.tasks
        self.heatmap_weight, self.box_weight, self.loss_by_attribute = heatmap_weight, box_weight, loss_by_attribute
        self.shared = nn.Sequential(nn.Conv2d(in_channels, shared_channels, 3, padding=1, bias=False),
                                    nn.BatchNorm2d(shared_channels), nn.ReLU(inplace=True))
        self.branches = nn.ModuleList(nn.ModuleDict({
            name: branch(shared_channels + (side_channels if name == "velocity" else 0), branch_channels, count)
            for name, count in {"heatmap": len(task), **ATTRIBUTES}.items()}) for task in self.tasks)
        for task in self.branches:  # few cells are centres: start from a probability of a tenth
            nn.init.constant_(task["heatmap"][-1].bias, -2.19)
        self.code_weights: Tensor
        self.register_buffer("code_weights", torch.tensor(code_weights, dtype=torch.float32), persistent=False)

    def forward(self, bev: Tensor, side: Tensor | None = None) -> CenterPointOutput:
        return self.boxes_of(*self.shared_of(bev, side))

    def shared_of(self, bev: Tensor, side: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns what all branches read [B C Y X], and what those of moving things read [B C+side Y X]."""
        bev = self.shared(bev)
        return bev, bev if side is None else torch.cat((bev, side), dim=1)

    def boxes_of(self, bev: Tensor, moving: Tensor) -> CenterPointOutput:
        """Runs the branches of the boxes."""
        heatmap = torch.cat([task["heatmap"](bev) for task in self.branches], dim=1)  # [B K Y X]
        return CenterPointOutput(heatmap, *(
            torch.stack([task[name](moving if name == "velocity" else bev) for task in self.branches], dim=1)
            for name in ATTRIBUTES))

    def loss(self, raw: CenterPointOutput, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compares with `CenterPointCoder.encode`'s targets; unknown (NaN) numbers cost and teach nothing.

        Returns:
            loss_heatmap and loss_box, sums over the tasks; or taskN.loss_heatmap, taskN.loss_offset, ..
        """
        heat = self._heatmap_losses(raw.heatmap, targets["heatmap"])  # [G]
        parts = dict(zip(ATTRIBUTES, self._box_losses(raw, targets).split(tuple(ATTRIBUTES.values()), dim=1)))
        if not self.loss_by_attribute:
            return dict(loss_heatmap=heat.sum(), loss_box=sum(part.sum() for part in parts.values()))
        losses = {}
        for task in range(len(self.tasks)):
            losses[f"task{task}.loss_heatmap"] = heat[task]
            losses.update({f"task{task}.loss_{name}": part[task].sum() for name, part in parts.items()})
        return losses

    def _heatmap_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Returns the focal loss of each task [G] over its number of centres."""
        counts = [len(task) for task in self.tasks]
        centers = torch.stack([(task == 1).sum() for task in target.split(counts, dim=1)])
        apart = torch.stack([gaussian_focal(*pair) for pair in zip(logits.split(counts, 1), target.split(counts, 1))])
        return self.heatmap_weight * apart / mean_count(centers)

    def _box_losses(self, raw: CenterPointOutput, targets: dict[str, Tensor]) -> Tensor:
        """Returns the L1 loss of each task and number [G 10] over the task's number of boxes."""
        codes = torch.cat([getattr(raw, name) for name in ATTRIBUTES], dim=2).flatten(3)  # [B G 10 Y*X]
        place = targets["cells"].unsqueeze(2).expand(-1, -1, codes.shape[2], -1)  # [B G 10 M]
        found, wanted = at_least_float32(codes.gather(3, place)), targets["codes"].transpose(2, 3)  # [B G 10 M]
        known = targets["used"].unsqueeze(2) & torch.isfinite(wanted)
        # Zeros before the difference: 0 times NaN is NaN, in values and in gradients.
        apart = torch.where(known, (found - torch.where(known, wanted, 0.0)).abs(), 0.0).sum(dim=(0, 3))  # [G 10]
        boxes = mean_count(targets["used"].sum(dim=(0, 2)))  # [G]
        return self.box_weight * apart * self.code_weights / boxes[:, None]

    @torch.no_grad()
    def predict(self, raw: CenterPointOutput) -> list[Detections3D]:
        return self.coder.decode(raw)
