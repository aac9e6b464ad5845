"""bevkit benchmark bev-pool: times lift-splat pooling, its memory, and how far it stands from what memory allows.

Against bev_pool stand its exportable form, index_add (the clear reference), and sort-and-cumsum: the pooling of
Lift-Splat-Shoot, which lifts every point, sorts points by cell, takes running sums and subtracts neighbours. The bytes
floor is the time that the operands (read once) and the map (written once) need at the bandwidth of a plain copy,
measured in the same run; indices are not counted. Times are the fastest of the repeats, forward alone and with both
gradients; ratios are to bev_pool; memory is the peak above what was held before.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevkit.cli.benchmarks import machine
from bevkit.cli.output import add_json_argument, examples, print_table, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from bevkit.models.view_transformers import LiftSplat
    from bevkit.structures import CameraRig

Run = Callable[[], Any]
PATIENCE = 6.0  # seconds for the repeats of one form; at least two are taken
KEYS = ("plan_ms", "forward_ms", "forward_median_ms", "forward_ratio", "forward_mib", "train_ms", "train_median_ms",
        "train_ratio", "train_mib")
# What the table shows of them; the JSON has all.
COLUMNS = {"form": "form", "plan_ms": "plan ms", "forward_ms": "forward ms", "forward_ratio": "ratio",
           "forward_mib": "MiB", "train_ms": "with gradients ms", "train_ratio": "ratio", "train_mib": "MiB"}


@dataclass(frozen=True)
class Size:
    """Six cameras of a nuScenes rig at one image size, into one grid."""

    image_size: tuple[int, int]
    zoom: float  # of the 1600 x 900 image, before its upper rows are cut to image_size
    stride: int
    depth: tuple[float, float, float]
    half_width: float  # m, the grid is square
    cell: float  # m
    channels: int


SIZES = {
    "powerbev": Size((224, 480), 0.3, 8, (2.0, 50.0, 1.0), 50.0, 0.5, 64),
    "bevdepth-r50": Size((256, 704), 0.44, 16, (2.0, 58.0, 0.5), 51.2, 0.8, 80),
    "640x1600": Size((640, 1600), 1.0, 16, (1.0, 60.0, 0.5), 51.2, 0.4, 80),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `bevkit benchmark bev-pool` takes."""
    parser.epilog = examples("bevkit benchmark bev-pool", "bevkit benchmark bev-pool --sizes powerbev --device cuda",
                             "bevkit benchmark bev-pool --repeats 20 --json bev_pool.json")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES), metavar="SIZE",
                        help=f"of {', '.join(SIZES)} (default: all)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=10, metavar="N", help="runs of each form (default: %(default)s)")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Times every size, prints a table of each."""
    import torch

    results = []
    for name in args.sizes:
        rows = measure(name, args.device, args.repeats)
        results += rows
        print_table(f"{rows[0]['title']}; {args.device}, {torch.get_num_threads()} threads, float32",
                    list(COLUMNS.values()), [[shown(row[key]) for key in COLUMNS] for row in rows])
    write_json(args.json, dict(machine=machine(), threads=torch.get_num_threads(), device=args.device, rows=results))
    return 0


def shown(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value


def measure(name: str, device: str = "cpu", repeats: int = 10) -> list[dict[str, Any]]:
    """Times every form on one of `SIZES`, after a first run of each.

    Returns:
        a row for each form and one for the bytes floor, with the keys size, title, form and `KEYS`; None where a
        figure does not apply or the system does not tell it.
    """
    import torch

    size = SIZES[name]
    view, rig = _view(size), rig_of(size).to(device)
    generator = torch.Generator().manual_seed(0)
    shape = (rig.num_cameras, len(view.depths), *view.feature_size)  # [N D H W]
    depth = torch.randn(shape, generator=generator).softmax(dim=1).to(device)
    context = torch.randn(shape[0], size.channels, *shape[2:], generator=generator).to(device)
    cells = view.cells(view.points(rig))
    title = (f"{name}: {' x '.join(map(str, shape))} points, {int((cells >= 0).sum())} on the grid, x {size.channels} "
             f"channels into {view.grid.shape[0]} x {view.grid.shape[1]}")
    rows = []
    for form, (pool, plan) in _forms(view, rig, cells).items():
        row: dict[str, Any] = dict(size=name, title=title, form=form, plan_ms=None)
        if plan is not None:
            row["plan_ms"] = min(milliseconds(plan, min(repeats, 5), device))
        for kind, once in (("forward", _forward(pool, depth, context)), ("train", _train(pool, depth, context))):
            times = milliseconds(once, repeats, device)
            row |= {f"{kind}_ms": times[0], f"{kind}_median_ms": times[len(times) // 2],
                    f"{kind}_mib": peak_mib(once, device)}
        rows.append(row)
    rows.append(_floor(name, title, depth, context, view.grid.cells, device))
    for row in rows:
        row |= {f"{kind}_ratio": row[f"{kind}_ms"] / rows[0][f"{kind}_ms"] for kind in ("forward", "train")}
    return rows


def _forms(view: LiftSplat, rig: CameraRig, cells: Tensor) -> dict[str, tuple[Callable[..., Tensor], Run | None]]:
    """Names every form, with the call that makes its plan from calibration."""
    from bevkit.ops.bev_pool import bev_pool_reference

    twin, shape = view.exportable(), view.grid.shape
    plan, tables = view.plan(rig), twin.plan(rig)
    return {
        "bev_pool": (lambda depth, context: view.pooling(depth, context, *plan), lambda: view.plan(rig)),
        "bev_pool, exportable": (lambda depth, context: twin.pooling(depth, context, *tables), lambda: twin.plan(rig)),
        "index_add": (lambda depth, context: bev_pool_reference(depth, context, cells, shape), None),
        "sort-and-cumsum": (lambda depth, context: sort_and_cumsum(depth, context, cells, shape), None),
    }


def sort_and_cumsum(depth: Tensor, context: Tensor, cells: Tensor, shape: tuple[int, int]) -> Tensor:
    """Pools one rig as Lift-Splat-Shoot does: depth [N D H W], context [N C H W], cells [1 N D H W] to [1 C Y X]."""
    import torch

    lifted = depth.unsqueeze(-1) * context.permute(0, 2, 3, 1).unsqueeze(1)  # [N D H W C]
    on_grid = cells[0] >= 0
    points, keys = lifted[on_grid], cells[0][on_grid]
    order = keys.argsort()
    points, keys = points[order], keys[order]
    last = torch.ones_like(keys, dtype=torch.bool)
    last[:-1] = keys[1:] != keys[:-1]
    bev = lifted.new_zeros(shape[0] * shape[1], lifted.shape[-1])
    bev[keys[last].long()] = _running_sums()(points, last)
    return bev.view(1, *shape, -1).permute(0, 3, 1, 2)


def _running_sums() -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the differences of running sums, with the short way back of Lift-Splat-Shoot (QuickCumsum)."""
    import torch

    class RunningSums(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, points: Tensor, last: Tensor) -> Tensor:
            ctx.save_for_backward(last)
            sums = points.cumsum(0)[last]
            return torch.cat((sums[:1], sums[1:] - sums[:-1]))

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            last, = ctx.saved_tensors
            return grad[last.cumsum(0) - last.long()], None  # each point gets the gradient of its cell

    return RunningSums.apply


# ---- what is measured -----------------------------------------------------------------------------------------------


def _view(size: Size) -> LiftSplat:
    from bevkit.models.view_transformers import LiftSplat
    from bevkit.structures import BEVGrid

    axis = (-size.half_width, size.half_width, size.cell)
    return LiftSplat(BEVGrid(x=axis, y=axis), in_channels=1, channels=size.channels, depth=size.depth,
                     image_size=size.image_size, stride=size.stride)


def rig_of(size: Size) -> CameraRig:
    """One rig [1 N ..] with the small tilts of real mounting; the lower rows of the image stay."""
    import numpy as np
    import torch

    from bevkit.datasets.synthetic.rig import FULL_HEIGHT, FULL_WIDTH, make_rig
    from bevkit.structures import CameraRig

    cameras = [sensor for sensor in make_rig(np.random.default_rng(0), (FULL_WIDTH, FULL_HEIGHT))
               if sensor.intrinsics is not None]
    cut = (FULL_WIDTH * size.zoom - size.image_size[1]) / 2, FULL_HEIGHT * size.zoom - size.image_size[0]
    image_aug = torch.tensor([[size.zoom, 0, -cut[0]], [0, size.zoom, -cut[1]], [0, 0, 1]])
    intrinsics = torch.from_numpy(np.stack([camera.intrinsics for camera in cameras])).float()
    poses = torch.from_numpy(np.stack([camera.ego_from_sensor for camera in cameras])).float()
    return CameraRig(intrinsics[None], image_aug.expand(1, len(cameras), 3, 3), poses[None], size.image_size)


def _forward(pool: Callable[..., Tensor], depth: Tensor, context: Tensor) -> Run:
    import torch

    return torch.no_grad()(lambda: pool(depth, context))


def _train(pool: Callable[..., Tensor], depth: Tensor, context: Tensor) -> Run:
    import torch

    depth, context = depth.clone().requires_grad_(), context.clone().requires_grad_()
    with torch.no_grad():
        grad = torch.ones_like(pool(depth, context))
    return lambda: torch.autograd.grad(pool(depth, context), (depth, context), grad)


def copy_bandwidth(device: str) -> float:
    """Measures how many bytes a millisecond a plain copy reads and writes."""
    import torch

    source = torch.ones(2**26, device=device)  # 256 MiB, more than any cache
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(milliseconds(lambda: target.copy_(source), 10, device))


def _floor(name: str, title: str, depth: Tensor, context: Tensor, cells: int, device: str) -> dict[str, Any]:
    """Computes what bandwidth alone would take: operands in, map out; backwards as much again, gradients out."""
    bandwidth = copy_bandwidth(device)
    operands, bev = depth.nbytes + context.nbytes, cells * context.shape[1] * context.element_size()
    row: dict[str, Any] = dict.fromkeys(KEYS) | dict(size=name, title=title)
    row["form"] = f"bytes floor at {bandwidth / 1e6:.1f} GB/s"
    row["forward_ms"] = (operands + bev) / bandwidth
    row["train_ms"] = (3 * operands + 2 * bev) / bandwidth
    return row


# ---- how it is measured ---------------------------------------------------------------------------------------------


def milliseconds(once: Run, repeats: int, device: str) -> Sequence[float]:
    """Runs once unmeasured, then repeatedly: the times, fastest first."""
    import torch

    def timed() -> float:
        start = time.perf_counter()
        once()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start)

    times = [timed()]
    while len(times) <= max(repeats, 2) and (len(times) <= 2 or sum(times) < 1e3 * PATIENCE):
        times.append(timed())
    return sorted(times[1:])


def peak_mib(once: Run, device: str) -> float | None:
    """Measures the peak memory of one run, in MiB above what was held before; None where the system does not tell."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        once()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    _return_free_memory()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew from the present
    held = _kib(status, "VmRSS")
    once()
    return (_kib(status, "VmHWM") - held) / 2**10


def _kib(status: Path, field: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(f"{field}:"))


def _return_free_memory() -> None:
    """Hands memory that the allocator keeps back to the system, so that a run shows all it takes; glibc only."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass
