"""The BEV grid: the only place where metres are divided by a cell size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Axis = tuple[float, float, float]


def cell_count(name: str, axis: Axis) -> int:
    """Returns how many cells an axis (low, high, step) has; raises ValueError unless it is a whole, positive number."""
    if len(axis) != 3:
        raise ValueError(f"grid {name}: expected (low, high, step) in metres, got {axis}")
    low, high, step = axis
    if step <= 0 or high <= low:
        raise ValueError(f"grid {name}: expected low < high and step > 0, got {axis}")
    count = (high - low) / step
    if abs(count - round(count)) > 1e-3:
        raise ValueError(f"grid {name}: {high - low:g} m is not a whole number of {step:g} m cells; change one of them")
    return round(count)


@dataclass(frozen=True)
class BEVGrid:
    """A box of cells around the ego: x forward, y left, z up, each as (low, high, step) in metres.

    BEV tensors are [.., C, Y, X]: row = y cell, column = x cell, index 0 at the low edge.
    """

    x: Axis
    y: Axis
    z: Axis = (-10.0, 10.0, 20.0)

    def __post_init__(self) -> None:
        for name in ("x", "y", "z"):
            axis = tuple(float(value) for value in getattr(self, name))
            object.__setattr__(self, name, axis)
            cell_count(name, axis)  # type: ignore[arg-type]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns (Y, X) of a BEV map."""
        return cell_count("y", self.y), cell_count("x", self.x)

    @property
    def heights(self) -> int:
        """Number of z cells."""
        return cell_count("z", self.z)

    @property
    def cells(self) -> int:
        """Number of cells of a BEV map."""
        rows, columns = self.shape
        return rows * columns

    def centers(self, axis: str) -> Tensor:
        """Returns the metric centres of the cells of axis ``"x"``, ``"y"`` or ``"z"``."""
        bounds: Axis = getattr(self, axis)
        low, _, step = bounds
        return low + step * (torch.arange(cell_count(axis, bounds), dtype=torch.float64) + 0.5)

    def cells_from_metric(self, points: Tensor) -> Tensor:
        """Turns metric points [* 2] (x, y) or [* 3] (x, y, z) into continuous cell coordinates of the same order.

        Cell i covers [i, i + 1): floor gives the index of a cell, i + 0.5 is its centre.
        """
        low, step = self._affine(points)
        return (points - low) / step

    def metric_from_cells(self, cells: Tensor) -> Tensor:
        """Undoes `cells_from_metric`."""
        low, step = self._affine(cells)
        return cells * step + low

    def contains(self, points: Tensor) -> Tensor:
        """Says which metric points [* 2] or [* 3] lie on the grid: [*] bool."""
        axes = (self.x, self.y, self.z)[: points.shape[-1]]
        high = points.new_tensor([axis[1] for axis in axes])
        low, _ = self._affine(points)
        return ((points >= low) & (points < high)).all(dim=-1)

    def cells_from_metric_matrix(self) -> Tensor:
        """Returns the 3x3 matrix (float64) that takes homogeneous (x, y, 1) in metres to (column, row, 1) in cells."""
        (x_low, _, x_step), (y_low, _, y_step) = self.x, self.y
        return torch.tensor([[1 / x_step, 0, -x_low / x_step], [0, 1 / y_step, -y_low / y_step], [0, 0, 1]],
                            dtype=torch.float64)

    def crop(self, x: tuple[float, float], y: tuple[float, float]) -> tuple[slice, slice]:
        """Returns the row and column slices of the cells inside x = (low, high), y = (low, high) metres."""
        def part(axis: Axis, bounds: tuple[float, float]) -> slice:
            low, _, step = axis
            return slice(round((bounds[0] - low) / step), round((bounds[1] - low) / step))
        return part(self.y, y), part(self.x, x)

    def _affine(self, points: Tensor) -> tuple[Tensor, Tensor]:
        axes = (self.x, self.y, self.z)[: points.shape[-1]]
        return points.new_tensor([axis[0] for axis in axes]), points.new_tensor([axis[2] for axis in axes])
