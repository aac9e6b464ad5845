"""Heads of the future: instance prediction."""

from bevkit.models.future.base import FutureHead
from bevkit.models.future.distributions import Gaussian, LatentDistribution, kl_divergence
from bevkit.models.future.fiery import FieryFrame, FieryHead, FieryOutput
from bevkit.models.future.fiptr import FipTRHead, FipTROutput
from bevkit.models.future.powerbev import PowerBEVHead, PowerBEVOutput
from bevkit.models.future.predictors import ConvGRUCell, ConvGRUPredictor, FlowWarpPredictor

__all__ = ["ConvGRUCell", "ConvGRUPredictor", "FieryFrame", "FieryHead", "FieryOutput", "FipTRHead", "FipTROutput",
           "FlowWarpPredictor", "FutureHead", "Gaussian", "LatentDistribution", "PowerBEVHead", "PowerBEVOutput",
           "kl_divergence"]
