"""From camera features to the bird's-eye view."""

from bevkit.models.view_transformers.base import RecurrentViewTransformer, ViewOutput, ViewTransformer
from bevkit.models.view_transformers.bevformer import BEVFormer
from bevkit.models.view_transformers.depth_net import CameraAwareDepthNet, PlainDepthNet
from bevkit.models.view_transformers.forward_backward import ForwardBackward
from bevkit.models.view_transformers.lift_splat import LiftSplat
from bevkit.models.view_transformers.matrixvt import MatrixVT

__all__ = ["BEVFormer", "CameraAwareDepthNet", "ForwardBackward", "LiftSplat", "MatrixVT", "PlainDepthNet",
           "RecurrentViewTransformer", "ViewOutput", "ViewTransformer"]
