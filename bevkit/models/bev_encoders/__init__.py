"""Networks on the BEV plane."""

from bevkit.models.bev_encoders.residual_fpn import ResidualFPN
from bevkit.models.bev_encoders.residual_map import ResidualMap
from bevkit.models.bev_encoders.resnet_pyramid import ResNetPyramid
from bevkit.models.bev_encoders.resnet_unet import ResNetUNet

__all__ = ["ResNetPyramid", "ResNetUNet", "ResidualFPN", "ResidualMap"]
