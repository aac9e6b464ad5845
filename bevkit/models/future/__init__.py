"""Heads of the future: instance prediction."""

from bevkit.models.future.base import FutureHead
from bevkit.models.future.fiptr import FipTRHead, FipTROutput
from bevkit.models.future.powerbev import PowerBEVHead, PowerBEVOutput

__all__ = ["FipTRHead", "FipTROutput", "FutureHead", "PowerBEVHead", "PowerBEVOutput"]
