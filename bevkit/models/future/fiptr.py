"""FipTR's head: one query for one instance, with its box and its mask in the present and in every future frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bevkit.geometry.box_codes import Bounds
from bevkit.models.coders.instance_queries import lay_over
from bevkit.models.future.base import FutureHead
from bevkit.models.future.fiptr_layers import FutureMapLayer, MapBranch, MaskBranch
from bevkit.models.layers.map_decoder import MapDecoder
from bevkit.models.layers.map_embedding import MapEmbedding, map_places
from bevkit.models.losses.instance_query import InstanceQueryLoss
from bevkit.registry import MODELS, built
from bevkit.structures.grid import BEVGrid
from bevkit.structures.results import FutureInstances


class FipTROutput(NamedTuple):
    """Of L decoder layers, first to last, Q queries, the present and F future frames:

    scores: [L B Q K] class logits.
    boxes: [L B Q 10] codes of the present as `QueryOutput` has them.
    masks: [B Q F+1 Y X] logits: is this cell the query's in this frame.
    flow: [B F 2 Y X] cells from a cell at t to the centre of its instance at t-1, t = 1 .. F; channel 0 = x, 1 = y.
    """

    scores: Tensor
    boxes: Tensor
    masks: Tensor
    flow: Tensor


class FipTRExport(NamedTuple):
    """What an exported graph returns: scores, boxes and flow as `FipTROutput`, its masks laid over one another.

    probability: [B F+1 Y X] float32 of the query that most surely has an object in a cell.
    query: [B F+1 Y X] int32, its number.
    """

    scores: Tensor
    boxes: Tensor
    probability: Tensor
    query: Tensor
    flow: Tensor


@MODELS.register_module()
class FipTRHead(FutureHead):
    """Predicts instances without any grouping or matching over time (FipTR, ECCV 2024).

    Queries find boxes on the map of the present. Maps of the future are made one from the other: a flow is read off
    the map before, and learned cells of the next map choose by it where they look. The mask of a query in a frame is
    the product of its embedding with that frame's map.

    Args:
        grid: of the BEV map.
        in_channels: C of the map and of the queries.
        future: F, number of future frames; 0 finds the present's instances alone.
        queries: Q.
        layers: of the box decoder.
        future_layers: layers from one map to the next.
        heads, points: G of all attentions, places a head reads on a map.
        ffn_channels: hidden channels of the layers' feed-forward parts.
        classes: K.
        branch_layers: hidden layers of the class and box branches.
        dropout: in training.
        bounds: as `MapDecoder` has them; the authors' are a little wider than their map.
        keep_position: add the position of a cell to what is passed on in each layer of the future maps, as the authors
            do, and not only to what chooses where it looks.
        coder: module or config with ``decode``; needed by `predict` only.
        loss: module or config; `InstanceQueryLoss` by default.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, future: int = 4, queries: int = 500, layers: int = 6,
                 future_layers: int = 4, heads: int = 8, points: int = 4, ffn_channels: int = 512, classes: int = 7,
                 branch_layers: int = 2, dropout: float = 0.1, bounds: Bounds | None = None,
                 keep_position: bool = False, coder: Any = None, loss: Any = None) -> None:
        super().__init__()
        self.keep_position = keep_position
        self.coder = built(coder, grid=grid)
        names = getattr(getattr(self.coder, "labels", None), "classes", None)
        if names is not None and len(names) != classes:
            raise ValueError(f"classes: expected as many as its coder names, {len(names)} ({', '.join(names)}), got "
                             f"{classes}; set classes={len(names)}")
        self.decoder = MapDecoder(grid, in_channels, queries, layers, heads, points, ffn_channels, classes,
                                  branch_layers, dropout, bounds)
        self.cells = nn.Parameter(torch.randn(grid.shape[0] * grid.shape[1], in_channels))  # of a map to come
        self.position = MapEmbedding(in_channels, grid.shape)
        self.flow_branches = nn.ModuleList(MapBranch(in_channels, in_channels // 4, 2) for _ in range(future))
        self.future_layers = nn.ModuleList(
            nn.ModuleList(FutureMapLayer(in_channels, heads, points, ffn_channels, dropout, keep_position)
                          for _ in range(future_layers))
            for _ in range(future))
        self.mask_branches = nn.ModuleList(MaskBranch(in_channels) for _ in range(future + 1))
        self.instance_loss = built(loss) or InstanceQueryLoss()

    @property
    def bounds(self) -> Tensor:
        """Metres within which boxes stand [3 2]."""
        return self.decoder.bounds

    def forward(self, bev: Tensor) -> FipTROutput:
        """Turns a map [B C Y X] into raw outputs: of every decoder layer in training, else of the last one alone."""
        scores, boxes, query = self.decoder.answers(bev)
        maps, flows = self.future_maps(bev)
        masks = torch.stack([branch(query, each) for branch, each in zip(self.mask_branches, maps)], dim=2)
        flow = torch.stack(flows, dim=1) if flows else bev.new_zeros(len(bev), 0, 2, *bev.shape[2:])
        return FipTROutput(scores, boxes, masks, flow)

    def future_maps(self, bev: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Returns the F+1 maps [B C Y X] from the present on, and the flow [B 2 Y X] that led to each future one."""
        shape = (bev.shape[2], bev.shape[3])
        position = self.position().expand(len(bev), -1, -1)  # [B Y*X C]
        places = map_places(shape, position).expand(len(bev), -1, -1)  # [B Y*X 2]
        maps, flows = [bev], []
        for branch, layers in zip(self.flow_branches, self.future_layers):
            flows.append(branch(maps[-1]))
            flow, rows = (each.flatten(2).transpose(1, 2) for each in (flows[-1], maps[-1]))  # [B Y*X 2], [B Y*X C]
            cells = self.cells.expand(len(bev), -1, -1)  # [B Y*X C]
            for layer in layers:
                cells = layer(cells, position, flow, rows, shape, places)
            maps.append(cells.transpose(1, 2).unflatten(2, shape))
        return maps, flows

    def loss(self, raw: FipTROutput, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compares with the targets that `InstanceQueryLoss` names."""
        return self.instance_loss(raw, targets)

    @staticmethod
    def exported(raw: FipTROutput) -> FipTRExport:
        """Reduces raw outputs in the graph: at the published size the masks are 400 MB, what is read of them 1.6 MB."""
        return FipTRExport(raw.scores, raw.boxes, *lay_over(raw), raw.flow)

    @torch.no_grad()
    def predict(self, raw: FipTROutput | FipTRExport) -> list[FutureInstances]:
        return self.coder.decode(raw)
