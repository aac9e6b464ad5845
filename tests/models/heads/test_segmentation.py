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


def test_prediction_is_what_the_coder_reads():
    class Coder:
        def decode(self, raw):
            return [raw.segmentation.shape]

    head = SegmentationHead(GRID, 6, coder=Coder())
    assert head.predict(SegmentationOutput(torch.zeros(1, 1, 2, *GRID.shape))) == [(1, 1, 2, *GRID.shape)]
