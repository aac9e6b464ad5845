"""Maps of one model, made once for every keyframe and kept, behind which other parts are trained and compared.

Image encoder and view transformer are held: what is trained on kept maps sees no images, and a step is cheap.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bevkit.datasets.augment import move_ego
from bevkit.datasets.infos import open_index
from bevkit.datasets.nuscenes import NuScenesClips
from bevkit.engine.build import load_model
from bevkit.models.architectures import DenseBEV
from bevkit.structures import BEVClip, EgoMotion, Trace, collate_clips

Row = tuple[BEVClip, Tensor]


def clips_of(place: str, cfg: Any, past: int, missed: float = 0.0, **options: Any) -> NuScenesClips:
    """Opens DIR:VERSION[:SCENES] as clips; by default without images and targets."""
    dataroot, version, count = [*place.split(":"), ""][:3]
    if count:
        names = open_index(dataroot, version).scene_names
        options["scenes"] = names[: int(count)]
    return NuScenesClips(dataroot, version, past, missed=missed, at_scene_start="repeat",
                         images=dict(cfg.test_dataloader.dataset.images), **{"with_images": False, **options})


def single_frames(place: str, cfg: Any) -> NuScenesClips:
    """Opens every keyframe of a place with its images."""
    return clips_of(place, cfg, 1, with_images=True)


class KeptMaps:
    """The maps [R C Y X] float16 of the keyframes of a data set.

    Args:
        dataset: the keyframes, one frame a clip.
        maps: of them, in their order.
    """

    def __init__(self, dataset: NuScenesClips, maps: np.ndarray) -> None:
        self.maps = maps
        self.row = {keyframe: row for row, keyframe in enumerate(dataset.windows[:, 0].tolist())}
        self._start = dict(zip(dataset.index.scene_names, dataset.index.scene_start.tolist()))

    def read(self, dataset: NuScenesClips, index: int, turn: int = 0, mirror: Sequence[bool] = (False, False)) -> Row:
        """Returns a clip of a data set and the maps of its input frames [T C Y X]; mirrored along x and y if asked."""
        clip = dataset[index, turn]
        rows = [self.row[self._start[frame.meta["scene_name"]] + int(frame.meta["keyframe"])] for frame in clip.inputs]
        bev = torch.from_numpy(self.maps[rows]).float()
        for axis, (chosen, dimension) in enumerate(zip(mirror, (-1, -2))):
            if chosen:
                turned = torch.eye(4, dtype=torch.float64)
                turned[axis, axis] = -1
                clip, bev = move_ego(clip, turned), bev.flip(dimension)
        return clip, bev

    def batches(self, dataset: NuScenesClips, steps: int, size: int, seed: int) -> Iterator[list[Row]]:
        """Draws batches of clips at random, mirrored at random."""
        rng = np.random.default_rng(seed)
        for step in range(steps):
            yield [self.read(dataset, int(index), step, rng.random(2) < 0.5)
                   for index in rng.integers(len(dataset), size=size)]


@torch.no_grad()
def keep_maps(cfg: Any, args: argparse.Namespace, place: str, batch: int = 4) -> KeptMaps:
    """Returns the maps that a detector (``args.checkpoint``) makes of all keyframes of a place; made once, then read.

    The file in ``args.kept`` is named after what the config says, the weights and the keyframes: those of another model
    or world are never taken.
    """
    dataset = single_frames(place, cfg)
    said = json.dumps((cfg.model, cfg.test_dataloader.dataset.images), sort_keys=True, default=str).encode()
    digest = hashlib.sha256(said + Path(args.checkpoint).read_bytes())
    for part in (dataset.index.tokens, dataset.index.global_from_ego, dataset.windows):
        digest.update(np.ascontiguousarray(part).tobytes())
    path = args.kept / f"{digest.hexdigest()[:16]}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part, model = path.with_suffix(".part.npy"), load_model(cfg, args.checkpoint)
        maps = np.lib.format.open_memmap(part, "w+", np.float16, (len(dataset), *model.map_shape))
        loader = torch.utils.data.DataLoader(dataset, batch, num_workers=1, collate_fn=collate_clips)
        for first, data in zip(range(0, len(dataset), batch), loader):
            clips = model.data_preprocessor(data)["batch"]
            plan = model.view_plan(clips.rig.flatten(), clips.global_from_ego[:, 0])
            maps[first: first + batch] = model.bev_of(clips.images[:, 0], plan)[0].bev.half().numpy()
        maps.flush()
        part.replace(path)
    return KeptMaps(dataset, np.load(path, mmap_mode="r"))


def run(model: DenseBEV, rows: list[Row], targets: dict[str, Tensor] | None = None) -> tuple[tuple[Tensor, ...], Trace]:
    """Runs a batch of clips with their maps; targets in training."""
    bev = torch.stack([maps for _, maps in rows])  # [B T C Y X]
    poses = torch.stack([clip.global_from_ego[: clip.past] for clip, _ in rows])
    seconds = torch.tensor([[frame.timestamp for frame in clip.inputs] for clip, _ in rows], dtype=torch.float64)
    if model.frame_encoder is not None:
        bev = model.frame_encoder(bev.flatten(0, 1)).unflatten(0, bev.shape[:2])
    raw, encoded = model.run_maps(bev, EgoMotion.of(poses, seconds, True), targets=targets)
    return raw, Trace((), None, bev, encoded, poses)


def weights_behind(model: DenseBEV) -> list[Tensor]:
    """Returns the weights of all parts behind the maps."""
    return [value for name, value in model.named_parameters()
            if not name.startswith(("image_encoder.", "view_transformer."))]


def stacked(targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([one[name] for one in targets]) for name in targets[0]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what says whose maps are kept, of what, and where."""
    parser.add_argument("config", help="config of a single-frame model whose maps are kept")
    parser.add_argument("checkpoint", help="its weights")
    parser.add_argument("--train", required=True, metavar="DIR:VERSION[:N]",
                        help="scenes to train on, the first N or all")
    parser.add_argument("--held-out", required=True, metavar="DIR:VERSION[:N]", help="scenes to score")
    parser.add_argument("--kept", type=Path, required=True, metavar="DIR", help="folder for the maps")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores here, after every part")
