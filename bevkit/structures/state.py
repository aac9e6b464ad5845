"""What a model remembers between frames, and how the ego moved meanwhile: arguments and results, never attributes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bevkit.checks import expect
from bevkit.structures.tensors import TensorFields


@dataclass(frozen=True)
class EgoMotion(TensorFields):
    """Where B egos were at R past instants and are now.

    Attributes:
        global_from_ego: [B R+1 4 4] float64 poses, oldest first, the present last.
        timestamps: [B R+1] float64 seconds.
        fresh: [B] bool, True where a scene begins with the present: no past may have an influence there.
        projection: [B R+1 N 3 4] float64, how the images of each instant see its own ego frame, for models that look
            into past images anew; None for those that keep maps.
    """

    global_from_ego: Tensor
    timestamps: Tensor
    fresh: Tensor
    projection: Tensor | None = None

    def __post_init__(self) -> None:
        axes = expect("motion.global_from_ego", self.global_from_ego, "B R 4 4")
        expect("motion.timestamps", self.timestamps, "B R", axes)
        expect("motion.fresh", self.fresh, "B", axes)

    @staticmethod
    def of(global_from_ego: Tensor, timestamps: Tensor | None = None, fresh: bool | Tensor = False) -> EgoMotion:
        """Makes the motion over poses [B R+1 4 4]; without timestamps they are half a second apart."""
        count, instants = global_from_ego.shape[:2]
        if timestamps is None:
            timestamps = 0.5 * torch.arange(instants, dtype=torch.float64).to(global_from_ego).expand(count, -1)
        if not isinstance(fresh, Tensor):
            fresh = torch.full((count,), fresh, device=global_from_ego.device)
        return EgoMotion(global_from_ego, timestamps, fresh)

    def newest(self, past: int) -> EgoMotion:
        """Keeps ``past`` past instants and the present."""
        return EgoMotion(self.global_from_ego[:, -1 - past:], self.timestamps[:, -1 - past:], self.fresh,
                         None if self.projection is None else self.projection[:, -1 - past:])


@dataclass(frozen=True)
class TemporalState(TensorFields):
    """The past of B streams; ``None`` in its place means that all of them begin a scene.

    Attributes:
        bev: [B S C Y X] BEV maps of S past instants, oldest first, each in its own ego frame; S may be 0. A sparse
            model keeps image features in its place, [B S cells G C/G], newest first.
        memory: [B C' Y X] what a recurrent fusion keeps, in the ego frame of the last instant; C' may be 0.
        global_from_ego: [B R 4 4] float64 poses of the R last instants, R >= S.
        timestamps: [B R] float64 seconds.
        projection: [B R N 3 4] float64, as `EgoMotion` has it.
    """

    bev: Tensor
    memory: Tensor
    global_from_ego: Tensor
    timestamps: Tensor
    projection: Tensor | None = None

    def __post_init__(self) -> None:
        axes = expect("state.bev", self.bev, "B S C Y X")
        expect("state.memory", self.memory, "B M Y X", axes)
        expect("state.global_from_ego", self.global_from_ego, "B R 4 4", axes)
        expect("state.timestamps", self.timestamps, "B R", axes)

    def motion(self, global_from_ego: Tensor, timestamps: Tensor, fresh: Tensor, projection: Tensor | None = None
               ) -> EgoMotion:
        """Appends the present; where a scene begins the ego was at rest, and its cameras were where they are.

        Args: poses [B 4 4], times [B], fresh [B] (a scene begins), projection [B N 3 4].
        """
        def appended(past: Tensor, now: Tensor) -> Tensor:
            rest = fresh.view(-1, *[1] * (past.ndim - 1))
            return torch.cat((torch.where(rest, now[:, None], past), now[:, None]), dim=1)

        seen = None if projection is None or self.projection is None else appended(self.projection, projection)
        return EgoMotion(appended(self.global_from_ego, global_from_ego), appended(self.timestamps, timestamps), fresh,
                         seen)
