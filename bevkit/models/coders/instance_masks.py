"""Truth <-> one box and one mask per frame for each instance of the present (FipTR, ECCV 2024, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bevkit.models.coders.boxes import boxes_of, padded
from bevkit.models.coders.id_maps import flow_of_masks, lasting_masks
from bevkit.models.coders.instance_maps import LabelProtocol, build_protocol
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid
from bevkit.structures.classes import CLASSES, VEHICLES, class_indices


@MODELS.register_module()
class InstanceMaskCoder:
    """Instances as boxes of the present, each with a mask in the present and in every future frame.

    Args:
        grid: of the maps.
        protocol: which vehicles are drawn where, as in `InstanceFlowCoder`.
        classes: the class of each score, K names; vehicles of other classes have neither box nor mask.
        max_truth: room for instances in the targets of a sample; the farthest beyond it are left out.
    """

    def __init__(self, grid: BEVGrid, protocol: str | dict | LabelProtocol = "fiptr",
                 classes: Sequence[str] = VEHICLES, max_truth: int = 100) -> None:
        self.grid = grid
        self.protocol = build_protocol(protocol)
        self.classes = tuple(classes)
        self.labels = torch.tensor(class_indices(self.classes, "InstanceMaskCoder.classes"))
        self.max_truth = max_truth

    def encode(self, clip: BEVClip) -> dict[str, Tensor]:
        """Draws the truth of the frames t .. t+F of a clip.

        Returns:
            boxes [A 9] float32 and labels [A] int64 as `QueryBoxCoder` has them, of the instances that the map of the
            present shows, masks [A F+1 Y X] bool, who is missing later stays as it was (A is ``max_truth``);
            flow [F 2 Y X] float32, cells from a frame to the frame before (`flow_of_masks`), of all instances;
            instance [F+1 Y X] int64 for the metric.
        """
        maps = self.protocol(clip, self.grid)
        instance = maps.in_present()[clip.past - 1:]  # [F+1 Y X]
        masks = lasting_masks(instance, len(maps.tracks))  # [I F+1 Y X]
        box, number = self._shown(clip, maps.tracks, masks[:, 0].flatten(1).any(dim=1))
        truth = clip.present.boxes[box]  # type: ignore[index]
        channel = torch.full((len(CLASSES),), -1)
        channel[self.labels] = torch.arange(len(self.labels))
        return dict(boxes=padded(boxes_of(truth), self.max_truth, 0.0),
                    labels=padded(channel[truth.labels], self.max_truth, -1),
                    masks=padded(masks[number], self.max_truth, False),
                    flow=flow_of_masks(masks), instance=instance)

    def _shown(self, clip: BEVClip, tracks: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs the boxes of the present with the instances drawn there: places among both, in order of the ids.

        Args: tracks [I] and drawn [I] of the instances.
        """
        boxes = clip.present.boxes
        assert boxes is not None  # the protocol has said so
        same = boxes.track_ids == tracks.unsqueeze(1)  # [I A]
        same &= drawn.unsqueeze(1) & boxes.vehicle & torch.isin(boxes.labels, self.labels)
        number, box = same.nonzero(as_tuple=True)
        nearest = boxes.centers[box, :2].norm(dim=1).argsort(stable=True)[: self.max_truth].sort().values
        return box[nearest], number[nearest]
