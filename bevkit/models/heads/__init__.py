"""Heads of the present: detection and segmentation."""

from bevkit.models.heads.segmentation import SegmentationHead, SegmentationOutput

__all__ = ["SegmentationHead", "SegmentationOutput"]
