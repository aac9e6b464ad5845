"""Image backbones and necks."""

from bevkit.models.image.encoder import ImageEncoder
from bevkit.models.image.necks import UpsampleConcat
from bevkit.models.image.timm_backbone import TimmBackbone

__all__ = ["ImageEncoder", "TimmBackbone", "UpsampleConcat"]
