"""bevkit benchmark view-transformer: times every view transformer on the same features, rig and grid, in one run.

Each turns the features of six cameras into a map; its depth net or attention counts. Beside them stand two references
that lift every point to a tensor [N D H W C] and sum it per cell: by index_add, and by Lift-Splat-Shoot's sort and
running sums. Both have the 1x1 depth net of the first row. The bytes floor is the time that the features (read once)
and the map (written once) need at the bandwidth of a plain copy, measured in the same run. Times are the fastest of the
repeats; memory is the peak above what was held before; the plan is made once a calibration.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from bevkit.cli.benchmarks import machine
from bevkit.cli.benchmarks.bev_pool import (
    SIZES,
    copy_bandwidth,
    milliseconds,
    peak_mib,
    rig_of,
    shown,
    sort_and_cumsum,
)
from bevkit.cli.output import add_json_argument, examples, print_table, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from bevkit.models.view_transformers import LiftSplat, ViewTransformer
    from bevkit.structures import BEVGrid, CameraRig

PLAIN, CAMERA_AWARE = {"type": "PlainDepthNet"}, {"type": "CameraAwareDepthNet", "mid_channels": 256}
# Forms beside what the common arguments give: registered name -> {title: options}.
FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "LiftSplat": {"LiftSplat": {}, "LiftSplat, camera-aware": {"depth_net": CAMERA_AWARE}},
    "MatrixVT": {"MatrixVT, dense, 1x1": {"depth_net": PLAIN, "product": "dense"},
                 "MatrixVT, sparse, 1x1": {"depth_net": PLAIN, "product": "sparse"},
                 "MatrixVT, camera-aware": {"depth_net": CAMERA_AWARE}},
    "BEVFormer": {"BEVFormer, 6 layers": {"levels": 1}},
}
COLUMNS = {"form": "form", "parameters": "parameters", "plan_ms": "plan ms", "forward_ms": "forward ms",
           "forward_mib": "MiB", "train_ms": "with gradients ms", "train_mib": "MiB", "floors": "x floor"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `bevkit benchmark view-transformer` takes."""
    parser.epilog = examples("bevkit benchmark view-transformer",
                             "bevkit benchmark view-transformer --only MatrixVT --device cuda --json views.json")
    parser.add_argument("--size", choices=list(SIZES), default="bevdepth-r50", help="(default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="registered names (default: all)")
    parser.add_argument("--channels", type=int, default=256, metavar="C", help="of the features (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="runs of each form (default: %(default)s)")
    parser.add_argument("--no-gradients", action="store_true", help="forward alone, for a small machine")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Times every view transformer and prints a table."""
    import torch

    rows = measure(args.size, args.channels, args.device, args.repeats, args.only, not args.no_gradients)
    size = SIZES[args.size]
    title = (f"{args.size}: features of {args.channels} channels at stride {size.stride} of six images "
             f"{size.image_size[0]} x {size.image_size[1]}; {args.device}, {torch.get_num_threads()} threads, float32")
    print_table(title, list(COLUMNS.values()), [[shown(row[key]) for key in COLUMNS] for row in rows])
    write_json(args.json, dict(machine=machine(), threads=torch.get_num_threads(), device=args.device, title=title,
                               rows=rows))
    return 0


def registered(only: list[str] | None = None) -> dict[str, type[ViewTransformer]]:
    """Returns every registered view transformer by name; raises ValueError for a name that is none."""
    import bevkit.models  # noqa: F401  registers
    from bevkit.models.view_transformers import ViewTransformer
    from bevkit.registry import MODELS

    found = {name: part for name, part in MODELS.module_dict.items()
             if inspect.isclass(part) and issubclass(part, ViewTransformer)}
    unknown = [name for name in only or () if name not in found]
    if unknown:
        raise ValueError(f"--only: expected names among {', '.join(found)}, got {', '.join(unknown)}")
    return {name: part for name, part in found.items() if only is None or name in only}


def measure(size_name: str, channels: int, device: str, repeats: int, only: list[str] | None = None,
            gradients: bool = True) -> list[dict[str, Any]]:
    """Times every form; returns a row for each, the references and the bytes floor, with the keys of `COLUMNS`."""
    import torch

    size, rig = SIZES[size_name], rig_of(SIZES[size_name]).to(device)
    generator = torch.Generator().manual_seed(0)
    shape = (rig.num_cameras, channels, size.image_size[0] // size.stride, size.image_size[1] // size.stride)
    features = torch.randn(shape, generator=generator).to(device)
    rows = []
    for title, view in forms(size_name, channels, only):
        view = view.to(device)
        call, plan = _call(view, rig), lambda view=view: view.plan(rig)
        rows.append(dict(form=title, parameters=sum(part.numel() for part in view.parameters()),
                         plan_ms=milliseconds(plan, min(repeats, 3), device)[0],
                         **_timed(call, view, features, repeats, device, gradients)))
    view = _build("LiftSplat", {}, size_name, channels).to(device)
    for title, pool in references(view, rig).items():
        def call(maps: Tensor, pool: Callable[..., Tensor] = pool) -> Tensor:
            maps = view.depth_net(maps)
            return pool(maps[:, :len(view.depths)].softmax(dim=1), maps[:, len(view.depths):])

        rows.append(dict(form=title, parameters=sum(part.numel() for part in view.parameters()), plan_ms=None,
                         **_timed(call, view, features, repeats, device, gradients)))
    bandwidth = copy_bandwidth(device)
    floor = (features.nbytes + 4 * view.grid.cells * size.channels) / bandwidth
    rows.append(dict.fromkeys(COLUMNS) | dict(form=f"bytes floor, {bandwidth / 1e6:.1f} GB/s", forward_ms=floor))
    for row in rows:
        row["floors"] = row["forward_ms"] / floor
    return rows


def forms(size_name: str, channels: int, only: list[str] | None = None) -> Iterator[tuple[str, ViewTransformer]]:
    """Builds every registered view transformer in each of its forms, with random weights of one seed."""
    for name in registered(only):
        for title, options in FORMS.get(name, {name: {}}).items():
            yield title, _build(name, options, size_name, channels)


def _build(name: str, options: dict[str, Any], size_name: str, channels: int) -> Any:
    """Builds one with what the size says, as far as its constructor asks for it."""
    import torch

    from bevkit.registry import MODELS

    size = SIZES[size_name]
    common = dict(grid=_grid(size_name), in_channels=channels, channels=size.channels, depth=size.depth,
                  image_size=size.image_size, stride=size.stride)
    asked = inspect.signature(registered([name])[name].__init__).parameters
    torch.manual_seed(0)
    return MODELS.build({"type": name, **{key: value for key, value in common.items() if key in asked}, **options})


def _grid(size_name: str) -> BEVGrid:
    from bevkit.structures import BEVGrid

    size = SIZES[size_name]
    axis = (-size.half_width, size.half_width, size.cell)
    return BEVGrid(x=axis, y=axis, z=(-5.0, 3.0, 8.0))


def references(view: LiftSplat, rig: CameraRig) -> dict[str, Callable[..., Tensor]]:
    """Names the pooling references: (depth, context) -> map."""
    from bevkit.ops.bev_pool import bev_pool_reference

    cells, shape = view.cells(view.points(rig)), view.grid.shape
    return {"lifted, index_add": lambda depth, context: bev_pool_reference(depth, context, cells, shape),
            "lifted, sort-and-cumsum": lambda depth, context: sort_and_cumsum(depth, context, cells, shape)}


def _call(view: ViewTransformer, rig: CameraRig) -> Callable[[Tensor], Tensor]:
    """Returns features -> map; a recurrent one reads a map of zeros from an instant at which the ego stood."""
    import torch

    from bevkit.models.view_transformers import RecurrentViewTransformer
    from bevkit.structures import EgoMotion

    plan = view.plan(rig)
    if not isinstance(view, RecurrentViewTransformer):
        return lambda features: view((features,), *plan).bev
    device = rig.ego_from_camera.device
    poses = torch.eye(4, dtype=torch.float64, device=device).expand(1, 2, 4, 4)
    motion = view.motion_plan(EgoMotion.of(poses))
    past = torch.zeros(1, view.past, view.channels, *view.grid.shape, device=device)
    return lambda features: view((features,), *plan, past=past, motion=motion).bev


def _timed(call: Callable[[Tensor], Tensor], view: ViewTransformer, features: Tensor, repeats: int, device: str,
           gradients: bool) -> dict[str, Any]:
    """Times the forward pass in evaluation, and forward with the gradients of features and weights in training."""
    import torch

    forward = torch.no_grad()(lambda: call(features))
    view.eval()
    row: dict[str, Any] = dict(forward_ms=milliseconds(forward, repeats, device)[0],
                               forward_mib=peak_mib(forward, device), train_ms=None, train_mib=None)
    if gradients:
        view.train()
        inputs = (features.clone().requires_grad_(), *view.parameters())
        train = lambda: torch.autograd.grad(call(inputs[0]).sum(), inputs, allow_unused=True)  # noqa: E731
        row |= dict(train_ms=milliseconds(train, repeats, device)[0], train_mib=peak_mib(train, device))
    return row
