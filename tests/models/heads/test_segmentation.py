"""The head of the present, behind the ResNet on the BEV plane."""

import torch

from bevkit.models.bev_encoders import ResNetUNet
from bevkit.models.heads import SegmentationHead, SegmentationOutput
from bevkit.structures import BEVGrid

GRID = BEVGrid(x=(-13, 13, 2), y=(-11, 11, 2))


def test_any_map_size_comes_back_and_gives_losses():
    encoder = ResNetUNet(GRID, 6, stages=(8, 8, 16)).eval()
    head = SegmentationHead(GRID, encoder.channels).eval()
    raw = head(encoder(torch.zeros(2, 6, *GRID.shape)))
    assert raw.segmentation.shape == (2, 1, 2, *GRID.shape)
    losses = head.loss(raw, {"segmentation": torch.zeros(2, 1, *GRID.shape, dtype=torch.int64)})
    assert set(losses) == {"loss_segmentation", "loss_segmentation_uncertainty"}


def test_prediction_marks_what_is_not_background():
    logits = torch.zeros(2, 1, 2, *GRID.shape)
    logits[:, :, 0] = 2
    logits[0, 0, 1, 3, 4] = 5
    first, second = SegmentationHead(GRID, 6).predict(SegmentationOutput(logits))
    assert first.ids.sum() == 1 == first.ids[0, 3, 4] and second.ids.sum() == 0
    assert first.probability[0, 3, 4] > 0.9 > 0.2 > second.probability.max()
