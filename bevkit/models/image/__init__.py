"""Image backbones and necks."""

from bevkit.models.image.encoder import ImageEncoder
from bevkit.models.image.necks import FPN, SecondFPN, UpsampleConcat
from bevkit.models.image.timm_backbone import TimmBackbone

__all__ = ["FPN", "ImageEncoder", "SecondFPN", "TimmBackbone", "UpsampleConcat"]
