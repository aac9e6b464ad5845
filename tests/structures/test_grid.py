"""The grid: cells, metres, and what it refuses."""

import pytest
import torch

from bevkit.structures import BEVGrid

GRID = BEVGrid(x=(-50.0, 50.0, 0.5), y=(-30.0, 30.0, 0.25), z=(-5.0, 3.0, 2.0))


def test_counts_are_rows_then_columns() -> None:
    assert GRID.shape == (240, 200) and GRID.heights == 4 and GRID.cells == 48000


def test_a_step_that_floats_cannot_hold_still_counts_whole() -> None:
    assert BEVGrid(x=(-15.0, 15.0, 0.15), y=(-9.6, 9.6, 0.1)).shape == (192, 200)


def test_centres_lie_in_the_middle_of_cells() -> None:
    centers = GRID.centers("x")
    assert centers.shape == (200,) and float(centers[0]) == -49.75 and float(centers[-1]) == 49.75
    inside = torch.stack((centers, torch.zeros_like(centers)), -1)
    assert GRID.contains(inside).all()
    assert torch.equal(GRID.cells_from_metric(inside)[:, 0].floor(), torch.arange(200, dtype=torch.float64))


def test_the_low_edge_belongs_to_the_grid_and_the_high_edge_does_not() -> None:
    points = torch.tensor([[-50.0, -30.0, -5.0], [50.0, 0, 0], [0, 30.0, 0], [0, 0, 3.0], [0, 0, 2.9]])
    assert GRID.contains(points).tolist() == [True, False, False, False, True]
    assert GRID.contains(points[:, :2]).tolist() == [True, False, False, True, True]


def test_a_crop_is_the_middle_of_the_map() -> None:
    rows, columns = GRID.crop(x=(-15.0, 15.0), y=(-10.0, 10.0))
    assert (rows, columns) == (slice(80, 160), slice(70, 130))
    assert GRID.centers("x")[columns].abs().max() < 15


def test_lists_from_a_config_are_fine() -> None:
    assert BEVGrid(x=[-1, 1, 1], y=[0, 3, 1]) == BEVGrid(x=(-1.0, 1.0, 1.0), y=(0.0, 3.0, 1.0))


@pytest.mark.parametrize(("axis", "message"), [
    ((-1.0, 1.0), r"grid y: expected \(low, high, step\) in metres"),
    ((1.0, -1.0, 0.5), "grid y: expected low < high and step > 0"),
    ((-1.0, 1.0, 0.0), "grid y: expected low < high and step > 0"),
    ((-1.0, 1.0, 0.3), "grid y: 2 m is not a whole number of 0.3 m cells; change one of them"),
])
def test_what_is_no_grid_is_refused(axis: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BEVGrid(x=(-1.0, 1.0, 1.0), y=axis)
