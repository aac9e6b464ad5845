"""Data sets of clips, their augmentation and sampling."""

from bevkit.datasets.augment import BEVJitter, Photometric
from bevkit.datasets.images import ImageLoader
from bevkit.datasets.nuscenes import NuScenesClips
from bevkit.datasets.sampler import ClipSampler

__all__ = ["BEVJitter", "ClipSampler", "ImageLoader", "NuScenesClips", "Photometric"]
