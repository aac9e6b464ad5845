"""Heads of the future: instance prediction."""

from bevkit.models.future.base import FutureHead
from bevkit.models.future.efficient import EfficientPredictionHead
from bevkit.models.future.instance_flow import InstanceFlowHead, InstanceFlowOutput
from bevkit.models.future.powerbev import PowerBEVHead

__all__ = ["EfficientPredictionHead", "FutureHead", "InstanceFlowHead", "InstanceFlowOutput", "PowerBEVHead"]
