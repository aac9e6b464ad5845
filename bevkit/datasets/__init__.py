"""Data sets of clips, their and their augmentation."""

from bevkit.datasets.augment import BEVJitter, Photometric
from bevkit.datasets.foreground import ForegroundMap
from bevkit.datasets.images import ImageLoader
from bevkit.datasets.lidar import LidarDepthMap
from bevkit.datasets.nuscenes import NuScenesClips

__all__ = ["BEVJitter", "ForegroundMap", "ImageLoader", "LidarDepthMap", "NuScenesClips", "Photometric"]
