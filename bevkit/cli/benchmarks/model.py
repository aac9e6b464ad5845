"""bevkit benchmark model: times every stage of a model beside the least time its arithmetic could take.

The floor of a stage is its floating-point operations divided by what a large matrix product reaches on this machine in
the same run. Stages that move data rather than compute (planning, decoding) have no such floor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from bevkit.cli.benchmarks import machine
from bevkit.cli.output import add_json_argument, examples, print_table, write_json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bevkit.models.architectures import DenseBEV


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file; weights are random")
    add_model_arguments(parser)
    parser.epilog = examples("bevkit benchmark model configs/prediction/powerbev_long.py",
                             "bevkit benchmark model configs/synthetic/powerbev.py --repeats 10 --json model.json")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the benchmarks of a whole model have in common."""
    parser.add_argument("--cameras", type=int, default=6, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="the median counts (default: %(default)s)")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
                        help="change values of the config")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    from bevkit.cli.export import image_size_of
    from bevkit.engine.build import load_model
    from bevkit.engine.config import load_config

    config = load_config(args.config, args.set)
    model = load_model(config)
    rows = measure(model, image_size_of(config, model), args.cameras, args.repeats)
    columns = ("stage", "ms", "share", "GFLOP", "floor_ms", "times_floor", "parameters")
    print_table(f"{args.config}: one clip of {args.cameras} cameras, median of {args.repeats}", columns,
                [[row[name] for name in columns] for row in rows])
    write_json(args.json, dict(machine=machine(), config=str(args.config), rows=rows))
    return 0


def measure(model: DenseBEV, image_size: tuple[int, int], cameras: int = 6, repeats: int = 5) -> list[dict[str, Any]]:
    """Times the stages of one clip on the model's device, each alone, and all together."""
    import torch

    from bevkit.export.graph import random_clip

    model.requires_grad_(False)  # the counter of operations hooks gradients of all that could have some
    clip = random_clip(model.grid, cameras, image_size, model.instants + 1)
    with torch.no_grad():
        stages = stages_of(model, model.data_preprocessor({"batch": clip})["batch"])
        speed = matrix_speed()
        rows = [dict(stage=name, **clock(stage, repeats, speed), parameters=parameters(part))
                for name, stage, part in stages]
        rows.append(dict(stage="all (clip to instances)", **clock(lambda: model.predict(clip), repeats, speed),
                         parameters=parameters(model)))
    for row in rows:
        row["share"] = f"{100 * row['ms'] / rows[-1]['ms']:.0f} %"
    return rows


def stages_of(model: DenseBEV, batch: Any) -> list[tuple[str, Callable[[], Any], nn.Module | None]]:
    """Returns (name, call, part) of every stage of a clip, on a normalised batch."""
    from bevkit.models.architectures import SparseDetector

    if isinstance(model, SparseDetector):
        return sparse_stages(model, batch)
    from bevkit.structures import EgoMotion

    poses = batch.global_from_ego[:, :batch.past]
    images = batch.images.flatten(0, 2)
    features = model.image_encoder(images)

    def plans() -> list[tuple[Tensor, ...]]:
        """Plans of the calls of the view transformer: one for all frames, or one for each."""
        if model.recurrent:
            return [model.view_plan(batch.rig[:, time], poses[:, time]) for time in range(batch.past)]
        return [model.view_plan(batch.rig.flatten(), poses.flatten(0, 1))]

    lift = partial(frame_by_frame if model.recurrent else all_frames, model, features, plans(), poses)
    bev = lift()
    stages: list[tuple[str, Callable[[], Any], nn.Module | None]] = [
        ("image encoder", lambda: model.image_encoder(images), model.image_encoder),
        ("view plan (once a rig)", plans, None),
        ("view transformer", lift, model.view_transformer)]
    motion = EgoMotion.of(poses, batch.timestamps[:, :batch.past])
    plan, memory = model.fusion_plan(motion), bev.new_zeros(1, model.memory, *model.grid.shape)
    fused, _ = model.fuse(bev[:, -1], bev[:, :-1], memory, plan)
    if model.temporal is not None:
        stages.append(("temporal fusion", lambda: model.fuse(bev[:, -1], bev[:, :-1], memory, plan), model.temporal))
    fused, sides = model.parted(fused)
    if model.bev_encoder is not None:
        raw_bev, fused = fused, model.bev_encoder(fused)
        stages.append(("BEV encoder", lambda: model.bev_encoder(raw_bev), model.bev_encoder))
    raw = model.head(fused, *sides)
    return [*stages, ("head", lambda: model.head(fused, *sides), model.head),
            ("decoding", lambda: model.head.predict(raw), None)]


def sparse_stages(model: Any, batch: Any) -> list[tuple[str, Callable[[], Any], nn.Module | None]]:
    """Returns the stages of a sparse model; a stream makes features of one frame an instant, a clip those of all."""
    images, head = batch.images.flatten(0, 1), model.head
    views = model.look(batch)
    query, boxes = head.first_queries(len(batch))
    raw = head(views)
    return [("features of all frames, stacked", lambda: model.features_of(images), model.image_encoder),
            ("features of one frame, stacked", lambda: model.features_of(images[-1:]), None),
            (f"one of {head.layers} decoder layers", lambda: head.layer(query, boxes, head.bounds, views), head.layer),
            ("head, all layers", lambda: head(views), head), ("decoding", lambda: head.predict(raw), None)]


def all_frames(model: DenseBEV, features: tuple[Tensor, ...], plans: list[tuple[Tensor, ...]], poses: Tensor
               ) -> Tensor:
    """Lifts the frames of one clip together: [1 T C Y X]."""
    return model.view_transformer(features, *plans[0]).bev.unflatten(0, poses.shape[:2])


def frame_by_frame(model: DenseBEV, features: tuple[Tensor, ...], plans: list[tuple[Tensor, ...]],
                   poses: Tensor) -> Tensor:
    """Lifts the frames of one clip in order, each with the map before it, as a recurrent view transformer does."""
    import torch

    from bevkit.structures import EgoMotion

    maps = [features[0].new_zeros(1, *model.map_shape)]
    for now, plan in enumerate(plans):
        motion = model.motion_plan(EgoMotion.of(poses[:, [max(now - 1, 0), now]], fresh=now == 0))
        maps.append(model.view_transformer(
            tuple(level.chunk(len(plans))[now] for level in features), *plan, past=maps[-1][:, None],
            motion=motion).bev)
    return torch.stack(maps[1:], dim=1)


def clock(call: Callable[[], Any], repeats: int, speed: float) -> dict[str, Any]:
    """Times a call after two to warm up; returns ms, GFLOP, floor_ms and times_floor (None where nothing computes)."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    call()
    seconds = median(timed(call) for _ in range(repeats))
    flop = counter.get_total_flops()
    floor = flop / speed
    return dict(ms=1e3 * seconds, GFLOP=flop / 1e9 or None, floor_ms=1e3 * floor or None,
                times_floor=seconds / floor if floor else None)


def timed(call: Callable[[], Any]) -> float:
    import torch

    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    synchronize()
    begin = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - begin


def matrix_speed(side: int = 2048) -> float:
    """Returns the float32 operations a second that a matrix product of this size reaches here."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.randn(side, side, device=device)
    return 2 * side ** 3 / min(timed(lambda: a @ a) for _ in range(5))


def parameters(part: nn.Module | None) -> int | None:
    return None if part is None else sum(value.numel() for value in part.parameters())
