"""mmdet3d's Gaussian radius and drawing."""

import torch

from bevkit.models.coders.heatmaps import draw_peaks, gaussian_radius
from tests.parity.detection import close


def test_radius_and_drawing(golden):
    data = golden("detection/gaussian.pt")
    length, width = torch.tensor(data["inputs"]["lw"], dtype=torch.float64).T
    radii = torch.stack([gaussian_radius(length, width, overlap) for overlap in data["inputs"]["overlaps"]])
    assert close(radii, data["outputs"]["radius"], data["meta"])
    cells, radii = (torch.tensor(part) for part in zip(*data["inputs"]["draws"]))
    drawn = draw_peaks(tuple(data["meta"]["config"]["heatmap_hw"]), cells, radii)
    assert close(drawn, data["outputs"]["heatmap"], data["meta"])
