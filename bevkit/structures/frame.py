"""One instant, a clip of instants, and a batch of clips."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.registry import FUNCTIONS
from torch import Tensor

from bevkit.checks import expect
from bevkit.structures.boxes import Boxes3D
from bevkit.structures.cameras import CameraRig
from bevkit.structures.tensors import TensorFields

KEYFRAME_SECONDS = 0.5  # nuScenes annotates at 2 Hz


@dataclass(frozen=True)
class BEVFrame(TensorFields):
    """One instant, named by its lidar time.

    Attributes:
        global_from_ego: [4 4] float64; scale and mirror of a BEV augmentation live here too.
        timestamp: seconds.
        boxes: truth in this ego frame, None where there is none (test split).
        images: [N 3 h w] uint8 RGB, None for a future frame or labels without images.
        rig: the cameras of an input frame, also where its images were not loaded; None for a future frame.
        meta: sample_token, scene_name and other names for people and writers; never read by a model.
        points: [P 3] float32, lidar points of an input frame in this ego frame, metres; None where they were not read.
    """

    global_from_ego: Tensor
    timestamp: float
    boxes: Boxes3D | None = None
    images: Tensor | None = None
    rig: CameraRig | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    points: Tensor | None = None


@dataclass(frozen=True)
class BEVClip(TensorFields):
    """T input frames, the present last, then F future frames (for labels), of one scene.

    Attributes:
        frames: T+F frames, oldest first.
        past: T, the number of input frames up to the present.
        targets: what the coder made of the truth, ready for the loss; empty for testing without labels.
        ahead: A, how many of the future frames are inputs too: for models that label recordings, not for driving.
    """

    frames: tuple[BEVFrame, ...]
    past: int
    targets: dict[str, Tensor] = field(default_factory=dict)
    ahead: int = 0

    @property
    def inputs(self) -> tuple[BEVFrame, ...]:
        """T+A frames with images."""
        return self.frames[: self.past + self.ahead]

    @property
    def present(self) -> BEVFrame:
        return self.frames[self.past - 1]

    @property
    def global_from_ego(self) -> Tensor:
        """[T+F 4 4] float64."""
        return torch.stack([frame.global_from_ego for frame in self.frames])


@dataclass(frozen=True)
class BEVBatch(TensorFields):
    """B clips. Axis T counts inputs (present last, but for A frames ahead), T+F all frames.

    Attributes:
        images: [B T+A N 3 h w] uint8, or float once the preprocessor has normalised them.
        rig: leading axes [B T+A].
        global_from_ego: [B T+F 4 4] float64.
        timestamps: [B T+F] float64 seconds.
        boxes: [B][T+F] truth, None where unknown.
        targets: stacked targets of the clips, each [B ..].
        meta: [B][T+F] names.
        ahead: A, how many future frames are inputs too.
    """

    images: Tensor
    rig: CameraRig
    global_from_ego: Tensor
    timestamps: Tensor
    boxes: list[list[Boxes3D | None]]
    targets: dict[str, Tensor]
    meta: list[list[dict[str, Any]]]
    ahead: int = 0

    def __post_init__(self) -> None:
        axes = expect("batch.images", self.images, "B T N 3 h w")
        expect("batch.rig.intrinsics", self.rig.intrinsics, "B T N 3 3", axes)
        axes = expect("batch.global_from_ego", self.global_from_ego, "B TF 4 4", {"B": axes["B"]})
        expect("batch.timestamps", self.timestamps, "B TF", axes)

    @property
    def past(self) -> int:
        """T, the number of input frames up to the present."""
        return self.images.shape[1] - self.ahead

    def __len__(self) -> int:
        return self.images.shape[0]


def _stacked_inputs(clip: BEVClip) -> tuple[Tensor, CameraRig]:
    """Returns a clip's images [T+A N 3 h w] and rig [T+A N ..]."""
    images = [frame.images for frame in clip.inputs if frame.images is not None]
    rigs = [frame.rig for frame in clip.inputs if frame.rig is not None]
    if min(len(images), len(rigs)) < len(clip.inputs):
        raise ValueError("collate: a clip has no images; load the data set with images, or do not batch it")
    return torch.stack(images), CameraRig.stack(rigs)


def collate_clips(clips: list[BEVClip]) -> dict[str, BEVBatch]:
    """Stacks clips to the keyword arguments of a model; raises ValueError when they do not fit together."""
    counts = {(clip.past, clip.ahead, len(clip.frames)) for clip in clips}
    if len(counts) != 1:
        raise ValueError(f"collate: expected one (past, ahead, frames) in a batch, got {sorted(counts)}")
    inputs = [_stacked_inputs(clip) for clip in clips]
    batch = BEVBatch(
        images=torch.stack([images for images, _ in inputs]),
        rig=CameraRig.stack([rig for _, rig in inputs]),
        global_from_ego=torch.stack([clip.global_from_ego for clip in clips]),
        timestamps=torch.tensor([[frame.timestamp for frame in clip.frames] for clip in clips], dtype=torch.float64),
        boxes=[[frame.boxes for frame in clip.frames] for clip in clips],
        targets={name: torch.stack([clip.targets[name] for clip in clips]) for name in clips[0].targets},
        meta=[[frame.meta for frame in clip.frames] for clip in clips],
        ahead=clips[0].ahead,
    )
    return {"batch": batch}


# mmengine resolves a DataLoader's collate_fn in its root registry, whatever the default scope is.
FUNCTIONS.register_module(name="collate_clips", module=collate_clips)
