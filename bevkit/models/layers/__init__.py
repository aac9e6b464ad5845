"""Layers that several parts of a model share."""

from bevkit.models.layers.aspp import ASPP
from bevkit.models.layers.bottleneck import Bottleneck, conv_norm_relu, even_sized
from bevkit.models.layers.deformable_conv import DeformableConv2d, deformable_conv_reference
from bevkit.models.layers.gates import ChannelGate
from bevkit.models.layers.residual import ResidualStages, residual_stage
from bevkit.models.layers.second_fpn import PyramidConcat

__all__ = ["ASPP", "Bottleneck", "ChannelGate", "DeformableConv2d", "PyramidConcat", "ResidualStages", "conv_norm_relu",
           "deformable_conv_reference", "even_sized", "residual_stage"]
