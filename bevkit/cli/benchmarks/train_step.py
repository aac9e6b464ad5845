"""bevkit benchmark train-step: times one training step, part by part, in float32 and in bfloat16, and its peak memory.

The loss is the head's; what auxiliaries add to it is not timed. A sparse detector is measured with plain grid_sample
besides, the form that is exported.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from bevkit.cli.benchmarks import machine
from bevkit.cli.benchmarks.bev_pool import peak_mib
from bevkit.cli.benchmarks.model import add_model_arguments
from bevkit.cli.output import examples, print_table, write_json

if TYPE_CHECKING:
    from mmengine.config import Config

PARTS = ("forward", "loss", "backward", "optimiser")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file; weights, images and labels are random")
    parser.add_argument("--batch-size", type=int, metavar="N", help="(default: the config's)")
    add_model_arguments(parser)
    parser.epilog = examples("bevkit benchmark train-step configs/prediction/powerbev_long.py --batch-size 2",
                             "bevkit benchmark train-step configs/synthetic/powerbev.py --json step.json")


def run(args: argparse.Namespace) -> int:
    from bevkit.engine.config import load_config

    cfg = load_config(args.config, args.set)
    batch_size = args.batch_size or cfg.train_dataloader.batch_size
    plain = [("float32", True)] if cfg.model.type == "SparseDetector" else []
    rows = [measure(cfg, batch_size, args.cameras, args.repeats, *form)
            for form in (("float32", False), ("bfloat16", False), *plain)]
    for row in rows:
        row["speed-up"] = rows[0]["ms"] / row["ms"]
    columns = ("form", "ms", "speed-up", *(f"{part}_ms" for part in PARTS), "peak_MiB")
    print_table(f"{args.config}: one step, batch {batch_size}, median of {args.repeats}", columns,
                [[row[name] for name in columns] for row in rows])
    write_json(args.json, dict(machine=machine(), config=str(args.config), batch_size=batch_size, rows=rows))
    return 0


def measure(cfg: Config, batch_size: int, cameras: int, repeats: int, precision: str, plain: bool = False
            ) -> dict[str, Any]:
    """Times steps of a fresh model on random clips; returns medians in milliseconds and the peak memory of a step.

    Args: plain: a sparse model samples as it does when it is exported.
    """
    import torch
    from mmengine.optim import build_optim_wrapper

    from bevkit.cli.export import image_size_of
    from bevkit.engine.build import build_model

    model = build_model(cfg).train()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    optimiser = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    future = cfg.train_dataloader.dataset.get("future", 0)
    batch = random_batch(model, batch_size, cameras, image_size_of(cfg, model), future)
    if plain:
        model.exported = True

    def step() -> list[float]:
        times = [now(device)]
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            raw = model.raw_of(model.look(model.data_preprocessor({"batch": batch})["batch"]))
            times.append(now(device))
            targets = {name: value.to(device) for name, value in batch.targets.items()}
            loss, _ = model.parse_losses(model.head.loss(raw, targets))
        times.append(now(device))
        loss.backward()
        times.append(now(device))
        optimiser.step()
        optimiser.zero_grad()
        times.append(now(device))
        return [1e3 * (later - earlier) for earlier, later in zip(times, times[1:])]

    step()  # warms up, and makes what the optimiser holds
    peak = peak_mib(step, device)
    medians = [median(values) for values in zip(*(step() for _ in range(repeats)))]
    return dict(form=precision + ", grid_sample" * plain, ms=sum(medians), peak_MiB=peak,
                **{f"{part}_ms": ms for part, ms in zip(PARTS, medians)})


def random_batch(model: Any, batch_size: int, cameras: int, image_size: tuple[int, int], future: int) -> Any:
    """Makes clips of noise whose truth is one standing car that the lidar has seen."""
    from dataclasses import replace

    import torch

    from bevkit.export.graph import random_clip
    from bevkit.structures import BEVClip, BEVFrame, Boxes3D, CameraRig

    clip = random_clip(model.grid, cameras, image_size, model.instants + 1)
    whole = torch.zeros(1, dtype=torch.int64)
    center, size = torch.tensor([[[5.0, 2.0, 0.8]], [[4.5, 1.9, 1.6]]], dtype=torch.float64)
    car = Boxes3D(center, size, torch.zeros(1).double(), torch.zeros(1, 2).double(), labels=whole, track_ids=whole,
                  visibility=whole, sensor_points=whole + 9, attributes=whole, vehicle=~whole.bool())
    frames = (BEVFrame(torch.eye(4, dtype=torch.float64), 0.0, car),) * (model.instants + 1 + future)
    targets = model.head.coder.encode(BEVClip(frames, model.instants + 1))
    rig = CameraRig.stack([clip.rig[0]] * batch_size)
    return replace(clip, images=clip.images.expand(batch_size, *clip.images.shape[1:]), rig=rig,
                   global_from_ego=clip.global_from_ego.expand(batch_size, -1, -1, -1),
                   timestamps=clip.timestamps.expand(batch_size, -1),
                   targets={name: torch.stack([value] * batch_size) for name, value in targets.items()},
                   boxes=clip.boxes * batch_size, meta=clip.meta * batch_size)


def now(device: str) -> float:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
