"""What the models say about the world."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bevkit.structures.boxes import Boxes3D
from bevkit.structures.tensors import TensorFields


@dataclass(frozen=True)
class Detections3D(TensorFields):
    """Boxes of one instant in the ego frame.

    Attributes:
        boxes: A of them.
        scores: [A] in 0..1.
        paths: [A K F 2] K guesses of where each centre will be in the F next keyframes, metres from where it is now
            along the axes of this ego frame; None where nothing was forecast.
        path_scores: [A K] probabilities of the guesses, None likewise.
    """

    boxes: Boxes3D
    scores: Tensor
    paths: Tensor | None = None
    path_scores: Tensor | None = None


@dataclass(frozen=True)
class BEVMaps(TensorFields):
    """Layers of the map around the ego at one instant.

    Attributes:
        probability: [K Y X] float32 in 0..1.
        inside: [K Y X] bool, cells that are taken to be in the layer.
        layers: the names of the K layers.
    """

    probability: Tensor
    inside: Tensor
    layers: tuple[str, ...]


@dataclass(frozen=True)
class FutureInstances(TensorFields):
    """Instance maps of the present and F future instants, all in the present ego frame.

    Attributes:
        ids: [F+1 Y X] int64, 0 = background, the same object has the same number in every instant.
        probability: [F+1 Y X] of being occupied by a vehicle; None for truth.
        flow: [F+1 2 Y X] backward flow in cells, channel 0 = x (column), 1 = y (row); None where not predicted.
    """

    ids: Tensor
    probability: Tensor | None = None
    flow: Tensor | None = None

    @property
    def occupied(self) -> Tensor:
        """[F+1 Y X] bool."""
        return self.ids > 0
