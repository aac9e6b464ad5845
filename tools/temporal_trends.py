"""What the past is worth: the maps of one trained detector, fused in many ways, each way trained and scored alike.

Image encoder and view transformer of a single-frame detector are held: the map of every keyframe is made once and
kept. Each fusion with its BEV encoder and head is then trained on those maps, from the detector's weights, for equally
many steps, and scored on held-out scenes by nuscenes-devkit. What depends on gradients into the image encoder does not
show here.

    python tools/temporal_trends.py configs/synthetic/bevdepth.py CHECKPOINT --train data/world:v1.0-trainval \\
        --held-out data/held_out:v1.0-mini --kept work_dirs/maps --json trends.json
    python tools/temporal_trends.py ... --only single recurrent_8          # some of the ways
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor

from bevkit.cli.benchmarks import machine
from bevkit.datasets.augment import move_ego
from bevkit.datasets.infos import open_index
from bevkit.datasets.nuscenes import NuScenesClips
from bevkit.datasets.past_targets import PastTargets
from bevkit.engine.build import build_model, load_model, resolve
from bevkit.engine.checkpoint import read_checkpoint, weights_of
from bevkit.engine.config import load_config
from bevkit.files import write_atomically
from bevkit.metrics import ForecastMetric, NuScenesDetectionMetric, NuScenesTrackingMetric
from bevkit.models.architectures import DenseBEV
from bevkit.structures import BEVClip, EgoMotion, Trace, collate_clips

SCORES = ("mAP", "NDS", "mATE", "mAVE", "tracking/AMOTA", "forecast/vehicle/minADE", "forecast/vehicle/EPA",
          "steady/vehicle/minADE", "steady/vehicle/EPA")


@dataclass(frozen=True)
class Way:
    """One way to use the past.

    Attributes:
        past: T, keyframes of a clip, the present counted.
        model: what it changes in the detector's config.
        missed: probability that a past keyframe is missing in training.
        tested: the same in each test.
        back: for a training-only branch that finds the objects of the instant before.
        forecast: steps to come whose paths are forecast.
    """

    past: int = 1
    model: dict[str, Any] | None = None
    missed: float = 0.0
    tested: tuple[float, ...] = (0.0,)
    back: bool = False
    forecast: int = 0


def forecasting(way: Way, steps: int = 6) -> Way:
    head = dict(type="ForecastHead", guesses=3, coder=dict(type="ForecastCoder", steps=steps))
    return replace(way, model={**(way.model or {}), "head": head}, forecast=steps)


def parallel(past: int, **model: Any) -> Way:
    stack = dict(type="AlignAndStack", past=past, ego_motion=False, order="newest_first")
    return Way(past + 1, dict(temporal=stack, **model))


def recurrent(past: int, time_channels: int = 8, **options: Any) -> Way:
    return Way(past + 1, dict(temporal=dict(type="RecurrentMemory", time_channels=time_channels)), **options)


HISTORY = (1, 2, 4, 8, 16)
MISSED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
RESIDUAL = dict(type="ResidualMap", blocks=1)
HOP = dict(type="HistoricalObjectLoss", frames=3, channels=64, heads=(4, 2), ffn_channels=(128, 64),
           head=dict(type="CenterPointHead", shared_channels=32, branch_channels=16,
                     coder=dict(type="CenterPointCoder")))
WAYS: dict[str, Way] = {
    "single": Way(),
    **{f"parallel_{past}": parallel(past) for past in HISTORY},
    **{f"recurrent_{past}": recurrent(past) for past in HISTORY},
    "history_8": Way(9, dict(temporal=dict(type="HistoryStack", past=8))),
    "missed_with_time": recurrent(8, missed=0.3, tested=MISSED),
    "missed_without_time": recurrent(8, 0, missed=0.3, tested=MISSED),
    "hop_off": parallel(3, frame_encoder=RESIDUAL),
    "hop_on": Way(4, {**parallel(3, frame_encoder=RESIDUAL).model, "auxiliaries": [HOP]}, back=True),
}
WAYS |= {f"forecast_{name}": forecasting(WAYS[name]) for name in ("single", "parallel_1", "recurrent_8")}


class KeptMaps:
    """The clips of a data set, whose images are the maps that a detector made of them.

    Args:
        dataset: clips without images and targets.
        maps: [R C Y X] of its presents, in their order.
    """

    def __init__(self, dataset: NuScenesClips, maps: np.ndarray) -> None:
        self.dataset, self.maps = dataset, maps
        self.row = {keyframe: row for row, keyframe in enumerate(np.unique(dataset.windows[:, dataset.past - 1]))}

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int, turn: int = 0, mirror: Sequence[bool] = (False, False)) -> tuple[BEVClip, Tensor]:
        """Returns a clip and its maps [T C Y X], mirrored along x and y if asked for."""
        clip = self.dataset[index, turn]
        rows = [self.row[self._keyframe(frame.meta)] for frame in clip.inputs]
        bev = torch.from_numpy(self.maps[rows]).float()
        for axis, (chosen, dimension) in enumerate(zip(mirror, (-1, -2))):
            if chosen:
                turned = torch.eye(4, dtype=torch.float64)
                turned[axis, axis] = -1
                clip, bev = move_ego(clip, turned), bev.flip(dimension)
        return clip, bev

    def _keyframe(self, meta: dict[str, Any]) -> int:
        scene = self.dataset.index.scene_names.index(meta["scene_name"])
        return int(self.dataset.index.scene_start[scene]) + int(meta["keyframe"])


def clips_of(place: str, cfg: Any, past: int, missed: float = 0.0, **options: Any) -> NuScenesClips:
    """Opens DIR:VERSION[:SCENES] as clips; by default without images and targets."""
    dataroot, version, count = [*place.split(":"), ""][:3]
    if count:
        names = open_index(dataroot, version).scene_names
        options["scenes"] = names[: int(count)]
    return NuScenesClips(dataroot, version, past, missed=missed, at_scene_start="repeat",
                         images=dict(cfg.test_dataloader.dataset.images), **{"with_images": False, **options})


@torch.no_grad()
def keep_maps(model: DenseBEV, dataset: NuScenesClips, path: Path, batch: int = 4) -> np.ndarray:
    """Returns the maps [R C Y X] float16 that a model makes of all keyframes; made once, then read from ``path``."""
    if path.exists():
        return np.load(path, mmap_mode="r")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npy")
    maps = np.lib.format.open_memmap(part, "w+", np.float16, (len(dataset), *model.map_shape))
    loader = torch.utils.data.DataLoader(dataset, batch, num_workers=1, collate_fn=collate_clips)
    for first, data in zip(range(0, len(dataset), batch), loader):
        clips = model.data_preprocessor(data)["batch"]
        plan = model.view_plan(clips.rig.flatten(), clips.global_from_ego[:, 0])
        maps[first: first + batch] = model.bev_of(clips.images[:, 0], plan)[0].bev.half().numpy()
    maps.flush()
    part.replace(path)
    return np.load(path, mmap_mode="r")


def kept_name(args: argparse.Namespace, place: str) -> str:
    """Names a file of maps after what they are of, so that those of another detector or world are never taken."""
    stated = (args.config, Path(args.checkpoint).read_bytes(), place)
    return hashlib.sha256(repr(stated).encode()).hexdigest()[:16] + ".npy"


def begin(cfg: Any, way: Way, checkpoint: str) -> DenseBEV:
    """Builds the model of a way; it begins as the detector: where layers grew, what is new weighs nothing."""
    cfg = copy.deepcopy(cfg)
    changes = dict(way.model or {})
    cfg.merge_from_dict(dict(model=dict(head=changes.pop("head", {}))))
    cfg.model.update(dict(auxiliaries=[], temporal=None) | changes)
    model, given = build_model(cfg), weights_of(read_checkpoint(checkpoint))
    for name, own in model.state_dict().items():
        old = given.get(name)
        if old is None:
            continue
        if own.shape == old.shape:
            own.copy_(old)
        elif own.ndim == 4 and own.shape[0] == old.shape[0]:  # more input channels: the present is first
            own.zero_()
            own[:, : old.shape[1]] = old
    return model


def run(model: DenseBEV, rows: list[tuple[BEVClip, Tensor]]) -> tuple[tuple[Tensor, ...], Trace]:
    """Runs a batch of clips with their maps."""
    bev = torch.stack([maps for _, maps in rows])  # [B T C Y X]
    poses = torch.stack([clip.global_from_ego[: clip.past] for clip, _ in rows])
    seconds = torch.tensor([[frame.timestamp for frame in clip.inputs] for clip, _ in rows], dtype=torch.float64)
    if model.frame_encoder is not None:
        bev = model.frame_encoder(bev.flatten(0, 1)).unflatten(0, bev.shape[:2])
    raw, encoded = model.run_maps(bev, EgoMotion.of(poses, seconds, True))
    return raw, Trace((), None, bev, encoded, poses)


def batches(data: KeptMaps, steps: int, size: int, seed: int) -> Iterator[list[tuple[BEVClip, Tensor]]]:
    rng = np.random.default_rng(seed)
    for step in range(steps):
        yield [data.read(int(index), step, rng.random(2) < 0.5) for index in rng.integers(len(data), size=size)]


def train(model: DenseBEV, data: KeptMaps, way: Way, args: argparse.Namespace) -> None:
    """Trains all behind the kept maps: AdamW, one cycle, gradient norm 5, bfloat16."""
    model.train()
    weights = [value for name, value in model.named_parameters()
               if not name.startswith(("image_encoder.", "view_transformer."))]
    optimizer = torch.optim.AdamW(weights, lr=args.lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps)
    coder = model.head.coder
    past_targets = PastTargets(coder, model.grid) if way.back else None
    for step, rows in enumerate(batches(data, args.steps, args.batch, args.seed)):
        targets = [{**(past_targets(clip, None).targets if past_targets else {}), **coder.encode(clip)}
                   for clip, _ in rows]
        targets = {name: torch.stack([one[name] for one in targets]) for name in targets[0]}
        with torch.autocast("cpu", torch.bfloat16):
            raw, trace = run(model, rows)
            losses = model.head.loss(raw, targets)
            for auxiliary in model.auxiliaries:
                losses.update(auxiliary.loss(trace, targets))
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"  step {step:4d}  " + "  ".join(f"{name} {value:.3f}" for name, value in losses.items()),
                  flush=True)


@torch.no_grad()
def score(model: DenseBEV, data: KeptMaps, way: Way, size: int = 8) -> dict[str, float]:
    """Scores a model on all clips officially, in bfloat16; tracks too where the clips are those of a split."""
    model.eval()
    official = [NuScenesDetectionMetric()] + [NuScenesTrackingMetric()] * bool(data.dataset.split)
    paths = [ForecastMetric(way.forecast), ForecastMetric(way.forecast, prefix="steady")] if way.forecast else []
    for metric in official:
        metric.dataset_meta = data.dataset.metainfo
    for first in range(0, len(data), size):
        rows = [data.read(index) for index in range(first, min(first + size, len(data)))]
        with torch.autocast("cpu", torch.bfloat16):
            raw, _ = run(model, rows)
        for (clip, _), found in zip(rows, model.head.predict(raw)):
            for metric in official:
                metric.add(clip.present.meta["sample_token"], clip.present.global_from_ego, found)
            boxes, poses = [frame.boxes for frame in clip.frames], clip.global_from_ego
            for metric, one in zip(paths, (found, replace(found, paths=None))):
                metric.add(boxes[clip.past - 1:], poses[clip.past - 1:], one)
    scores = {name: value for metric in (*official, *paths) for name, value in metric.evaluate(len(data)).items()}
    return {name.removeprefix("nuscenes/"): value for name, value in scores.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config of a single-frame detector")
    parser.add_argument("checkpoint", help="its weights")
    parser.add_argument("--train", required=True, metavar="DIR:VERSION[:N]",
                        help="scenes to train on, the first N or all")
    parser.add_argument("--held-out", required=True, metavar="DIR:VERSION[:N]", help="scenes to score")
    parser.add_argument("--split", help="of the scenes to score, all of which it must hold; then tracks are scored too")
    parser.add_argument("--kept", type=Path, required=True, metavar="DIR", help="folder for the maps")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores here, after every way")
    args = parser.parse_args()
    cfg = resolve(load_config(args.config))
    model = load_model(cfg, args.checkpoint)
    maps = {name: keep_maps(model, clips_of(place, cfg, 1, with_images=True), args.kept / kept_name(args, place))
            for name, place in (("train", args.train), ("held_out", args.held_out))}
    found: dict[str, Any] = dict(machine=machine(), arguments={name: str(value) for name, value in vars(args).items()})
    for name in args.only:
        way, started = WAYS[name], time.monotonic()
        torch.manual_seed(args.seed)
        model = begin(cfg, way, args.checkpoint)
        print(name, flush=True)
        future = dict(future=way.forecast, at_scene_end="unknown")
        train(model, KeptMaps(clips_of(args.train, cfg, way.past, way.missed, **future), maps["train"]), way, args)
        for missed in way.tested:
            clips = clips_of(args.held_out, cfg, way.past, missed, split=args.split, **future)
            held_out = KeptMaps(clips, maps["held_out"])
            label = f"{name} missed {missed:.0%}" if way.missed else name
            found[label] = score(model, held_out, way)
            print(f"{label}: " + "  ".join(f"{key} {found[label][key]:.4f}" for key in SCORES if key in found[label])
                  + f"  ({time.monotonic() - started:.0f} s)", flush=True)
            if args.json:
                write_atomically(args.json, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
