"""bevkit benchmark sampling: times how SparseBEV's queries read images, against the authors' fallback, in one run.

The reference is a grid_sample of rank 5 a scale, the cameras as depth, as the authors' PyTorch fallback computes it.
Stacking (the features of all cameras laid end to end) happens once a forward pass, reading once a decoder layer. The
bytes floor is the time that the rows which are read and the result which is written need at the bandwidth of a plain
copy, measured in the same run. Times are the fastest of the repeats; memory is the peak above what was held before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from bevkit.cli.benchmarks import machine
from bevkit.cli.benchmarks.bev_pool import copy_bandwidth, milliseconds, peak_mib, shown
from bevkit.cli.output import add_json_argument, examples, print_table, write_json

# Height and width of the images, queries; the rest is as published: six cameras, 256 channels, 4 groups of 4 points.
SIZES = {"r50-256x704": ((256, 704), (4, 8, 16, 32), 900), "r101-512x1408": ((512, 1408), (4, 8, 16, 32, 64), 900),
         "tiny": ((64, 96), (8, 16), 16)}
CAMERAS, CHANNELS, GROUPS, POINTS = 6, 256, 4, 4
COLUMNS = {"form": "form", "forward_ms": "forward ms", "forward_ratio": "ratio", "forward_mib": "MiB",
           "train_ms": "with gradients ms", "train_ratio": "ratio", "train_mib": "MiB"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `bevkit benchmark sampling` takes."""
    parser.epilog = examples("bevkit benchmark sampling", "bevkit benchmark sampling --frames 2 --device cuda")
    parser.add_argument("--size", choices=list(SIZES), default="r50-256x704", help="(default: %(default)s)")
    parser.add_argument("--frames", type=int, default=8, metavar="T", help="(default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="runs of each form (default: %(default)s)")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Times every form and prints a table."""
    import torch

    rows = measure(args.size, args.frames, args.device, args.repeats)
    title = (f"{args.size}, {args.frames} frames, {SIZES[args.size][2]} queries; {args.device}, "
             f"{torch.get_num_threads()} threads, float32")
    print_table(title, list(COLUMNS.values()), [[shown(row[key]) for key in COLUMNS] for row in rows])
    write_json(args.json, dict(machine=machine(), threads=torch.get_num_threads(), device=args.device, title=title,
                               rows=rows))
    return 0


def measure(size: str, frames: int, device: str, repeats: int) -> list[dict[str, Any]]:
    """Returns a row of each form and one of the floor; ratios are to ``rows, stacked before``."""
    import torch

    from bevkit.ops.multi_view_sampling import multi_view_sampling, multi_view_sampling_reference, stack_views

    (height, width), strides, queries = SIZES[size]
    random = torch.Generator().manual_seed(0)
    features = [torch.randn(frames, CAMERAS, CHANNELS, -(-height // stride), -(-width // stride), generator=random)
                .to(device) for stride in strides]
    lead = (frames, queries * POINTS, GROUPS)
    view = torch.randint(CAMERAS, lead, generator=random).to(device)
    place = torch.rand(*lead, 2, generator=random).to(device)
    weights = torch.rand(*lead, len(strides), generator=random).softmax(dim=-1).to(device)
    values, shapes = stack_views(features, GROUPS)
    forms: dict[str, tuple[Callable[..., Any], list[Any]]] = {
        "rows, stacked before": (lambda place, weights, values: multi_view_sampling(
            values, shapes, CAMERAS, view, place, weights), [values]),
        "rows, with stacking": (lambda place, weights, *maps: multi_view_sampling(
            *stack_views(maps, GROUPS), CAMERAS, view, place, weights), features),
        "grid_sample over (u, v, camera)": (lambda place, weights, *maps: multi_view_sampling_reference(
            maps, view, place, weights), features)}
    rows = []
    for form, (read, maps) in forms.items():
        row: dict[str, Any] = dict(form=form)
        for kind, once in (("forward", _forward(read, place, weights, maps)),
                           ("train", _train(read, place, weights, maps))):
            row |= {f"{kind}_ms": milliseconds(once, repeats, device)[0], f"{kind}_mib": peak_mib(once, device)}
        rows.append(row)
    read_bytes = 4 * (4 * len(strides) + 1) * view.numel() * CHANNELS // GROUPS  # four neighbours a scale, and the sum
    bandwidth = copy_bandwidth(device)
    rows.append(dict(form=f"bytes floor at {bandwidth / 1e6:.1f} GB/s", forward_ms=read_bytes / bandwidth,
                     forward_mib=None, train_ms=None, train_mib=None))
    for row in rows:
        row |= {f"{kind}_ratio": row[f"{kind}_ms"] and row[f"{kind}_ms"] / rows[0][f"{kind}_ms"]
                for kind in ("forward", "train")}
    return rows


def _forward(read: Callable[..., Any], place: Any, weights: Any, maps: list[Any]) -> Callable[[], Any]:
    import torch

    def once() -> None:
        with torch.no_grad():
            read(place, weights, *maps)

    return once


def _train(read: Callable[..., Any], place: Any, weights: Any, maps: list[Any]) -> Callable[[], Any]:
    operands = [tensor.detach().clone().requires_grad_() for tensor in (place, weights, *maps)]

    def once() -> None:
        for tensor in operands:
            tensor.grad = None
        read(*operands).sum().backward()

    return once
