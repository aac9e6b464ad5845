"""Heads of the future: instance prediction."""

from bevkit.models.future.base import FutureHead
from bevkit.models.future.distributions import Gaussian, LatentDistribution, kl_divergence
from bevkit.models.future.efficient import EfficientPredictionHead
from bevkit.models.future.fiery import FieryFrame, FieryHead, FieryOutput
from bevkit.models.future.fiptr import FipTRHead, FipTROutput
from bevkit.models.future.instance_flow import InstanceFlowHead, InstanceFlowOutput
from bevkit.models.future.powerbev import PowerBEVHead
from bevkit.models.future.predictors import ConvGRUCell, ConvGRUPredictor, FlowWarpPredictor

__all__ = ["ConvGRUCell", "ConvGRUPredictor", "EfficientPredictionHead", "FieryFrame", "FieryHead", "FieryOutput",
           "FipTRHead", "FipTROutput", "FlowWarpPredictor", "FutureHead", "Gaussian", "InstanceFlowHead",
           "InstanceFlowOutput", "LatentDistribution", "PowerBEVHead", "kl_divergence"]
