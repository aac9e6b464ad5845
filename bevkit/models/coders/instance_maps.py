"""Label protocols: from the boxes of a clip to maps of instance ids.

They differ in which vehicles a map shows, and where. `NativeMaps` draws the truth as it is. `PowerBEVMaps`,
`FieryMaps` and `FipTRMaps` make the edits on which the published numbers of these systems rest; numbers of different
protocols must not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bevkit.geometry import rigid
from bevkit.geometry.boxes import corners
from bevkit.geometry.raster import fill_polygons
from bevkit.geometry.warp import affine_theta_fiery, affine_theta_fiptr, expect_centred, warp_affine
from bevkit.models.coders.boxes import Range, inside
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid, Boxes3D

REMEDY = "use protocol=native or powerbev, which draw each frame where it is seen from the present"


class InstanceMaps(NamedTuple):
    """Maps as they were drawn, and how to bring them to the present.

    Attributes:
        ids: [S Y X] int64, S = T+F frames oldest first, 0 = background.
        tracks: [I] int64, the track id of each instance, in the order of the ids 1 .. I.
        to_present: [S 2 3] plans (`warp_affine`) that bring each map to the present; None: all are drawn there.
        to_previous: [S-1 2 3] plans that bring map t+1 to frame t; None: as above.
    """

    ids: Tensor
    tracks: Tensor
    to_present: Tensor | None = None
    to_previous: Tensor | None = None

    def in_present(self) -> Tensor:
        """Returns the ids [S Y X] int64 in the present frame."""
        return warp_maps(self.ids, self.to_present)


class LabelProtocol(Protocol):
    """Draws the vehicles of a clip."""

    def __call__(self, clip: BEVClip, grid: BEVGrid) -> InstanceMaps: ...


def warp_maps(maps: Tensor, theta: Tensor | None) -> Tensor:
    """Brings maps [S Y X] or [S C Y X] of any number type to other frames by nearest sampling; None leaves them."""
    if theta is None:
        return maps
    channels = maps if maps.dim() == 4 else maps.unsqueeze(1)  # [S C Y X]
    return warp_affine(channels.float(), theta.float(), mode="nearest").to(maps.dtype).view_as(maps)


def frame_boxes(clip: BEVClip, drop_invisible: bool) -> list[Boxes3D]:
    """Returns the vehicles of every frame, each in its own ego frame; raises ValueError where a frame has no truth.

    Visibility level 1 (less than 40 % seen) may be dropped; 0, unknown, counts as visible.
    """
    chosen = []
    for index, frame in enumerate(clip.frames):
        if frame.boxes is None:
            raise ValueError(f"labels: frame {index} of the clip has no boxes; a split without annotations "
                             "can only be predicted, so build its data set without a coder")
        keep = frame.boxes.vehicle
        chosen.append(frame.boxes[keep & (frame.boxes.visibility != 1) if drop_invisible else keep])
    return chosen


def upright_yaws(level_from_ego: Tensor, yaws: Tensor) -> Tensor:
    """Returns the yaws [A] in a level frame of boxes that stand upright there and show ``yaws`` in a tilted ego frame.

    Exact where `transform_yaw` is not: the heading seen in the ego frame is lifted back to the horizontal first.
    """
    linear = level_from_ego[:3, :3]
    x, y = yaws.cos(), yaws.sin()
    heading = torch.stack((x, y, -(linear[2, 0] * x + linear[2, 1] * y) / linear[2, 2]), dim=-1)
    turned = heading @ linear.T
    return torch.atan2(turned[:, 1], turned[:, 0])


def footprints(boxes: Boxes3D, target_from_ego: Tensor, upright: bool) -> Tensor:
    """Returns the bottom corners [A 4 2] (x, y in metres) of ego boxes in another frame.

    Args:
        boxes: boxes in an ego frame.
        target_from_ego: [4 4].
        upright: the target frame is level and the boxes stand upright in it.
    """
    moved = boxes.moved(target_from_ego)
    yaws = upright_yaws(target_from_ego, boxes.yaws) if upright else moved.yaws
    return corners(moved.centers, moved.sizes, yaws)[:, :4, :2]


def drawing_poses(clip: BEVClip, level_ego: bool) -> Tensor:
    """Returns global_from_drawing [S 4 4]: the frames on whose x-y planes the maps lie."""
    return rigid.level(clip.global_from_ego) if level_ego else clip.global_from_ego


@MODELS.register_module()
@dataclass(frozen=True)
class NativeMaps:
    """Draws every vehicle where its box is, in the present frame.

    Attributes:
        level_ego: draw on the horizontal plane instead of the plane of the (slightly tilted) ego frame.
        drop_invisible: leave out boxes of visibility level 1.
        rounding: how corners become cells (`bevkit.geometry.raster.ROUNDINGS`).
    """

    level_ego: bool = False
    drop_invisible: bool = True
    rounding: str = "center"

    def __call__(self, clip: BEVClip, grid: BEVGrid) -> InstanceMaps:
        present_from_global = rigid.inverse(drawing_poses(clip, self.level_ego)[clip.past - 1])
        return draw(grid, frame_boxes(clip, self.drop_invisible), present_from_global @ clip.global_from_ego,
                    self.level_ego, self.rounding)


def draw(grid: BEVGrid, boxes: Sequence[Boxes3D], target_from_ego: Tensor, upright: bool, rounding: str,
         scan: str = "y") -> InstanceMaps:
    """Draws the boxes of S frames on a map each, ids counted from 1 in order of first appearance.

    Args:
        boxes: of every frame, each in its ego frame.
        target_from_ego: [S 4 4], to the frames on whose x-y planes they are drawn.
        upright: as in `footprints`.
        rounding, scan: as in `bevkit.geometry.raster.fill_polygons`.
    """
    ids: dict[int, int] = {}
    maps = []
    for matrix, part in zip(target_from_ego, boxes):
        numbers = torch.tensor([ids.setdefault(track, len(ids) + 1) for track in part.track_ids.tolist()],
                               dtype=torch.int64)
        cells = grid.cells_from_metric(footprints(part, matrix, upright))
        maps.append(fill_polygons(grid.shape, cells, numbers, rounding, scan))
    return InstanceMaps(torch.stack(maps), torch.tensor(list(ids), dtype=torch.int64))


@MODELS.register_module()
@dataclass(frozen=True)
class FieryMaps:
    """Draws every frame in its own ego frame and warps it to the present by nearest sampling (FIERY, ICCV 2021).

    FIERY and StretchBEV are trained and scored on such maps.

    Attributes:
        level_ego: draw on the horizontal plane, as the authors do.
        drop_invisible: leave out boxes of visibility level 1, frame by frame.
        rounding: how corners become cells (`bevkit.geometry.raster.ROUNDINGS`).
    """

    level_ego: bool = True
    drop_invisible: bool = True
    rounding: str = "edge"

    def __call__(self, clip: BEVClip, grid: BEVGrid) -> InstanceMaps:
        expect_centred("protocol=fiery", (grid.x, grid.y), REMEDY)
        drawing_from_ego = rigid.inverse(drawing_poses(clip, self.level_ego)) @ clip.global_from_ego  # [S 4 4]
        maps = draw(grid, frame_boxes(clip, self.drop_invisible), drawing_from_ego, self.level_ego, self.rounding)
        extent = (grid.x[1], grid.y[1])
        to_present, to_previous = (affine_theta_fiery(motion, extent) for motion in motions(clip))
        return maps._replace(to_present=to_present, to_previous=to_previous)


def motions(clip: BEVClip) -> tuple[Tensor, Tensor]:
    """Returns present_from_frame [S 4 4] and previous_from_frame [S-1 4 4], the full motions in space."""
    poses = clip.global_from_ego
    return rigid.inverse(poses[clip.past - 1]) @ poses, rigid.inverse(poses[:-1]) @ poses[1:]


@MODELS.register_module()
@dataclass(frozen=True)
class FipTRMaps:
    """Draws every frame in its own ego frame and warps it to the present, as BEVerse and FipTR (ECCV 2024) do.

    Unlike `FieryMaps` it draws on the plane of the ego frame, as it is tilted, only vehicles that have a class, and
    warps with FipTR's numerics.

    Attributes:
        drop_invisible: leave out boxes of visibility level 1, frame by frame.
        rounding: how corners become cells (`bevkit.geometry.raster.ROUNDINGS`).
        center_range: (x, y, z low, x, y, z high) metres in the ego frame of each frame; boxes with centres outside are
            not drawn, as in the authors' training. None draws all, as in their tests.
    """

    drop_invisible: bool = True
    rounding: str = "edge"
    center_range: Range | None = None

    def __call__(self, clip: BEVClip, grid: BEVGrid) -> InstanceMaps:
        expect_centred("protocol=fiptr", (grid.x, grid.y), REMEDY)
        boxes = [part[part.labels >= 0] for part in frame_boxes(clip, self.drop_invisible)]
        if self.center_range is not None:
            boxes = [part[inside(part.centers, self.center_range)] for part in boxes]
        unmoved = torch.eye(4, dtype=torch.float64).expand(len(boxes), 4, 4)
        maps = draw(grid, boxes, unmoved, upright=False, rounding=self.rounding, scan="x")
        to_present, to_previous = (affine_theta_fiptr(motion, (grid.x, grid.y)) for motion in motions(clip))
        return maps._replace(to_present=to_present, to_previous=to_previous)


@MODELS.register_module()
@dataclass(frozen=True)
class PowerBEVMaps:
    """Draws the vehicles seen up to the present, smoothed, in the present frame (PowerBEV, IJCAI 2023).

    Slow vehicles stand still until they have moved ``freeze_within``, a vehicle missing in a later frame stays where it
    was, and a box is drawn only in frames where it lies entirely on the grid, and only if it did so up to the present.
    PowerBEV and Efficient-Instance-Prediction are trained and scored on such maps.

    Attributes:
        level_ego: draw on the horizontal plane, as the authors do.
        drop_invisible: leave out boxes of visibility level 1 until the vehicle has been seen better once.
        rounding: how corners become cells (`bevkit.geometry.raster.ROUNDINGS`).
        freeze_within: metres along each world axis; a shorter step between two frames is not made.
    """

    level_ego: bool = True
    drop_invisible: bool = True
    rounding: str = "edge"
    freeze_within: float = 1.0

    def __call__(self, clip: BEVClip, grid: BEVGrid) -> InstanceMaps:
        columns = self._accepted(clip)
        position, polygons = self._observed(clip, columns)
        polygons, exists = self._smoothed(position, polygons)
        drawn = exists & self._inside(polygons, grid)
        drawn[clip.past:] &= drawn[: clip.past].any(dim=0)
        ids = torch.arange(1, len(columns) + 1)
        cells = grid.cells_from_metric(polygons)
        maps = [fill_polygons(grid.shape, cells[step, keep], ids[keep], self.rounding)
                for step, keep in enumerate(drawn)]
        return InstanceMaps(torch.stack(maps), torch.tensor(list(columns), dtype=torch.int64))

    def _accepted(self, clip: BEVClip) -> dict[int, int]:
        """Returns the track ids of the vehicles seen up to the present, numbered from 0 in order of acceptance."""
        columns: dict[int, int] = {}
        for boxes in frame_boxes(clip, self.drop_invisible)[: clip.past]:
            for track in boxes.track_ids.tolist():
                columns.setdefault(track, len(columns))
        return columns

    def _observed(self, clip: BEVClip, columns: dict[int, int]) -> tuple[Tensor, Tensor]:
        """Returns positions [S I 2] on the axes of the world and footprints [S I 4 2] in the present frame.

        NaN stands where a vehicle has no box, or none that counts yet. Sizes are those of the first box.
        """
        present_from_global = rigid.inverse(drawing_poses(clip, self.level_ego)[clip.past - 1])
        position = torch.full((len(clip.frames), len(columns), 2), torch.nan, dtype=torch.float64)
        polygons = torch.full((len(clip.frames), len(columns), 4, 2), torch.nan, dtype=torch.float64)
        sizes: dict[int, Tensor] = {}
        for step, (every, visible) in enumerate(zip(frame_boxes(clip, False), frame_boxes(clip, self.drop_invisible))):
            known = set(sizes) | set(visible.track_ids.tolist())
            boxes = every[torch.tensor([track in columns and track in known for track in every.track_ids.tolist()],
                                       dtype=torch.bool)]
            tracks = boxes.track_ids.tolist()
            for track, size in zip(tracks, boxes.sizes):
                sizes.setdefault(track, size)
            if tracks:
                boxes = replace(boxes, sizes=torch.stack([sizes[track] for track in tracks]))
            pose, where = clip.frames[step].global_from_ego, [columns[track] for track in tracks]
            position[step, where] = rigid.transform(pose, boxes.centers.double())[:, :2]
            polygons[step, where] = footprints(boxes, present_from_global @ pose, self.level_ego).double()
        return position, polygons

    def _smoothed(self, position: Tensor, polygons: Tensor) -> tuple[Tensor, Tensor]:
        """Lets who is absent, or moves too little, stay as it was; returns footprints and existence [S I]."""
        position, polygons = position.clone(), polygons.clone()
        for step in range(1, len(position)):
            moved = ((position[step] - position[step - 1]).abs() > self.freeze_within).any(dim=-1)
            stays = ~(moved | position[step - 1, :, 0].isnan())  # NaN compares false: absent vehicles have not moved
            position[step, stays], polygons[step, stays] = position[step - 1, stays], polygons[step - 1, stays]
        return polygons, ~position[..., 0].isnan()

    @staticmethod
    def _inside(polygons: Tensor, grid: BEVGrid) -> Tensor:
        """Says which polygons [.. 4 2] lie entirely on the grid, its high edges included: [..] bool."""
        low, high = (polygons.new_tensor([grid.x[side], grid.y[side]]) for side in (0, 1))
        return ((polygons >= low) & (polygons <= high)).flatten(-2).all(dim=-1)


_NAMED = {"native": NativeMaps, "powerbev": PowerBEVMaps, "fiery": FieryMaps, "fiptr": FipTRMaps}


def build_protocol(protocol: str | dict | LabelProtocol) -> LabelProtocol:
    """Returns a label protocol by its name (native, powerbev, fiery, fiptr), its config, or itself."""
    if isinstance(protocol, str):
        if protocol not in _NAMED:
            raise ValueError(f"protocol: expected one of {sorted(_NAMED)} or a config dict, got {protocol!r}")
        return _NAMED[protocol]()
    return MODELS.build(protocol) if isinstance(protocol, dict) else protocol
