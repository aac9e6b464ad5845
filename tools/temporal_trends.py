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
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from bevkit.cli.benchmarks import machine
from bevkit.datasets.nuscenes import NuScenesClips
from bevkit.datasets.past_targets import PastTargets
from bevkit.engine.build import build_model, resolve
from bevkit.engine.checkpoint import read_checkpoint, weights_of
from bevkit.engine.config import load_config
from bevkit.files import write_atomically
from bevkit.metrics import ForecastMetric, NuScenesDetectionMetric, NuScenesTrackingMetric
from bevkit.models.architectures import DenseBEV
from tools.kept_maps import KeptMaps, add_arguments, clips_of, keep_maps, run, stacked, weights_behind

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


def train(model: DenseBEV, maps: KeptMaps, clips: NuScenesClips, way: Way, args: argparse.Namespace) -> None:
    """Trains all behind the kept maps: AdamW, one cycle, gradient norm 5, bfloat16."""
    model.train()
    weights = weights_behind(model)
    optimizer = torch.optim.AdamW(weights, lr=args.lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps)
    coder = model.head.coder
    past_targets = PastTargets(coder, model.grid) if way.back else None
    for step, rows in enumerate(maps.batches(clips, args.steps, args.batch, args.seed)):
        targets = stacked([{**(past_targets(clip, None).targets if past_targets else {}), **coder.encode(clip)}
                           for clip, _ in rows])
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
def score(model: DenseBEV, maps: KeptMaps, clips: NuScenesClips, way: Way, size: int = 8) -> dict[str, float]:
    """Scores a model on all clips officially, in bfloat16; tracks too where the clips are those of a split."""
    model.eval()
    official = [NuScenesDetectionMetric()] + [NuScenesTrackingMetric()] * bool(clips.split)
    paths = [ForecastMetric(way.forecast), ForecastMetric(way.forecast, prefix="steady")] if way.forecast else []
    for metric in official:
        metric.dataset_meta = clips.metainfo
    for first in range(0, len(clips), size):
        rows = [maps.read(clips, index) for index in range(first, min(first + size, len(clips)))]
        with torch.autocast("cpu", torch.bfloat16):
            raw, _ = run(model, rows)
        for (clip, _), found in zip(rows, model.head.predict(raw)):
            for metric in official:
                metric.add(clip.present.meta["sample_token"], clip.present.global_from_ego, found)
            boxes, poses = [frame.boxes for frame in clip.frames], clip.global_from_ego
            for metric, one in zip(paths, (found, replace(found, paths=None))):
                metric.add(boxes[clip.past - 1:], poses[clip.past - 1:], one)
    scores = {name: value for metric in (*official, *paths) for name, value in metric.evaluate(len(clips)).items()}
    return {name.removeprefix("nuscenes/"): value for name, value in scores.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--split", help="of the scenes to score, all of which it must hold; then tracks are scored too")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    cfg = resolve(load_config(args.config))
    maps = {place: keep_maps(cfg, args, place) for place in (args.train, args.held_out)}
    found: dict[str, Any] = dict(machine=machine(), arguments={name: str(value) for name, value in vars(args).items()})
    for name in args.only:
        way, started = WAYS[name], time.monotonic()
        torch.manual_seed(args.seed)
        model = begin(cfg, way, args.checkpoint)
        print(name, flush=True)
        future = dict(future=way.forecast, at_scene_end="unknown")
        train(model, maps[args.train], clips_of(args.train, cfg, way.past, way.missed, **future), way, args)
        for missed in way.tested:
            clips = clips_of(args.held_out, cfg, way.past, missed, split=args.split, **future)
            label = f"{name} missed {missed:.0%}" if way.missed else name
            found[label] = score(model, maps[args.held_out], clips, way)
            print(f"{label}: " + "  ".join(f"{key} {found[label][key]:.4f}" for key in SCORES if key in found[label])
                  + f"  ({time.monotonic() - started:.0f} s)", flush=True)
            if args.json:
                write_atomically(args.json, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
