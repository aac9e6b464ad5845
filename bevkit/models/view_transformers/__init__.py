"""From camera features to the bird's-eye view."""

from bevkit.models.view_transformers.base import RecurrentViewTransformer, ViewOutput, ViewTransformer
from bevkit.models.view_transformers.depth_net import CameraAwareDepthNet, PlainDepthNet
from bevkit.models.view_transformers.lift_splat import LiftSplat

__all__ = ["CameraAwareDepthNet", "LiftSplat", "PlainDepthNet", "RecurrentViewTransformer", "ViewOutput",
           "ViewTransformer"]
