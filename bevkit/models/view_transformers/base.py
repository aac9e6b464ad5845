"""The contract of every view transformer: calibration in `plan`, weights in `forward`."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from bevkit.structures import CameraRig


class ViewOutput(NamedTuple):
    """bev [M C Y X], and the depth distribution [M*N D H W] that was used, None where there is none."""

    bev: Tensor
    depth: Tensor | None


class ViewTransformer(nn.Module):
    """Turns camera features into a bird's-eye-view map.

    A subclass sets ``channels`` (C of the map) and implements `plan` and `forward`. M counts rigs: batch times time.
    """

    channels: int

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
