"""Data sets of clips, their order and their augmentation."""

from bevkit.datasets.augment import BEVJitter, GridMask, Photometric
from bevkit.datasets.foreground import ForegroundMap
from bevkit.datasets.images import ImageLoader
from bevkit.datasets.lidar import LidarDepthMap
from bevkit.datasets.nuscenes import NuScenesClips
from bevkit.datasets.past_targets import PastTargets
from bevkit.datasets.sampler import ClassBalancedSampler

__all__ = ["BEVJitter", "ClassBalancedSampler", "ForegroundMap", "GridMask", "ImageLoader", "LidarDepthMap",
           "NuScenesClips", "PastTargets", "Photometric"]
