"""BEVFormer: every cell of the map asks the map of before and the cameras what stands on it."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bevkit.geometry import rigid
from bevkit.geometry.warp import affine_theta, warp_affine
from bevkit.models.layers.deformable_attention import (
    CameraAttention,
    FeedForward,
    SamplingNet,
    locations,
    projection,
)
from bevkit.models.layers.map_embedding import MapEmbedding, map_places
from bevkit.models.layers.seen_queries import EveryQuery, SeenQueries, Sight
from bevkit.models.view_transformers.base import RecurrentViewTransformer, ViewOutput
from bevkit.models.view_transformers.pillars import check_pixel_origin, look_at, pillar_points, spread_heights
from bevkit.ops.deformable_attention import Shapes, deformable_attention
from bevkit.registry import MODELS
from bevkit.structures import BEVGrid, CameraRig, EgoMotion

MOTION_NUMBERS = 18


class Motion(NamedTuple):
    """How the ego moved, all float32.

    Attributes:
        theta: [M 2 3] turns the past map to the axes of now, for `warp_affine`.
        shift: [M 2] where a cell then looks in it, (x, y) in fractions of the map.
        numbers: [M 18] in the order of the CAN bus extension of nuScenes as BEVFormer reads it: motion (3, metres,
            global axes), attitude (4, quaternion; heading only), nine of acceleration, turn rate and velocity that
            poses do not tell and that are 0, heading (radians, 0..2 pi), change of heading (degrees).
        known: [M] 0 where a scene begins, else 1.
    """

    theta: Tensor
    shift: Tensor
    numbers: Tensor
    known: Tensor


class TemporalAttention(nn.Module):
    """Cells read the past map and the present one near their own place (Li et al., ECCV 2022, section 3.4).

    Args:
        channels: C.
        heads, points: G and places a head and map.
        dropout: of what is added, in training.
    """

    def __init__(self, channels: int, heads: int, points: int, dropout: float) -> None:
        super().__init__()
        self.sampling = SamplingNet(2 * channels, heads, 2, points)
        self.value = projection(channels)
        self.output = projection(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, position: Tensor, past: Tensor, present: Tensor, shape: tuple[int, int],
                reference: Tensor) -> Tensor:
        """Attends: query, position, past, present [M Q C], shape (Y, X), reference [M Q 2 2] in past and present."""
        heads, samples = self.sampling.heads, self.sampling.samples
        offsets, logits = self.sampling(torch.cat((past, query + position), dim=-1))
        look = locations(reference.repeat_interleave(samples // 2, dim=2),
                         offsets.unflatten(2, (heads, samples, 2)), [shape, shape])  # [M Q G 2*P 2]
        # Each map has its own softmax; the mean of the two is taken by halving the weights.
        weights = logits.unflatten(2, (heads * 2, samples // 2)).softmax(dim=-1) / 2
        values = self.value(torch.cat((past, present), dim=1))  # [M 2*Q C]
        found = deformable_attention(values.unflatten(2, (heads, -1)), [shape, shape], look,
                                     weights.reshape(*weights.shape[:2], heads, samples))
        return query + self.dropout(self.output(found))


class EncoderLayer(nn.Module):
    """Asks the past, asks the cameras, thinks; each step is normalised."""

    def __init__(self, channels: int, heads: int, levels: int, anchors: int, ffn_channels: int, temporal_points: int,
                 points_per_anchor: int, dropout: float) -> None:
        super().__init__()
        self.temporal = TemporalAttention(channels, heads, temporal_points, dropout)
        self.spatial = CameraAttention(channels, heads, levels, anchors, points_per_anchor, dropout)
        self.feed_forward = FeedForward(channels, ffn_channels, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(self, query: Tensor, temporal: tuple[Any, ...], spatial: tuple[Any, ...]) -> Tensor:
        query = self.norms[0](self.temporal(query, *temporal))
        query = self.norms[1](self.spatial(query, *spatial))
        result: Tensor = self.norms[2](self.feed_forward(query))
        return result


@MODELS.register_module()
class BEVFormer(RecurrentViewTransformer):
    """BEVFormer's encoder (Li et al., ECCV 2022, section 3), for any number of rigs at once.

    Where a scene begins, cells look for the past in their own present, as the authors' do.

    Args:
        grid: the BEV grid; its z range is where a cell's anchors stand.
        in_channels: C of the features, the same on all levels, and of the map.
        stride: not used; each level is placed by its own size.
        layers: of the encoder.
        levels: L, scales of image features, finest first.
        cameras: N; each has an embedding.
        heads: G of all attentions.
        anchors: Z heights a cell.
        points_per_anchor: places around an anchor that a head reads in each scale.
        temporal_points: places around a cell that a head reads in each map.
        ffn_channels: hidden channels of the layers' feed-forward part.
        dropout: in training.
        pixel_origin: `pillars.look_at` explains it.
        rotate_center: None turns the past map in metres around the ego. (column, row) turns it around that place, in
            cells as if they were square, as the authors' code does; theirs is (100, 100) for all sizes, which is right
            on a map of 200 x 200 alone.
        export_capacity: which part of the cells a camera may see, and how many cameras a cell, in the exported graph,
            whose plan has fixed shapes; a rig that needs more is refused by `plan`, with the numbers to set.
    """

    motion_inputs = len(Motion._fields)

    def __init__(self, grid: BEVGrid, in_channels: int, stride: int, layers: int = 6, levels: int = 4, cameras: int = 6,
                 heads: int = 8, anchors: int = 4, points_per_anchor: int = 2, temporal_points: int = 4,
                 ffn_channels: int = 512, dropout: float = 0.1, pixel_origin: str = "centre",
                 rotate_center: tuple[float, float] | None = None,
                 export_capacity: tuple[float, int] = (0.4, 3)) -> None:
        super().__init__()
        self.grid = grid
        self.channels = in_channels
        self.heights = spread_heights(grid, anchors)
        self.pixel_origin = check_pixel_origin(pixel_origin)
        self.rotate_center = None if rotate_center is None else (float(rotate_center[0]), float(rotate_center[1]))
        self.queries: EveryQuery | SeenQueries = SeenQueries()
        self.export_capacity = (float(export_capacity[0]), int(export_capacity[1]))
        rows, columns = grid.shape
        self.cells = nn.Parameter(torch.randn(rows * columns, in_channels))  # [Y*X C]
        self.position = MapEmbedding(in_channels, grid.shape)
        self.camera_embedding = nn.Parameter(torch.randn(cameras, in_channels))
        self.level_embedding = nn.Parameter(torch.randn(levels, in_channels))
        self.motion = nn.Sequential(nn.Linear(MOTION_NUMBERS, in_channels // 2), nn.ReLU(inplace=True),
                                    nn.Linear(in_channels // 2, in_channels), nn.ReLU(inplace=True),
                                    nn.LayerNorm(in_channels))
        self.layers = nn.ModuleList(EncoderLayer(in_channels, heads, levels, anchors, ffn_channels, temporal_points,
                                                 points_per_anchor, dropout) for _ in range(layers))

    # ---- calibration: no weights ------------------------------------------------------------------------------------

    @torch.no_grad()
    def plan(self, rig: CameraRig) -> tuple[Tensor, ...]:
        """Returns the anchors' places in the images and which camera sees which cell."""
        cameras = len(self.camera_embedding)
        if rig.num_cameras != cameras:
            raise ValueError(f"rig: expected {cameras} cameras, as many as there are embeddings, got "
                             f"{rig.num_cameras}; set cameras={rig.num_cameras}")
        pillars = look_at(rig, pillar_points(self.grid, self.heights), self.pixel_origin)
        return self.queries.plan(pillars.places, pillars.visible.any(dim=-1))

    @torch.no_grad()
    def motion_plan(self, motion: EgoMotion) -> Motion:
        past, now = motion.global_from_ego.double().unbind(dim=1)
        turn = rigid.yaw_of(rigid.inverse(past) @ now)  # [M], counter-clockwise
        if self.rotate_center is None:
            rotation = rigid.rigid_from(rigid.rotation_about_z(turn), torch.zeros_like(now[:, :3, 3]))
            theta = affine_theta(rotation, self.grid.cells_from_metric_matrix(), self.grid.shape)
        else:
            theta = cell_rotation(turn, self.rotate_center, self.grid.shape)
        # After the turn the past map has the axes of now; what lies at p lies there at p + (how far the ego came).
        rows, columns = self.grid.shape
        extent = now.new_tensor((columns * self.grid.x[2], rows * self.grid.y[2]))
        shift = -(rigid.inverse(now) @ past)[:, :2, 3] / extent
        heading = rigid.yaw_of(now) % (2 * torch.pi)
        zero = torch.zeros_like(heading)
        numbers = torch.stack((*(now - past)[:, :3, 3].unbind(-1), (heading / 2).cos(), zero, zero, (heading / 2).sin(),
                               *(9 * [zero]), heading, torch.rad2deg(turn)), dim=-1)
        return Motion(theta.float(), shift.float(), numbers.float(), (~motion.fresh).float())

    # ---- weights: no calibration ------------------------------------------------------------------------------------

    def forward(self, features: tuple[Tensor, ...], *plan: Tensor, past: Tensor,  # type: ignore[override]
                motion: tuple[Tensor, ...]) -> ViewOutput:
        """Asks the past map [M 1 C Y X] and the features of L levels, each [M*N C H W], for the map [M C Y X]."""
        places, *seen = plan
        motion = Motion(*motion)
        present = self.cells + self.motion(motion.numbers).unsqueeze(1)  # [M Q C]
        rows, shapes = self.image_rows(features, len(places))
        spatial = (rows, shapes, places.flatten(0, 1), self.queries.sight(*seen))
        bev = self.encode(present, past[:, 0], motion, spatial)
        return ViewOutput(bev.transpose(1, 2).unflatten(2, self.grid.shape))

    def encode(self, present: Tensor, past: Tensor, motion: Motion,
               spatial: tuple[Tensor, Shapes, Tensor, Sight]) -> Tensor:
        """Runs the layers on cells [M Q C] with the past map [M C Y X] in its own frame; returns cells [M Q C]."""
        there, shift = motion.known.view(-1, 1, 1) > 0, motion.shift  # [M 1 1], [M 2]
        past = warp_affine(past, motion.theta, mode="nearest").flatten(2).transpose(1, 2)  # [M Q C]
        own = map_places(self.grid.shape, shift)  # [Q 2]
        aimed = own + torch.where(there, shift.unsqueeze(1), 0)  # [M Q 2]
        reference = torch.stack((aimed, own.expand_as(aimed)), dim=2)  # [M Q 2 2]
        position = self.position()
        query = present
        for layer in self.layers:
            # As the authors have it: beside a past map every layer reads the cells as they were before the first.
            temporal = (position, torch.where(there, past, query), torch.where(there, present, query), self.grid.shape,
                        reference)
            query = layer(query, temporal, spatial)
        return query

    def image_rows(self, features: tuple[Tensor, ...], rigs: int) -> tuple[Tensor, Shapes]:
        """Marks features with camera and level and lays them end to end: [M*N S C], and the (H, W) of each level."""
        if len(features) != len(self.level_embedding) or any(level.shape[1] != self.channels for level in features):
            raise ValueError(f"features: expected {len(self.level_embedding)} levels of {self.channels} channels, got "
                             f"{[tuple(level.shape) for level in features]}; set levels, and the neck's channels")
        marks = self.camera_embedding.repeat(rigs, 1).unsqueeze(1)  # [M*N 1 C]
        rows = [level.flatten(2).transpose(1, 2) + marks + mark
                for level, mark in zip(features, self.level_embedding)]
        return torch.cat(rows, dim=1), [tuple(level.shape[2:]) for level in features]  # type: ignore[misc]

    def exportable(self) -> BEVFormer:
        twin = copy.copy(self)  # shallow: the same parameters
        twin.queries = SeenQueries(self.export_capacity)
        return twin


def cell_rotation(turn: Tensor, center: tuple[float, float], shape: tuple[int, int]) -> Tensor:
    """Plans a turn of maps by angles [M] (radians) around (column, row), in cells as if they were square.

    Returns theta [M 2 3] for `warp_affine`: what torchvision's ``rotate`` does with the angle in degrees.
    """
    rows, columns = shape
    cos, sin = turn.cos(), turn.sin()
    x, y = center[0] - columns / 2, center[1] - rows / 2  # in cells from the middle of the map
    # Cell p of the turned map reads R (p - center) + center; then to the map's half extents.
    shift_x, shift_y = x - cos * x + sin * y, y - sin * x - cos * y
    entries = (cos, -sin * rows / columns, 2 * shift_x / columns, sin * columns / rows, cos, 2 * shift_y / rows)
    return torch.stack(entries, dim=-1).reshape(*turn.shape, 2, 3)
