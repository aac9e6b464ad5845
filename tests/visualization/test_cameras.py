"""Boxes are drawn where the rig projects them, in the cameras that see them, arranged as on the vehicle."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bevkit.structures import CameraRig
from bevkit.visualization import cameras
from tests.visualization.conftest import NAMES, SIZE, boxes_at, camera_rig


def blank(count: int) -> list[np.ndarray]:
    return [np.zeros((*SIZE, 3), dtype=np.uint8) for _ in range(count)]


def extent(image: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(image.any(axis=-1))
    return columns.min(), columns.max(), rows.min(), rows.max()


def test_rows_as_on_the_vehicle(rig: CameraRig) -> None:
    assert [[NAMES[index] for index in row] for row in cameras.layout(rig)] == [
        ["CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"], ["CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"]]


@pytest.mark.parametrize("headings, rows", [((0.0,), [[0]]), ((180.0,), [[0]]), ((0.0, 120.0, -120.0), [[0], [1, 2]])])
def test_any_number_of_cameras(headings: tuple[float, ...], rows: list[list[int]]) -> None:
    rig = camera_rig(headings)
    assert cameras.layout(rig) == rows
    size = cameras.tile_size(rig, 326)
    images, rig = cameras.resized(blank(len(headings)), rig, size)
    assert cameras.arrange(images, rig).shape[:2] == (size[0] * len(rows) + 6 * (len(rows) - 1),
                                                      size[1] * max(map(len, rows)) + 6 * (max(map(len, rows)) - 1))


def test_a_box_is_drawn_where_the_rig_projects_it(rig: CameraRig) -> None:
    boxes = boxes_at((12.0, 1.0))
    drawn = cameras.draw_boxes(blank(6), rig, boxes)
    assert [image.any() for image in drawn] == [True, False, False, False, False, False]
    pixels, _, _ = rig.project(boxes.corners[0])
    u, v = pixels[0].T.numpy()
    assert extent(drawn[0]) == pytest.approx((u.min(), u.max(), v.min(), v.max()), abs=1.5)


def test_the_rig_decides(rig: CameraRig) -> None:
    # A mirrored image with its rig mirrored too shows the box on the other side.
    mirror = torch.tensor([[-1.0, 0, SIZE[1] - 1], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    mirrored = replace(rig, image_aug=mirror @ rig.image_aug)
    boxes = boxes_at((12.0, 2.0))
    left, right, _, _ = extent(cameras.draw_boxes(blank(6), rig, boxes)[0])
    assert right < SIZE[1] / 2
    flipped = extent(cameras.draw_boxes(blank(6), mirrored, boxes)[0])
    assert flipped[:2] == pytest.approx((SIZE[1] - 1 - right, SIZE[1] - 1 - left), abs=1)


def test_resizing_takes_the_rig_along(rig: CameraRig) -> None:
    boxes = boxes_at((12.0, 1.0))
    before = extent(cameras.draw_boxes(blank(6), rig, boxes)[0])
    images, large = cameras.resized(blank(6), rig, (270, 480))
    after = extent(cameras.draw_boxes(images, large, boxes)[0])
    assert [(value + 0.5) / 3 - 0.5 for value in after] == pytest.approx(before, abs=1)


def test_edges_are_cut_at_the_camera_plane() -> None:
    segments = np.array([[[0.0, 0, -1], [0, 0, 1]], [[1.0, 0, 2], [1, 0, 3]], [[0.0, 0, -2], [0, 0, -1]]])
    cut = cameras.cut_at(segments, near=0.5)
    assert np.allclose(cut, [[[0, 0, 0.5], [0, 0, 1]], [[1, 0, 2], [1, 0, 3]]])


def test_a_box_around_the_camera_does_not_break_the_picture(rig: CameraRig) -> None:
    drawn = cameras.draw_boxes(blank(6), rig, boxes_at((0.0, 0.0), (1.0, 0.5), size=(6.0, 4.0, 3.0)))
    assert all(image.shape == (*SIZE, 3) for image in drawn) and drawn[0].any()
    assert not any(image.any() for image in cameras.draw_boxes(blank(6), rig, boxes_at()))


def test_normalised_images_are_refused() -> None:
    with pytest.raises(TypeError, match="before the preprocessor"):
        cameras.pictures(torch.zeros(1, 3, 4, 4))
