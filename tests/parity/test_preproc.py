"""Image preparation against FIERY's: resize, crop, intrinsics."""

import numpy as np
import pytest
import torch

from bevkit.datasets.images import ImagePlan, finish, resize, resize_pil


def plan_of(data: dict, case: str) -> ImagePlan:
    left, top, right, bottom = data[case]["crop"]
    columns, rows = data[case]["resize_dims"]
    return ImagePlan(tuple(data["image"].shape[:2]), (rows, columns), (left, top), (bottom - top, right - left),
                     scale=data[case]["scale"])


@pytest.mark.parametrize("case", ["a", "pad"])
def test_pixels_equal_fiery(golden, case):
    data = golden("instance/fiery_preproc.pt")
    plan = plan_of(data, case)
    planes = finish(resize_pil(data["image"].numpy(), plan.resized), plan)
    assert np.array_equal(planes.transpose(1, 2, 0), data[case]["pil"].numpy())
    config = data["meta"]["config"]
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    normalised = (torch.from_numpy(planes.copy()).float() / 255 - mean) / std
    assert torch.allclose(normalised, data[case]["tensor"], atol=1e-6)


@pytest.mark.parametrize("case", ["a", "pad"])
def test_default_resize_is_within_one_grey_value_of_fiery(golden, case):
    data = golden("instance/fiery_preproc.pt")
    plan = plan_of(data, case)
    planes = finish(resize(data["image"].numpy(), plan.resized), plan)
    assert np.abs(planes.transpose(1, 2, 0).astype(int) - data[case]["pil"].numpy()).max() <= 1


@pytest.mark.parametrize("case", ["a", "pad"])
def test_corner_matrix_updates_intrinsics_as_fiery(golden, case):
    data = golden("instance/fiery_preproc.pt")
    updated = torch.from_numpy(plan_of(data, case).matrix("corner")) @ data["K"].double()
    assert torch.allclose(updated, data[case]["K"].double(), atol=1e-4)
