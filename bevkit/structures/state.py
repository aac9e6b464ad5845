"""What a model remembers between frames: an argument and a return value, never an attribute."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bevkit.checks import expect
from bevkit.structures.tensors import TensorFields


@dataclass(frozen=True)
class TemporalState(TensorFields):
    """The past of a stream; ``None`` in its place means a new scene.

    Attributes:
        bev: [B S C Y X] BEV features of S past instants, oldest first, each in its own ego frame.
        global_from_ego: [B S 4 4] float64 poses of these instants.
        timestamps: [B S] float64 seconds.
    """

    bev: Tensor
    global_from_ego: Tensor
    timestamps: Tensor

    def __post_init__(self) -> None:
        axes = expect("state.bev", self.bev, "B S C Y X")
        expect("state.global_from_ego", self.global_from_ego, "B S 4 4", axes)
        expect("state.timestamps", self.timestamps, "B S", axes)
