"""Heads of the present: detection, forecasting, segmentation, map layers."""

from bevkit.models.heads.bevformer import BEVFormerHead
from bevkit.models.heads.center import CenterPointHead, CenterPointOutput
from bevkit.models.heads.forecast import ForecastHead, ForecastOutput
from bevkit.models.heads.map_layers import MapHead, MapOutput
from bevkit.models.heads.query import QueryHead, QueryLoss, QueryOutput
from bevkit.models.heads.segmentation import SegmentationHead, SegmentationOutput
from bevkit.models.heads.sparse import SparseQueryHead

__all__ = ["BEVFormerHead", "CenterPointHead", "CenterPointOutput", "ForecastHead", "ForecastOutput", "MapHead",
           "MapOutput", "QueryHead", "QueryLoss", "QueryOutput", "SegmentationHead", "SegmentationOutput",
           "SparseQueryHead"]
