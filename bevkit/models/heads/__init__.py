"""Heads of the present: detection, forecasting, segmentation, map layers."""

from bevkit.models.heads.bevformer import BEVFormerHead
from bevkit.models.heads.center import CenterPointHead, CenterPointOutput
from bevkit.models.heads.forecast import ForecastHead, ForecastOutput
from bevkit.models.heads.map_layers import MapHead, MapOutput
from bevkit.models.heads.segmentation import SegmentationHead, SegmentationOutput
from bevkit.models.heads.sparse import SparseQueryHead
from bevkit.models.losses.query import QueryLoss, QueryOutput

__all__ = ["BEVFormerHead", "CenterPointHead", "CenterPointOutput", "ForecastHead", "ForecastOutput", "MapHead",
           "MapOutput", "QueryLoss", "QueryOutput", "SegmentationHead", "SegmentationOutput",
           "SparseQueryHead"]
