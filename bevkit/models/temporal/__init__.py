"""From past and present BEV features to one."""

from bevkit.models.temporal.base import TemporalFusion
from bevkit.models.temporal.spatiotemporal import AlignAndStack

__all__ = ["AlignAndStack", "TemporalFusion"]
