"""Synthetic towns with traffic, recorded as a genuine nuScenes data set: no download, no licence, any size."""

from .write import make_world

__all__ = ["make_world"]
