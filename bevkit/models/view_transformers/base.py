"""The contract of every view transformer: calibration in `plan`, weights in `forward`."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from bevkit.structures import CameraRig, EgoMotion


class ViewOutput(NamedTuple):
    """What a view transform gives, and what it has thought on the way, for supervision.

    Attributes:
        bev: [M C Y X].
        depth: [M*N D H W] distribution over depths, None where there is none.
        foreground: [M 1 Y X] logits of where something stands, None where it does not ask.
    """

    bev: Tensor
    depth: Tensor | None = None
    foreground: Tensor | None = None


class ViewTransformer(nn.Module):
    """Turns camera features into a bird's-eye-view map.

    A subclass sets ``channels`` (C of the map) and implements `plan` and `forward`. M counts rigs: batch times time.
    """

    channels: int
    past = 0  # how many maps of earlier instants `forward` reads

    def plan(self, rig: CameraRig) -> tuple[Tensor, ...]:
        """Computes all that depends on calibration (rig with leading axis [M]): no weights, on the rig's device.

        A plan may be kept as long as the rig stays the same. Every matrix inverse of the view transform is here.
        """
        raise NotImplementedError

    def forward(self, features: tuple[Tensor, ...], *plan: Tensor) -> ViewOutput:
        """Turns features, finest first, each [M*N C H W], into a map; no calibration and no inverse."""
        raise NotImplementedError

    def exportable(self) -> ViewTransformer:
        """Returns a twin that shares the weights and uses standard ONNX operators only, with a plan of its own.

        The plan's shapes depend on configuration, M and N alone, so that it can be an input of the exported graph.
        """
        return self


class RecurrentViewTransformer(ViewTransformer):
    """A view transformer that also reads the map of the instant before, as BEVFormer does.

    A subclass sets ``motion_inputs`` (how many tensors `motion_plan` returns) and implements `motion_plan` beside
    `plan`, and `forward` with the two more arguments below.
    """

    past = 1
    motion_inputs: int

    def motion_plan(self, motion: EgoMotion) -> tuple[Tensor, ...]:
        """Computes all that depends on how the ego moved since the instant before (poses [M 2 4 4]); has no weights.

        Where a scene begins (``motion.fresh``) the plan says so to `forward`, which then does not let the past (any
        numbers) have an influence.
        """
        raise NotImplementedError

    def forward(self, features: tuple[Tensor, ...], *plan: Tensor, past: Tensor,  # type: ignore[override]
                motion: tuple[Tensor, ...]) -> ViewOutput:
        """As `ViewTransformer.forward`; ``past`` [M 1 C Y X] is the map of the instant before in its own ego frame."""
        raise NotImplementedError
