"""Networks on the BEV plane."""

from bevkit.models.bev_encoders.resnet_unet import ResNetUNet

__all__ = ["ResNetUNet"]
