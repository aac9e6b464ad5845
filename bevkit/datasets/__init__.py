"""Data sets of clips, their augmentation and sampling."""

from bevkit.datasets.images import ImageLoader
from bevkit.datasets.nuscenes import NuScenesClips

__all__ = ["ImageLoader", "NuScenesClips"]
