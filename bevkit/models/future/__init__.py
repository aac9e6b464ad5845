"""Heads of the future: instance prediction."""

from bevkit.models.future.base import FutureHead
from bevkit.models.future.powerbev import PowerBEVHead, PowerBEVOutput

__all__ = ["FutureHead", "PowerBEVHead", "PowerBEVOutput"]
