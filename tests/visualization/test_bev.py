"""What is ahead is drawn above the ego, what is left to its left, at the pixel that the metres say."""

import numpy as np
import pytest

from bevkit.structures import BEVGrid
from bevkit.visualization import bev
from bevkit.visualization.bev import BEVCanvas
from tests.visualization.conftest import boxes_at


def middle_of(changed: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(changed)
    return columns.mean() + 0.5, rows.mean() + 0.5


def test_forward_is_up_and_left_is_left(grid: BEVGrid) -> None:
    canvas = BEVCanvas(grid, 400)
    ego, ahead, left = canvas.pixels(((0.0, 0.0), (10.0, 0.0), (0.0, 5.0)))
    assert ahead[0] == ego[0] and ahead[1] == ego[1] - 10 * canvas.pixels_per_metre
    assert left[1] == ego[1] and left[0] == ego[0] - 5 * canvas.pixels_per_metre


def test_every_cell_gets_a_whole_number_of_pixels(grid: BEVGrid) -> None:
    canvas = BEVCanvas(grid, 390)
    assert canvas.shape == (80 * 5, 48 * 5)  # x extent up, y extent across
    numbers = np.arange(grid.cells).reshape(grid.shape)
    assert np.unique(canvas.spread(numbers), return_counts=True)[1].tolist() == [25] * grid.cells


@pytest.mark.parametrize("place", [(10.0, 0.0), (-6.0, 3.0), (4.0, -8.0)])
def test_boxes_and_maps_land_on_the_same_pixels(grid: BEVGrid, place: tuple[float, float]) -> None:
    canvas = BEVCanvas(grid, 400)
    ids = np.zeros(grid.shape, dtype=np.int64)
    ids[grid.crop((place[0] - 2, place[0] + 2), (place[1] - 1, place[1] + 1))] = 7
    empty = bev.ground(canvas)
    painted = (bev.draw_ids(empty.copy(), canvas, ids) != empty).any(axis=-1)
    assert middle_of(painted) == pytest.approx(tuple(canvas.pixels(place)), abs=0.01)
    outlined = (bev.draw_boxes(empty.copy(), canvas, boxes_at(place)) != empty).any(axis=-1)
    rows, columns = np.nonzero(outlined)
    middle = ((columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2)
    assert middle == pytest.approx(tuple(canvas.pixels(place)), abs=1.0)


def test_colours_are_stable_and_far_apart() -> None:
    colors = bev.instance_colors(np.arange(1, 13)).astype(int)
    assert np.array_equal(bev.instance_colors(np.array([[3, 9]]))[0], colors[[2, 8]])
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=-1) + 1000 * np.eye(12, dtype=int)
    assert distances.min() > 40


def test_heat_is_dark_at_zero_and_bright_at_one(grid: BEVGrid) -> None:
    canvas = BEVCanvas(grid, 240)
    probability = np.zeros(grid.shape)
    probability[:, 60:] = 1.0
    picture = bev.draw_heat(bev.ground(canvas), canvas, probability)
    forward_cells = picture[: 20 * canvas.shape[0] // 80]
    assert forward_cells.mean() > 180
    assert np.array_equal(picture[100:], bev.ground(canvas)[100:])


def test_flow_shows_where_things_go(grid: BEVGrid) -> None:
    # Backward flow (2, 0): the cell came from two cells ahead, so it moves back, one metre.
    canvas, flow = BEVCanvas(grid, 400), np.zeros((2, *grid.shape))
    valid = np.zeros(grid.shape, dtype=bool)
    valid[20:24, 50:58] = True
    flow[0][valid] = 2.0
    empty = bev.ground(canvas)
    picture = bev.draw_flow(empty.copy(), canvas, flow, valid, ids=valid.astype(int))
    backwards = bev.flow_colors(np.array([-1.0, 0.0]), 1.0)
    shown = picture[canvas.spread(valid)]
    assert np.median(shown, axis=0) == pytest.approx(0.9 * backwards + 0.1 * np.array(bev.GROUND), abs=1)
    assert (picture[-50:, -50:] != empty[-50:, -50:]).any()  # the legend


def test_rings_are_round_numbers() -> None:
    for reach, step in ((15.0, 5.0), (24.0, 5.0), (50.0, 10.0), (51.2, 10.0), (100.0, 20.0)):
        assert bev.ring_step(BEVGrid((-reach, reach, 0.1), (-reach, reach, 0.1))) == step
