"""Truth <-> layers of the map around the ego: where one may drive, where vehicles stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bevkit.geometry import rigid
from bevkit.models.coders.instance_maps import LabelProtocol, build_protocol
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid, BEVMaps

TEXEL = 0.1  # metres of a pixel of nuScenes' raster maps
LAYERS = ("drivable", "vehicle")


class FlawlessMaps(NamedTuple):
    """Raw outputs that decode to the truth."""

    maps: Tensor


@MODELS.register_module()
class MapCoder:
    """Layers as masks of the present; a cell may be in several.

    ``drivable`` is nuScenes' raster map at the centres of the cells (it holds the walkways too); the data set must say
    where it is (``raster_maps=True``). ``vehicle`` are the vehicles of the present.

    Args:
        grid: of the maps.
        layers: K names of `LAYERS`.
        protocol: which vehicles are drawn, as in `InstanceFlowCoder`.
        threshold: of the probability, from where on a cell is in a layer.
    """

    def __init__(self, grid: BEVGrid, layers: Sequence[str] = LAYERS,
                 protocol: str | dict | LabelProtocol = "native", threshold: float = 0.5) -> None:
        unknown = [name for name in layers if name not in LAYERS]
        if unknown or not layers:
            raise ValueError(f"MapCoder: expected layers among {', '.join(LAYERS)}, got {', '.join(unknown) or 'none'}")
        if not 0 < threshold < 1:
            raise ValueError(f"MapCoder: expected a threshold between 0 and 1, got {threshold}")
        self.grid, self.layers, self.threshold = grid, tuple(layers), threshold
        self.protocol = build_protocol(protocol)

    def encode(self, clip: BEVClip) -> dict[str, Tensor]:
        """Draws maps [K Y X] float32 of 0 and 1."""
        return dict(maps=torch.stack([getattr(self, f"_{name}")(clip) for name in self.layers]))

    def _vehicle(self, clip: BEVClip) -> Tensor:
        seen = replace(clip, frames=clip.inputs)  # the future may be unknown, and is not drawn
        return (self.protocol(seen, self.grid).in_present()[clip.past - 1] > 0).float()

    def _drivable(self, clip: BEVClip) -> Tensor:
        path = clip.present.meta.get("raster_map")
        if path is None:
            raise ValueError("MapCoder: expected a raster map for the layer drivable, got none; set the data set's "
                             "raster_maps=True, or leave the layer out")
        rows, columns = self.grid.shape
        cells = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), dim=-1) + 0.5
        places = self.grid.metric_from_cells(cells.double().flatten(0, 1))  # [Y*X 2]
        places = torch.cat((places, torch.zeros_like(places[:, :1])), dim=1)
        there = rigid.transform(clip.present.global_from_ego, places)[:, :2].numpy()
        return torch.from_numpy(raster_map(path).at(there)).float().view(rows, columns)

    def flawless(self, targets: dict[str, Tensor]) -> FlawlessMaps:
        """Returns raw outputs that decode to the truth, from the batched targets of `encode`."""
        return FlawlessMaps(20 * targets["maps"] - 10)

    def decode(self, raw: tuple[Tensor, ...]) -> list[BEVMaps]:
        """Reads layer logits [B K Y X]."""
        logits, border = raw[0].detach().float(), math.log(self.threshold / (1 - self.threshold))
        return [BEVMaps(sample.sigmoid(), sample >= border, self.layers) for sample in logits]


class RasterMap:
    """A mask of the world, eight pixels a byte: nuScenes' largest one has 600 million of them.

    Row 0 is north; pixel (column, row) covers x from column * `TEXEL` and y down from the top.
    """

    def __init__(self, path: str) -> None:
        picture = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise ValueError(f"raster map {path}: expected a picture, got something that cannot be read; copy it again")
        self.shape = picture.shape
        self.bits = np.packbits(picture > 0, axis=1)

    def at(self, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Says which points [P 2] (x, y in metres) are on the mask; outside of the picture none is."""
        column = np.floor(places[:, 0] / TEXEL).astype(np.int64)
        row = np.floor(self.shape[0] - places[:, 1] / TEXEL).astype(np.int64)
        inside = (column >= 0) & (row >= 0) & (column < self.shape[1]) & (row < self.shape[0])
        column, row = np.where(inside, column, 0), np.where(inside, row, 0)
        found: NDArray[np.bool_] = inside & ((self.bits[row, column // 8] >> (7 - column % 8)) & 1 > 0)
        return found


@lru_cache(maxsize=64)
def raster_map(path: str) -> RasterMap:
    """Reads a raster map, or returns it from memory: a data set asks for the same few again and again."""
    return RasterMap(path)
