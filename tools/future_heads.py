"""Heads of the future side by side: each trained and scored alike behind the maps of one trained model.

Image encoder and view transformer of a single-frame model are held: the map of every keyframe is made once and kept.
Each config's fusion and head begin at random and are trained on those maps for equally many steps by the config's own
optimiser, in one cycle, then scored on held-out scenes beside copy-last (its own present, held still). The checkpoints
hold the whole models, for `bevkit test` and `bevkit predict`; ``--go-on`` trains those of an earlier run for one more
cycle.

    python tools/future_heads.py configs/synthetic/powerbev_static.py CHECKPOINT --train data/world:v1.0-trainval \\
        --held-out data/held_out:v1.0-mini --kept work_dirs/maps --out work_dirs/heads --steps 1000 --heads \\
        configs/synthetic/powerbev.py configs/synthetic/fiery.py
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from mmengine.optim import build_optim_wrapper

from bevkit.cli.benchmarks import machine
from bevkit.datasets.nuscenes import NuScenesClips
from bevkit.engine.build import build_model, resolve
from bevkit.engine.checkpoint import read_checkpoint, weights_of
from bevkit.engine.config import load_config
from bevkit.files import write_atomically
from bevkit.models.architectures import DenseBEV
from bevkit.registry import METRICS
from tools.kept_maps import KeptMaps, add_arguments, clips_of, keep_maps, run, stacked, weights_behind


def begin(cfg: Any, checkpoint: str) -> DenseBEV:
    """Builds a model whose image encoder and view transformer are those of a checkpoint; the rest is random."""
    model, given = build_model(cfg), weights_of(read_checkpoint(checkpoint))
    for name, own in model.state_dict().items():
        if name.startswith(("image_encoder.", "view_transformer.")):
            if name not in given or given[name].shape != own.shape:
                got = list(given[name].shape) if name in given else "none"
                raise ValueError(f"{name}: expected {list(own.shape)} in {checkpoint}, got {got}; give all heads the "
                                 "image encoder and view transformer of the model whose maps are kept")
            own.copy_(given[name])
    return model


def expect_alike(kept: Any, cfg: Any, path: str) -> None:
    """Raises ValueError where a config sees another part of the world than kept maps show, or otherwise."""
    for name, of in (("model.grid", lambda each: each.model.grid),
                     ("model.level_ego", lambda each: each.model.get("level_ego", False)),
                     ("test_dataloader.dataset.images", lambda each: each.test_dataloader.dataset.images)):
        want, got = of(kept), of(cfg)
        if want != got:
            raise ValueError(f"{name}: expected {want} in {path}, as in the config whose maps are kept, got {got}")


def train(model: DenseBEV, maps: KeptMaps, clips: NuScenesClips, cfg: Any, args: argparse.Namespace) -> None:
    """Trains all behind the kept maps: the config's optimiser and gradient norm, one cycle, bfloat16."""
    model.train()
    for part in (model.image_encoder, model.view_transformer):
        part.requires_grad_(False)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    optimizer, norm = wrapper.optimizer, cfg.optim_wrapper.clip_grad.max_norm
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=args.steps, cycle_momentum=False)
    for step, rows in enumerate(maps.batches(clips, args.steps, args.batch, args.seed)):
        targets = stacked([model.head.coder.encode(clip) for clip, _ in rows])
        with torch.autocast("cpu", torch.bfloat16):
            raw, _ = run(model, rows, targets)
            losses = model.head.loss(raw, targets)
        total = sum(value for name, value in losses.items() if "loss" in name)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(weights_behind(model), norm)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"  step {step:4d}  " + "  ".join(f"{name} {value:.3f}" for name, value in losses.items()),
                  flush=True)


@torch.no_grad()
def score(model: DenseBEV, maps: KeptMaps, clips: NuScenesClips, evaluator: dict[str, Any]) -> dict[str, float]:
    """Scores predictions, copy-last and the truth through the coder on all clips, in float32."""
    model.eval()
    metric, oracle = METRICS.build(evaluator), METRICS.build({**evaluator, "copy_last": False, "prefix": "oracle"})
    for index in range(len(clips)):
        row = maps.read(clips, index)
        truth = model.head.coder.encode(row[0])["instance"]
        raw, _ = run(model, [row])
        metric.add(model.head.predict(raw)[0].ids, truth)
        oracle.add(truth, truth)
    return {**metric.evaluate(len(clips)), **oracle.evaluate(len(clips))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--heads", nargs="+", required=True, metavar="CONFIG", help="configs of models with the heads")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for their checkpoints")
    parser.add_argument("--go-on", type=Path, metavar="DIR", help="begin with the checkpoints of an earlier --out")
    args = parser.parse_args()
    cfg = resolve(load_config(args.config))
    maps = {place: keep_maps(cfg, args, place) for place in (args.train, args.held_out)}
    found: dict[str, Any] = dict(machine=machine(), arguments={name: str(value) for name, value in vars(args).items()})
    stems = [Path(path).stem for path in args.heads]
    if len(set(stems)) < len(stems):
        raise ValueError(f"--heads: expected configs of different file names, after which checkpoints are named, got "
                         f"{', '.join(args.heads)}; run them one after the other, each with its own --out")
    args.out.mkdir(parents=True, exist_ok=True)
    kept = cfg
    for path in args.heads:
        cfg, name, started = resolve(load_config(path)), Path(path).stem, time.monotonic()
        expect_alike(kept, cfg, path)
        torch.manual_seed(args.seed)
        model = begin(cfg, args.checkpoint)
        if args.go_on:
            model.load_state_dict(weights_of(read_checkpoint(args.go_on / f"{name}.pth")))
        print(name, flush=True)
        length = dict(past=cfg.clips.past, future=cfg.clips.future)
        train(model, maps[args.train], clips_of(args.train, cfg, **length), cfg, args)
        buffer = io.BytesIO()
        torch.save(dict(state_dict=model.state_dict(), meta={}), buffer)
        write_atomically(args.out / f"{name}.pth", buffer.getvalue())
        trained = time.monotonic() - started
        scores = score(model, maps[args.held_out], clips_of(args.held_out, cfg, **length), dict(cfg.test_evaluator))
        behind = sum(value.numel() for value in weights_behind(model))
        found[name] = dict(scores, parameters=behind, seconds=trained)
        shown = "  ".join(f"{key} {value:.1f}" for key, value in scores.items() if key[-3:] in ("iou", "vpq"))
        print(f"{name}: {shown}  ({trained:.0f} s)", flush=True)
        if args.json:
            write_atomically(args.json, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
