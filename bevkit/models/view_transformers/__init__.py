"""From camera features to the bird's-eye view."""

from bevkit.models.view_transformers.base import ViewOutput, ViewTransformer
from bevkit.models.view_transformers.lift_splat import LiftSplat

__all__ = ["LiftSplat", "ViewOutput", "ViewTransformer"]
