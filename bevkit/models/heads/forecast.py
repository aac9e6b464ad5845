"""CenterPoint's head that also says where each object will go."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.coders.forecast import ForecastCoder, ForecastOutput
from bevkit.models.heads.center import CenterPointHead, branch
from bevkit.models.losses.common import at_least_float32, mean_count
from bevkit.registry import MODELS
from bevkit.structures import KEYFRAME_SECONDS, BEVGrid


@MODELS.register_module()
class ForecastHead(CenterPointHead):
    """Finds boxes and forecasts their paths (VideoBEV, Han et al., RA-L 2024, does so on its fused map).

    A guess is what the predicted velocity would lead to, plus what the branch adds. The paper says nothing of the
    head: the number of guesses, winner takes all with an L1 loss in metres, and cross entropy on which guess is nearest
    are choices.

    Args:
        grid, in_channels, side_channels, options: of `CenterPointHead`; the coder is a `ForecastCoder`.
        guesses: K.
        path_weight: of both losses of the paths.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, guesses: int = 6, path_weight: float = 0.1,
                 coder: Any = None, side_channels: int = 0, **options: Any) -> None:
        super().__init__(grid, in_channels, coder=coder or dict(type="ForecastCoder"), side_channels=side_channels,
                         **options)
        if not isinstance(self.coder, ForecastCoder):
            raise ValueError(f"ForecastHead: expected a ForecastCoder, got {type(self.coder).__name__}")
        self.guesses, self.steps, self.path_weight = guesses, self.coder.steps, path_weight
        shared, width = self.shared[0].out_channels, self.branches[0]["velocity"][0].out_channels
        self.path_branches = nn.ModuleList(
            branch(shared + side_channels, width, guesses * (2 * self.steps + 1)) for _ in self.tasks)
        for one in self.path_branches:  # begins as constant velocity
            nn.init.normal_(one[-1].weight, std=1e-3)
            nn.init.zeros_(one[-1].bias)
        seconds = KEYFRAME_SECONDS * torch.arange(1, self.steps + 1, dtype=torch.float32)
        self.seconds: Tensor
        self.register_buffer("seconds", seconds.repeat_interleave(2).repeat(guesses), persistent=False)  # [K*F*2]

    def forward(self, bev: Tensor, side: Tensor | None = None) -> ForecastOutput:  # type: ignore[override]
        bev, moving = self.shared_of(bev, side)
        found = self.boxes_of(bev, moving)
        maps = torch.stack([one(moving) for one in self.path_branches], dim=1)  # [B G K*(2F+1) Y X]
        added, logits = maps.split((self.guesses * self.steps * 2, self.guesses), dim=2)
        steady = found.velocity.detach().repeat(1, 1, self.guesses * self.steps, 1, 1)
        return ForecastOutput(*found, added + steady * self.seconds[:, None, None].to(added.dtype), logits)

    def loss(self, raw: ForecastOutput, targets: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        """Adds loss_path and loss_path_score; steps of a path that are not known cost and teach nothing."""
        losses = super().loss(raw, targets)  # type: ignore[arg-type]
        place = targets["cells"].unsqueeze(2)  # [B G 1 M]

        def at_centers(maps: Tensor) -> Tensor:
            """Reads [B G c Y X] at the centres: [B G M c]."""
            maps = maps.flatten(3)
            return at_least_float32(maps.gather(3, place.expand(-1, -1, maps.shape[2], -1))).transpose(2, 3)

        paths = at_centers(raw.paths).unflatten(3, (self.guesses, self.steps, 2))  # [B G M K F 2]
        wanted = targets["paths"].unsqueeze(3)  # [B G M 1 F 2]
        known = torch.isfinite(wanted)
        apart = torch.where(known, (paths - torch.where(known, wanted, 0.0)).abs(), 0.0).sum(dim=-1)  # [B G M K F]
        each = apart.sum(dim=-1) / known[..., 0].sum(dim=-1).clamp(min=1)  # [B G M K] mean over the known steps
        nearest = each.detach().argmin(dim=-1)
        learned = targets["used"] & known.any(dim=-1).any(dim=-1).squeeze(3)  # [B G M]
        count = mean_count(learned.sum())
        path = each.gather(3, nearest.unsqueeze(3)).squeeze(3)[learned].sum() / count
        score = F.cross_entropy(at_centers(raw.path_scores)[learned], nearest[learned], reduction="sum") / count
        return {**losses, "loss_path": self.path_weight * path, "loss_path_score": self.path_weight * score}
