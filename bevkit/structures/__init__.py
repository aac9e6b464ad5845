"""The nouns: frozen dataclasses of tensors that travel through the toolkit."""

from bevkit.structures.boxes import Boxes3D
from bevkit.structures.cameras import CameraRig
from bevkit.structures.frame import KEYFRAME_SECONDS, BEVBatch, BEVClip, BEVFrame, collate_clips
from bevkit.structures.grid import BEVGrid
from bevkit.structures.paths import steady_paths, true_paths
from bevkit.structures.results import BEVMaps, Detections3D, FutureInstances
from bevkit.structures.state import EgoMotion, TemporalState
from bevkit.structures.trace import Trace

__all__ = ["KEYFRAME_SECONDS", "BEVBatch", "BEVClip", "BEVFrame", "BEVGrid", "BEVMaps", "Boxes3D", "CameraRig",
           "Detections3D", "EgoMotion", "FutureInstances", "TemporalState", "Trace", "collate_clips", "steady_paths",
           "true_paths"]
