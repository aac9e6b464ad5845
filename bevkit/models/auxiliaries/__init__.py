"""Parts that are there in training only: they read a pass's intermediates (`Trace`) and add losses."""

from bevkit.models.auxiliaries.foreground import ForegroundLoss
from bevkit.models.auxiliaries.historical_object import HistoricalObjectLoss
from bevkit.models.auxiliaries.lidar_depth import LidarDepthLoss

__all__ = ["ForegroundLoss", "HistoricalObjectLoss", "LidarDepthLoss"]
