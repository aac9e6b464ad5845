"""From past and present BEV features to one."""

from bevkit.models.temporal.base import RecurrentFusion, TemporalFusion, WindowFusion
from bevkit.models.temporal.history import HistoryStack
from bevkit.models.temporal.recurrent import RecurrentMemory
from bevkit.models.temporal.spatiotemporal import AlignAndStack
from bevkit.models.temporal.temporal_blocks import SpatioTemporalFusion

__all__ = ["AlignAndStack", "HistoryStack", "RecurrentFusion", "RecurrentMemory", "SpatioTemporalFusion",
           "TemporalFusion", "WindowFusion"]
