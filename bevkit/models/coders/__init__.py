"""Between truth and raw outputs, without a network."""

from bevkit.models.coders.center_point import CenterPointCoder
from bevkit.models.coders.forecast import ForecastCoder
from bevkit.models.coders.instance_center import InstanceCenterCoder
from bevkit.models.coders.instance_flow import InstanceFlowCoder
from bevkit.models.coders.instance_maps import FieryMaps, FipTRMaps, NativeMaps, PowerBEVMaps
from bevkit.models.coders.instance_masks import InstanceMaskCoder
from bevkit.models.coders.instance_queries import InstanceQueryCoder
from bevkit.models.coders.map_layers import MapCoder
from bevkit.models.coders.occupancy import OccupancyCoder
from bevkit.models.coders.query_boxes import QueryBoxCoder

__all__ = ["CenterPointCoder", "FieryMaps", "FipTRMaps", "ForecastCoder", "InstanceCenterCoder", "InstanceFlowCoder",
           "InstanceMaskCoder", "InstanceQueryCoder", "MapCoder", "NativeMaps", "OccupancyCoder", "PowerBEVMaps",
           "QueryBoxCoder"]
